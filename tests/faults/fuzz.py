"""Inputs that are made invalid at random, for every reader: `python -m tests.faults.fuzz [--minutes 10] [--inputs 1000]`.

Whatever the input is, reading it gives a valid result or a `UserError`, within 10 seconds and 1 GB. Anything else is a finding,
which is printed with its kind, its place and the seed that makes the input again, and makes the exit status 1. An input is
`input_of(target, files, seed)`: the same on every machine.
"""

import argparse
import contextlib
import json
import os
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random

import torch

from scud.errors import UserError
from tests.faults.children import forked
from tests.faults.mutations import Files, mutated
from tests.faults.targets import TARGETS, Target

SECONDS, WAITING = 10.0, 30.0
"""Of computing, and in all, so that a busy machine is no finding."""

MEMORY = 1 << 30
CEILING = 2 << 30
"""Bytes more than at first, that a child may touch; and that it may ask the system for, so that the machine stays usable."""

BATCH = 50
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
Make = Callable[[int], Files]
"""Makes the input of a seed."""

_SOURCE = f"{os.sep}scud{os.sep}"


@dataclass
class Tally:
    """What became of a target's inputs; of findings by kind and place, how many, and the first one's seed and words."""

    inputs: int = 0
    valid: int = 0
    refused: int = 0
    findings: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, seed: int, outcome: str) -> bool:
        """Count an outcome; whether it is a finding of a new kind and place."""
        self.inputs += 1
        if outcome == "valid":
            self.valid += 1
        elif outcome == "refused":
            self.refused += 1
        else:
            kind, _, said = outcome.partition(": ")
            self.findings[kind] += 1
            self.first.setdefault(kind, f"{seed} | {said}")
            return self.findings[kind] == 1
        return False


def seed_files(target: Target, folder: Path) -> Files:
    """The files of a target's valid input, made in a folder."""
    clear(folder)
    ended = forked(lambda: target.build(folder) and None)
    assert ended.status == 0, ended.text
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def input_of(target: Target, files: Files, seed: int) -> Files:
    """The files of an input."""
    return mutated(files, target.names(files), Random(f"{target.name}/{seed}"))


def clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def put(files: Files, folder: Path) -> None:
    """Make the files in an empty folder."""
    clear(folder)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def outcome_of(read: Callable[[], object]) -> str:
    """What reading came to: "valid", "refused", or the kind of exception and its place."""
    try:
        read()
    except UserError as error:
        return "refused" if len(str(error)) < 1500 else "a message of more than 1,500 characters"
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if _SOURCE in frame.filename] or frames
        name = ours[-1].filename.rpartition(f"{os.sep}src{os.sep}")[2]
        return f"{type(error).__name__} at {name}:{ours[-1].lineno}: {str(error)[:80]!r}"
    return "valid"


def run_batch(
    target: Target, make: Make, seeds: Iterable[int], folder: Path
) -> Iterator[tuple[int, str]]:
    """The outcomes of some inputs; another child goes on after one that ended."""
    left = list(seeds)
    while left:
        for seed, outcome in _in_child(target, make, left, folder):
            left.remove(seed)
            yield seed, outcome


def _in_child(
    target: Target, make: Make, seeds: list[int], folder: Path
) -> Iterator[tuple[int, str]]:
    """The outcomes of inputs up to the first one that ends the child."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid == 0:
        _read_all(target, make, seeds, folder, writing)
    os.close(writing)
    at, reason = seeds[0], ""
    with os.fdopen(reading, "rb") as lines:
        watch = _Limits(pid)
        for line in _lines(lines, watch):
            if line is None:
                reason = watch.beyond
                os.kill(pid, signal.SIGKILL)
                break
            number, outcome = json.loads(line)
            watch.restart()
            if outcome is None:
                at = number
                continue
            yield number, outcome
            at = -1
    _, code = os.waitpid(pid, 0)
    if at >= 0 and (reason or code):
        yield at, reason or f"ended by {code}"


def _lines(file: object, watch: "_Limits") -> Iterator[bytes | None]:
    """The lines that a child writes; None when it is beyond a limit."""
    descriptor, pending = file.fileno(), b""  # type: ignore[attr-defined]
    while True:
        ready, _, _ = select.select([descriptor], [], [], 0.05)
        if watch.exceeded():
            yield None
            return
        if not ready:
            continue
        part = os.read(descriptor, 1 << 16)
        if not part:
            return
        *lines, pending = (pending + part).split(b"\n")
        yield from lines


class _Limits:
    """What a child takes for the input at hand."""

    def __init__(self, pid: int) -> None:
        self.pid, self.beyond = pid, ""
        self.base = self._memory()
        self.restart()

    def restart(self) -> None:
        self.began, self.computed = time.monotonic(), self._computing()

    def exceeded(self) -> bool:
        if self._memory() - self.base > MEMORY:
            self.beyond = "more than 1 GB"
        elif self._computing() - self.computed > SECONDS:
            self.beyond = "more than 10 s"
        elif time.monotonic() - self.began > WAITING:
            self.beyond = "waits for ever"
        return bool(self.beyond)

    def _memory(self) -> int:
        with contextlib.suppress(OSError, IndexError):
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE
        return 0

    def _computing(self) -> float:
        with contextlib.suppress(OSError, IndexError):
            rest = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(rest[11]) + int(rest[12])) / _TICK
        return 0.0


def _read_all(target: Target, make: Make, seeds: list[int], folder: Path, output: int) -> None:
    """Read inputs in the child, and tell what became of each."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123
        size = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
        resource.setrlimit(resource.RLIMIT_AS, (size + CEILING, size + CEILING))
        warnings.simplefilter("ignore")
        base = _highest()
        for seed in seeds:
            put(make(seed), folder)
            os.write(output, json.dumps([seed, None]).encode() + b"\n")
            outcome = outcome_of(lambda: target.read(folder))
            if _highest() - base > MEMORY:
                outcome = "more than 1 GB"
            os.write(output, json.dumps([seed, outcome]).encode() + b"\n")
            if outcome == "more than 1 GB":
                break
    finally:
        os._exit(0)


def _highest() -> int:
    """The most memory that this process has had."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def table(tallies: dict[str, Tally]) -> int:
    """Print what became of the inputs; the number of findings."""
    print("\n| target | inputs | refused | valid | findings |\n|---|---|---|---|---|")
    total = Tally()
    for name, tally in tallies.items():
        found = sum(tally.findings.values())
        print(f"| {name} | {tally.inputs:,} | {tally.refused:,} | {tally.valid:,} | {found:,} |")
        total.inputs += tally.inputs
        total.refused += tally.refused
        total.valid += tally.valid
        total.findings += tally.findings
    found = sum(total.findings.values())
    print(f"| all | {total.inputs:,} | {total.refused:,} | {total.valid:,} | {found:,} |")
    if found:
        print("\n| target | finding | times | first seed | it says |\n|---|---|---|---|---|")
    for name, tally in tallies.items():
        for finding, times in tally.findings.most_common():
            print(f"| {name} | {finding} | {times} | {tally.first[finding]} |")
    return found


def save(target: Target, files: Files, seed: int, folder: Path | None) -> None:
    """Keep an input, if there is a folder for it."""
    if folder is not None:
        put(input_of(target, files, seed), folder / f"{target.name}-{seed}".replace("/", "-"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="stop after so many")
    parser.add_argument("--inputs", type=int, default=1000, help="of each target, at most")
    parser.add_argument("--only", default="", help="targets whose name holds this")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--save", type=Path, help="folder for the inputs of findings")
    options = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes
    tallies = {target.name: Tally() for target in TARGETS if options.only in target.name}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "input"
        seeds = {
            target.name: seed_files(target, place) for target in TARGETS if target.name in tallies
        }
        for start in range(options.first, options.first + options.inputs, BATCH):
            for target in TARGETS:
                if target.name not in tallies or time.monotonic() > end:
                    continue
                files = seeds[target.name]
                batch = range(start, min(start + BATCH, options.first + options.inputs))
                make = partial(input_of, target, files)
                for seed, outcome in run_batch(target, make, batch, place):
                    if tallies[target.name].add(seed, outcome):
                        print(f"{target.name}, seed {seed}: {outcome}", flush=True)
                        save(target, files, seed, options.save)
    return 1 if table(tallies) else 0


if __name__ == "__main__":
    sys.exit(main())

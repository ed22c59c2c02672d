"""Kills below Python: strace ends the command line just before its N-th call of the system, whoever makes it."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.scenarios import SCENARIOS, Place
from tests.faults.trials import Tally, Trial, tried

CALLS = "write,pwrite64,writev,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,ftruncate,openat"
"""Calls of the system that change files."""

_CALL = re.compile(r"(\d+) +(\w+)\(")


def kills(root: Path, most: int, late: Callable[[], bool]) -> Tally | None:
    """Kill a new run before so many of its calls, from everywhere; None without strace.

    Calls are numbered by those of another run, of which Python makes a few more or less: a run may end before the last ones.
    """
    strace = shutil.which("strace")
    if strace is None:
        return None
    scenario = next(one for one in SCENARIOS if one.name == "new run")
    trial, tally = Trial(scenario, Place(root)), Tally()
    points = _points(strace, trial)
    for call, number in points[:: max(1, len(points) // max(most, 1))][:most]:
        if late():
            break

        trial.put_back()
        status = _run(strace, trial, f"-einject={call}:signal=KILL:when={number}")
        if status == 0:
            print(f"  a run ended before {call} {number}", flush=True)
            continue

        def outcome(status: int = status) -> tuple[str, str]:
            killed = status in (-signal.SIGKILL, 128 + signal.SIGKILL)
            return trial.recovered() if killed else ("broke", f"not killed, status {status}")

        tried(tally, f"killed before {call} {number}", outcome)
    return tally


def _points(strace: str, trial: Trial) -> list[tuple[str, int]]:
    """Which calls of the main thread change what is below the folder: the call, and its number among all of that name."""
    log = trial.place.root / "calls"
    trial.put_back()
    assert _run(strace, trial, "--seccomp-bpf", "-y", "-s0", f"-o{log}") == 0
    seen: Counter[str] = Counter()
    found, main = list[tuple[str, int]](), ""
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        main = main or match[1]
        if match[1] != main:
            continue
        seen[match[2]] += 1
        changes = match[2] != "openat" or "O_CREAT" in line or "O_WRONLY" in line
        if changes and str(trial.place.work) in line:
            found.append((match[2], seen[match[2]]))
    return found


def _run(strace: str, trial: Trial, *more: str) -> int:
    """Train under strace, in a process of its own; its exit status."""
    command = [sys.executable, "-m", "scud", *trial.place.options()]
    # What strace prints of the calls is of no use where it ends them.
    output = [] if any(one.startswith("-o") for one in more) else ["-o", os.devnull]
    return subprocess.run(
        [strace, "-f", "-qq", f"-etrace={CALLS}", *more, *output, *command],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode

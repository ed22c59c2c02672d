"""Real limits of the system: files that may not grow, a disk that is full, and no network."""

import os
import resource
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scud.cli import main
from tests.faults.children import forked
from tests.faults.scenarios import (
    Action,
    Place,
    Scenario,
    finished,
    nothing,
    read_sequences,
    read_text,
    sample,
    train,
)
from tests.faults.trials import Trial

NEW = Scenario("new run", nothing, train(), (train("--resume"), train(), train("--overwrite")))
FASTA = Scenario("read FASTA", nothing, read_sequences, (read_sequences,))
TEXT = Scenario("read text", nothing, read_text, (read_text,))


def limited(action: Action, place: Place, size: int) -> Action:
    """An action of a process none of whose files may be larger than `size` bytes."""

    def act(_: Place) -> int | None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return action(place)

    return act


@pytest.mark.parametrize(
    ("scenario", "sizes"),
    [(NEW, (300, 100_000)), (FASTA, (10, 100, 150, 200, 300)), (TEXT, (10, 100, 300, 500))],
    ids=lambda value: value.name if isinstance(value, Scenario) else "",
)
def test_files_that_may_not_grow(
    tmp_path: Path, scenario: Scenario, sizes: tuple[int, ...]
) -> None:
    trial, refused = Trial(scenario, Place(tmp_path)), 0
    for size in sizes:
        trial.put_back()
        act = limited(scenario.start, trial.place, size)
        ended = forked(lambda act=act: act(trial.place))
        refused += ended.status == 2
        assert trial.after_refusal(ended, "File too large") == ("recovered", ""), size
    assert refused


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Path]:
    """A folder below which a small disk may be mounted."""
    mount = shutil.which("mount")
    place = tmp_path / "place" / "work"
    place.mkdir(parents=True)
    if mount is None or os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    tried = subprocess.run([mount, "-t", "tmpfs", "-o", "size=4k", "none", place], check=False)
    if tried.returncode:
        pytest.skip("no disk can be mounted here")
    subprocess.run(["umount", place], check=True)
    yield place
    subprocess.run(["umount", place], check=False, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(
    ("scenario", "sizes"),
    [
        pytest.param(NEW, (8, 200, 500), marks=pytest.mark.long),
        (FASTA, tuple(range(8, 60, 8))),
        (TEXT, tuple(range(8, 60, 16))),
    ],
    ids=lambda value: value.name if isinstance(value, Scenario) else "",
)
def test_disks_of_a_few_sizes(disks: Path, scenario: Scenario, sizes: tuple[int, ...]) -> None:
    """Sizes in kB; afterwards the disk gets room, and the same command ends as if nothing had been."""
    trial, refused = Trial(scenario, Place(disks.parent)), 0
    shutil.rmtree(disks)
    disks.mkdir()
    for size in sizes:
        options = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "none", str(disks)]
        subprocess.run(options, check=True)
        try:
            ended = forked(lambda: scenario.start(trial.place))
            refused += ended.status == 2
            subprocess.run(["mount", "-o", "remount,size=50m", str(disks)], check=True)
            assert trial.after_refusal(ended, "No space left on device") == ("recovered", ""), size
        finally:
            subprocess.run(["umount", str(disks)], check=True)
    assert refused


def refuse_network() -> None:
    """Let no socket of the internet be connected in this process, loopback apart; where root can, not even that."""
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: object) -> None:
        local = self.family == socket.AF_UNIX or str(address[0]) in ("127.0.0.1", "::1")  # type: ignore[index]
        assert local, f"asked for {address}"
        connect(self, address)  # type: ignore[arg-type]

    def no_name(host: object, *_: object, **__: object) -> None:
        raise AssertionError(f"asked for the name {host}")

    socket.socket.connect = connect_locally  # type: ignore[method-assign]
    socket.getaddrinfo = no_name  # type: ignore[assignment]
    unshare = getattr(os, "unshare", None)  # from Python 3.12 on
    if unshare is not None and os.geteuid() == 0:
        unshare(os.CLONE_NEWNET)


def test_nothing_asks_the_network(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.make_inputs()
    finished(place)
    sequences, run = str(place.root / "some.fasta"), str(place.root / "proteins")
    small = ["--network.width=16", "--network.layers=1", "--network.hidden=8", "--training.steps=1"]
    gaps = tmp_path / "gaps.fasta"
    gaps.write_text(">one\nACD??FGH\n")

    def commands() -> int:
        refuse_network()
        os.environ["SCUD_CACHE"] = str(tmp_path / "cache")
        proteins = ["train", "proteins", f"--data.train={sequences}", *small, "--out", run]
        status = train("--overwrite")(place)
        status = status or main(["evaluate", str(place.run), "--split=valid", "--repeats=1"])
        status = status or sample(0)(place)
        status = status or main([*proteins, "--device=cpu", "--data.valid-share=0.3"])
        infill = [
            "infill",
            run,
            f"--input={gaps}",
            "--num=1",
            "--steps=1",
            "--device=cpu",
        ]
        return status or main(infill)

    ended = forked(commands)
    assert (ended.status, ended.broke) == (0, ""), ended.text

"""A data set, options and a command line small enough for tests."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scud.cli import main
from scud.data.order import Shuffled
from scud.evaluation import bound
from scud.training import metrics
from scud.training.bar import Bar
from tests.tools.curves import blank
from tests.tools.version_cases import OneSource, examples_of_0_1_0
from tests.unit.sequences import random_fasta
from tests.unit.texts import some_text


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.strip().splitlines()[-1]


Command = Callable[..., Outcome]

STEPS = ["--training.steps=4", "--training.validate-every=2"]
"""Of a run that is validated twice."""


def without(options: list[str], *names: str) -> list[str]:
    """Options but those whose names begin so: options of other kinds are refused."""
    return [
        option for option in options if not option.startswith(tuple(f"--{name}" for name in names))
    ]


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def resume(scud: Command, run: Path) -> Any:
    return scud("train", run / "config.yaml", "--out", run, "--resume")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def blank_curves() -> Iterator[None]:
    """Training curves without anything in them: drawing them takes a quarter of a small run."""
    with blank():
        yield


@pytest.fixture
def stop_after() -> Iterator[Callable[[int, Callable[[], None]], None]]:
    """Let something happen right after a step."""

    def plan(step: int, event: Callable[[], None]) -> None:
        report = Bar.__call__

        def report_then_stop(bar: Bar, row: metrics.Metrics) -> None:
            report(bar, row)
            if row.step == step:
                patch.undo()
                event()

        patch.setattr(Bar, "__call__", report_then_stop)

    with pytest.MonkeyPatch.context() as patch:
        yield plan


@pytest.fixture
def old_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take examples, and evaluate with noise, as version 0.1.0 did: all else can be compared with what it made of them."""
    monkeypatch.setattr(Shuffled, "examples", examples_of_0_1_0)
    monkeypatch.setattr(Shuffled, "version", 1)
    monkeypatch.setattr(bound, "seeded", OneSource())


@pytest.fixture
def scud(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process; its exit status and what it printed."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        printed = capfd.readouterr()
        assert "Traceback" not in printed.err + printed.out
        return Outcome(status, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """44 images of 4 x 4 pixels with some structure, 40 of them for training."""
    path = tmp_path_factory.mktemp("data") / "images.npz"
    random = np.random.default_rng(0)
    rows = random.integers(0, 256, (54, 4, 1)) + random.integers(-20, 20, (54, 4, 4))
    x = rows.clip(0, 255).astype(np.uint8)
    np.savez(path, x_train=x[:40], x_valid=x[40:44], x_test=x[44:])
    return path


@pytest.fixture(scope="session")
def tiny(images: Path) -> list[str]:
    """Options that make training a matter of a second: five states, twelve steps of nine images (2.7 epochs)."""
    options = {
        "data.train": images,
        "data.num-states": 5,
        "process.bandwidth": 0.3,
        "network.width": 8,
        "network.blocks": 1,
        "network.levels": 1,
        "network.dropout": 0.1,
        "network.head": "categorical",
        "training.steps": 12,
        "training.batch-size": 9,
        "training.warmup": 3,
        "training.learning-rate": 0.01,
        "training.ema-decay": 0.9,
        "training.validate-every": 4,
        "training.validation-repeats": 1,
    }
    return [f"--{name}={value}" for name, value in options.items()]


@pytest.fixture(scope="session")
def four_steps(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 4 steps, validated after every second."""
    run = tmp_path_factory.mktemp("four") / "run"
    assert main(["train", "images", *tiny, *STEPS, "--out", str(run)]) == 0
    return run


@pytest.fixture
def finished(four_steps: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(four_steps, tmp_path / "finished"))


@pytest.fixture
def small() -> list[str]:
    """Options that make training a matter of a second."""
    options = {
        "data.valid-share": 0.2,
        "network.width": 16,
        "network.layers": 2,
        "network.hidden": 8,
        "training.steps": 6,
        "training.batch-tokens": 300,
        "training.warmup": 2,
        "training.validate-every": 3,
        "training.validation-repeats": 1,
    }
    return [f"--{name}={value}" for name, value in options.items()]


@pytest.fixture
def small_text(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """Options that make training on text a matter of a second; stores go to a cache of their own."""
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path_factory.mktemp("cache")))
    options = {
        "data.length": 16,
        "data.tokens": "characters",
        "data.alphabet": " .abcehnstu",
        "network.kind": "bytenet",
        "network.width": 16,
        "network.layers": 2,
        "network.hidden": 8,
        "network.dropout": 0.1,
        "training.steps": 3,
        "training.batch-size": 8,
        "training.warmup": 2,
        "training.validate-every": 2,
    }
    return [f"--{name}={value}" for name, value in options.items()]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """400 words of a small vocabulary."""
    path = tmp_path / "text.txt"
    path.write_text(some_text(400))
    return path


@pytest.fixture
def proteins(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """60 random proteins of 8 to 40 residues; stores go to a cache of their own."""
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path_factory.mktemp("cache")))
    return random_fasta(tmp_path / "proteins.fasta", 60, 8, 40)


Snapshot = dict[Path, bytes]


def snapshot(folder: Path) -> Snapshot:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def refuse(scud: Command, run: Path) -> Callable[..., str]:
    """Run a command that must fail as it should; what it said, on one line."""

    def check(*arguments: object) -> str:
        before = snapshot(run.parent.parent)
        outcome = scud(*arguments)
        assert outcome.status == 2, outcome
        assert snapshot(run.parent.parent) == before
        assert 0 < len(outcome.err) < 1500
        return " ".join(outcome.err.replace("│", " ").split())

    return check

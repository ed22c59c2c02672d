"""Where the host would wait for a device, numbers of a step are read when the next has been queued: the run is the same."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scud.training import checkpoint, metrics
from scud.training.module import DiffusionTraining
from tests.integration.conftest import STEPS, Command, names, resume
from tests.integration.test_resume import rows, same_model


@pytest.fixture(autouse=True)
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiffusionTraining, "reads_late", True)


def test_a_run_is_the_same(scud: Command, tiny: list[str], tmp_path: Path, finished: Path) -> None:
    run = tmp_path / "run"
    assert scud("train", "images", *tiny, *STEPS, "--out", run).status == 0
    assert rows(run) == rows(finished)
    assert same_model(run, finished)
    assert names(run) == names(finished)


def test_numbers_are_read_one_step_later(
    scud: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But before a validation and at the end, when all are."""
    seen, measured = list[tuple[int, list[int]]](), DiffusionTraining.measured

    def noted(module: Any, **options: Any) -> Any:
        found = measured(module, **options)
        seen.append((module.step, [numbers.step for numbers in found]))
        return found

    monkeypatch.setattr(DiffusionTraining, "measured", noted)
    run = tmp_path / "run"
    steps = ["--training.steps=5", "--training.validate-every=3"]
    assert scud("train", "images", *tiny, *steps, "--out", run).status == 0
    assert seen == [(1, []), (2, [1]), (3, [2, 3]), (4, []), (5, [4, 5])]
    assert [row.step for row in metrics.read(run / "metrics.csv")] == [1, 2, 3, 4, 5]


def test_a_signal_stops_with_all_numbers_read(
    scud: Command, tiny: list[str], tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, step = tmp_path / "run", DiffusionTraining.optimizer_step

    def then_stop(module: Any, *arguments: Any, **options: Any) -> None:
        step(module, *arguments, **options)
        if module.step == 3:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(DiffusionTraining, "optimizer_step", then_stop)
        assert scud("train", "images", *tiny, *STEPS, "--out", run).status == 128 + signal.SIGTERM
    assert checkpoint.read(run / "checkpoints" / "last.ckpt").step == 3
    assert [row.step for row in metrics.read(run / "metrics.csv")] == [1, 2, 3]
    assert resume(scud, run).status == 0
    assert rows(run) == rows(finished)
    assert same_model(run, finished)


@pytest.mark.parametrize("bad_step", [2, 3])
def test_what_is_not_finite_is_told_by_its_step_and_never_kept(
    scud: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad_step: int
) -> None:
    step = DiffusionTraining.training_step

    def broken(module: Any, *arguments: Any) -> Tensor:
        loss = step(module, *arguments)
        return loss * torch.nan if module.step + 1 == bad_step else loss

    monkeypatch.setattr(DiffusionTraining, "training_step", broken)
    run = tmp_path / "run"
    outcome = scud("train", "images", *tiny, *STEPS, "--out", run)
    assert outcome.status == 2
    assert f"training stopped at step {bad_step}: the gradient of the loss is nan" in outcome.err
    assert [row.step for row in metrics.read(run / "metrics.csv")] == list(range(1, bad_step))
    kept = {checkpoint.read(file).step for file in (run / "checkpoints").iterdir()}
    assert kept == ({2} if bad_step == 3 else set())

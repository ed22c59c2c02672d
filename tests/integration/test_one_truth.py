"""Whatever happens to a run folder, the run that it holds is as it was before or after a change, and can go on."""

import dataclasses
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scud import Masking, fit
from scud.cli import main
from scud.data import ImagesOptions
from scud.errors import UserError
from scud.files import locks
from scud.networks import DiT
from scud.runs import load, save
from scud.training import callbacks, checkpoint, metrics
from scud.training.files import RunFolder
from tests.integration.conftest import STEPS, Command, names, resume
from tests.integration.test_resume import rows, same_model

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def another_seed(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run by another seed."""
    run = tmp_path_factory.mktemp("another") / "run"
    assert main(["train", "images", *tiny, *STEPS, "--seed=1", "--out", str(run)]) == 0
    return run


MODEL_CHANGES: dict[str, Change] = {
    "lost weights": lambda run: (run / "model" / "model.safetensors").unlink(),
    "cut weights": lambda run: os.truncate(run / "model" / "model.safetensors", 100),
    "empty weights": lambda run: os.truncate(run / "model" / "model.safetensors", 0),
    "lost folder": lambda run: [path.unlink() for path in (run / "model").iterdir()],
}


@pytest.mark.parametrize("change", MODEL_CHANGES.values(), ids=MODEL_CHANGES)
def test_resuming_a_finished_run_writes_a_model_that_was_lost(
    scud: Command, finished: Path, change: Change
) -> None:
    model = finished / "model" / "model.safetensors"
    before, loss = model.read_bytes(), rows(finished)
    change(finished)
    outcome = resume(scud, finished)
    assert outcome.status == 0
    assert "wrote" in outcome.out
    assert model.read_bytes() == before
    assert rows(finished) == loss
    assert scud("evaluate", finished, "--repeats", 1).status == 0


@pytest.mark.parametrize(
    ("file", "step"),
    [
        pytest.param("best.ckpt", 2, marks=pytest.mark.long),
        pytest.param("best.ckpt", 4, marks=pytest.mark.long),
        ("last.ckpt", 4),
        ("model.safetensors", 4),
        ("config.json", 2),
    ],
)
def test_a_run_killed_before_it_writes_a_file_ends_as_if_it_had_not_been(
    scud: Command,
    tiny: list[str],
    tmp_path: Path,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    step: int,
) -> None:
    broken, place = tmp_path / "broken", Path.replace
    seen = []

    def killed(temporary: Path, target: Path) -> Path:
        if Path(target).name == file:
            seen.append(target)
            if len(seen) == step // 2:
                raise KeyError("killed")
        return place(temporary, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyError, match="killed"):
        scud("train", "images", *tiny, *STEPS, "--out", broken)
    monkeypatch.undo()
    assert resume(scud, broken).status == 0
    assert rows(broken) == rows(finished)
    assert same_model(broken, finished)
    assert names(broken) == names(finished)
    for which in ("best", "last"):
        ours, theirs = (
            checkpoint.read(run / "checkpoints" / f"{which}.ckpt") for run in (broken, finished)
        )
        assert ours.step == theirs.step
        assert all(ours.average[name].equal(theirs.average[name]) for name in ours.average)


def test_what_a_killed_process_leaves_in_a_new_folder_is_no_run(
    scud: Command, tiny: list[str], tmp_path: Path, finished: Path
) -> None:
    run = tmp_path / "left"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints").rmdir()
    (run / ".config.yaml.123.tmp").write_text("seed: 0")
    (run / ".lock").write_text("process 123 on somewhere\n")
    assert scud("train", "images", *tiny, *STEPS, "--out", run).status == 0
    assert names(run) == names(finished)


@pytest.mark.parametrize("number", [*(pytest.param(n, marks=pytest.mark.long) for n in (0, 3)), 5])
def test_an_overwriting_that_is_cut_short_can_be_done_again(
    scud: Command,
    tiny: list[str],
    finished: Path,
    another_seed: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    remove = Path.unlink
    removed = []

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path.exists() and path.name != locks.NAME:
            removed.append(path)
            if len(removed) > number:
                raise KeyError("killed")
        remove(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    again = ["train", "images", *tiny, *STEPS, "--seed=1", "--out", finished, "--overwrite"]
    with pytest.raises(KeyError, match="killed"):
        scud(*again)
    monkeypatch.undo()
    assert scud(*again).status == 0
    assert rows(finished) == rows(another_seed)
    assert same_model(finished, another_seed)


def test_a_best_checkpoint_that_was_lost_is_written_again_where_it_is_the_last(
    scud: Command, finished: Path
) -> None:
    best, last = RunFolder(finished).best, checkpoint.read(RunFolder(finished).last)
    assert checkpoint.read(best).step == last.step
    best.unlink()
    assert resume(scud, finished).status == 0
    assert checkpoint.read(best).best == last.best
    best.unlink()
    checkpoint.write(RunFolder(finished).last, dataclasses.replace(last, best=last.best / 2))
    with pytest.warns(UserWarning, match="best.ckpt was lost"):
        assert resume(scud, finished).status == 0


@pytest.mark.parametrize(
    "option",
    ["batch-size=1000000000", "validation-repeats=1000000000", "validation-repeats=100001"],
)
def test_what_clearly_cannot_fit_is_refused_before_training(
    scud: Command, tiny: list[str], tmp_path: Path, option: str
) -> None:
    outcome = scud("train", "images", *tiny, f"--training.{option}", "--out", tmp_path / "run")
    assert outcome.status == 2
    assert option.partition("=")[0].replace("-", "_") in outcome.err
    assert not (tmp_path / "run").exists()


def test_stale_temporary_files_go_at_the_next_start(scud: Command, finished: Path) -> None:
    before = names(finished)
    for name in ("checkpoints/.last.ckpt", "model/.model.safetensors", ".metrics.csv"):
        (finished / f"{name}.7.tmp").write_bytes(b"half")
    assert resume(scud, finished).status == 0
    assert names(finished) == before


@pytest.mark.parametrize("how", ["--resume", "--overwrite"])
def test_a_second_writer_is_refused_by_name(
    scud: Command, tiny: list[str], finished: Path, how: str
) -> None:
    before = (finished / "metrics.csv").read_bytes()
    with locks.locked(finished):
        outcome = scud("train", "images", *tiny, *STEPS, "--out", finished, how)
        assert scud("evaluate", finished, "--repeats", 1).status == 0, "readers do not wait"
    assert outcome.status == 2
    assert f"which process {os.getpid()} on " in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert (finished / "metrics.csv").read_bytes() == before


def test_a_validation_that_is_not_finite_is_never_kept(
    scud: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate, calls = callbacks.evaluate, []

    def nan_at_last(*arguments: Any, **options: Any) -> Any:
        calls.append(0)
        result = evaluate(*arguments, **options)
        return result if len(calls) < 2 else dataclasses.replace(result, diffusion=math.nan)

    monkeypatch.setattr(callbacks, "evaluate", nan_at_last)
    run = tmp_path / "run"
    outcome = scud("train", "images", *tiny, *STEPS, "--out", run)
    assert outcome.status == 2
    assert "training stopped at step 4: the bound on the validation split is nan" in outcome.err
    assert f"{run}/checkpoints/last.ckpt, of step 2" in outcome.err
    assert [row.step for row in metrics.read(run / "metrics.csv")] == [1, 2, 3]
    assert "nan" not in (run / "metrics.csv").read_text()
    assert {checkpoint.read(file).step for file in (run / "checkpoints").iterdir()} == {2}


def test_a_learning_rate_that_breaks_the_weights_ends_with_status_2(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    wild = ["--training.learning-rate=1e38", "--training.warmup=0", "--training.validate-every=1"]
    outcome = scud("train", "images", *tiny, *wild, "--training.steps=1", "--out", run)
    assert outcome.status == 2
    assert "there is no checkpoint yet" in outcome.err
    assert "model" not in {path.parent.name for path in run.rglob("*")}
    assert scud("sample", run).status == 2


@pytest.mark.parametrize(
    "damage",
    [b"", b"\xff\xfe\x00", b"step,train\n7,x,,0.1,0.2,0.3\n", None],
    ids=["empty", "binary", "wrong", "lost"],
)
def test_a_finished_run_whose_metrics_were_lost_still_says_its_last_validation(
    scud: Command, finished: Path, damage: bytes | None
) -> None:
    last = rows(finished)[-1]
    if damage is None:
        (finished / "metrics.csv").unlink()
    else:
        (finished / "metrics.csv").write_bytes(damage)
    with pytest.warns(UserWarning, match="has lost 3 of its rows up to step 4"):
        outcome = resume(scud, finished)
    assert outcome.status == 0
    assert f"validation {last.valid_bits_per_dim:.3f}" in outcome.out
    assert rows(finished) == [last]
    assert last.valid_bits_per_dim_error is not None
    assert "(95% interval " in outcome.out


@pytest.mark.parametrize("split", ["train", "valid"])
def test_data_of_other_content_are_told_though_their_counts_are_the_same(
    scud: Command, tiny: list[str], images: Path, tmp_path: Path, split: str
) -> None:
    own, run = tmp_path / "own.npz", tmp_path / "run"
    shutil.copy(images, own)
    assert scud("train", "images", *tiny, *STEPS, f"--data.train={own}", "--out", run).status == 0
    with np.load(images) as arrays:
        parts = dict(arrays)
    parts[f"x_{split}"] = parts[f"x_{split}"][::-1]
    np.savez(own, **parts)
    for outcome in (resume(scud, run), scud("evaluate", run, "--repeats", 1)):
        assert outcome.status == 2
        assert f"got other examples or labels of {split}; restore the data file" in outcome.err
    with np.load(images) as arrays:
        np.savez_compressed(own, **arrays)
    assert resume(scud, run).status == 0, "the same content in another file"


def test_weights_that_are_not_finite_are_not_saved(finished: Path, tmp_path: Path) -> None:
    run = load(finished)
    next(run.network.parameters()).fill_(math.inf)
    with pytest.raises(UserError, match="must hold finite numbers"):
        save(tmp_path / "own", run.model, run.network, run.modality)
    assert not (tmp_path / "own").exists()


def test_a_place_that_cannot_be_written_to_is_told_before_the_data_are_read(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    for place in ("file/run", "loop", "loop/run"):
        outcome = scud(
            "train", "images", *tiny, "--data.train=/nowhere.npz", "--out", tmp_path / place
        )
        assert outcome.status == 2
        assert "out must be a" in outcome.err


def test_the_model_has_the_rights_of_other_files(finished: Path) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in finished.rglob("*.*")}
    assert modes["model.safetensors"] == modes["config.yaml"]
    assert load_file(finished / "model" / "model.safetensors")


class Masked(DiT):
    """A network of one's own with a buffer that is minus infinity."""

    def __init__(self, width: int = 16) -> None:
        super().__init__(5, dims=(1, 4, 4), width=width, layers=1, heads=2)
        self.width = width
        self.register_buffer("mask", torch.full((2, 2), -math.inf))

    def spec(self) -> dict[str, Any]:
        return {"width": self.width}


def test_buffers_may_be_infinite(images: Path, tmp_path: Path) -> None:
    data = ImagesOptions(train=images, num_states=5).read()
    model = Masking(5, p0=data.p0())
    options = {"steps": 2, "validate_every": 1, "batch_size": 4, "progress": False}
    fit(model, Masked(), data, tmp_path / "run", **options)
    again = fit(model, Masked(), data, tmp_path / "run", resume=True, **options)
    assert math.isinf(float(again.network.mask.max()))

"""What must never be lost or taken for something else: other people's folders, trained runs, damaged files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.conftest import Command
from tests.saved import update


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_overwrite_refuses_a_folder_that_is_no_run(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "config.yaml").write_text("name: my website\n")
    (tmp_path / "model" / "weights.bin").write_bytes(b"precious")
    before = contents(tmp_path)
    outcome = scud("train", "images", *tiny, "--out", tmp_path, "--overwrite")
    assert outcome.status == 2
    assert "name is no option" in outcome.err
    assert contents(tmp_path) == before


def test_overwrite_keeps_files_that_the_run_did_not_write(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert scud("train", "images", *tiny, "--out", tmp_path).status == 0
    note = tmp_path / "model" / "notes.txt"
    note.write_text("mine")
    assert (
        scud(
            "train", "images", *tiny, "--out", tmp_path, "--overwrite", "--training.steps=2"
        ).status
        == 0
    )
    assert note.read_text() == "mine"
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 2


def test_resume_without_its_checkpoint_is_refused(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert scud("train", "images", *tiny, "--out", tmp_path).status == 0
    shutil.rmtree(tmp_path / "checkpoints")
    before = contents(tmp_path)
    outcome = scud("train", tmp_path / "config.yaml", "--out", tmp_path, "--resume")
    assert outcome.status == 2
    assert "checkpoint must exist" in outcome.err
    assert contents(tmp_path) == before


def test_resume_with_half_an_optimiser_is_refused(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    assert scud("train", "images", *tiny, "--out", tmp_path).status == 0
    path = tmp_path / "checkpoints" / "last.ckpt"
    torch.save(torch.load(path, weights_only=True) | {"optimizer": {"state": {}}}, path)
    before = contents(tmp_path)
    outcome = scud("train", tmp_path / "config.yaml", "--out", tmp_path, "--resume")
    assert outcome.status == 2
    assert "optimiser's state" in outcome.err
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("section", "value", "said"),
    [
        ("schedule", {"tensors": []}, "schedule must have a kind"),
        ("diffusion", {"kind": "scud", "gamma": "x"}, "damaged files"),
    ],
)
def test_a_damaged_model_is_named(
    scud: Command,
    tiny: list[str],
    tmp_path: Path,
    section: str,
    value: dict[str, object],
    said: str,
) -> None:
    assert scud("train", "images", *tiny, "--out", tmp_path).status == 0
    update(tmp_path, lambda config: config.update({section: value | {"tensors": []}}))
    outcome = scud("sample", tmp_path, "--num", 1, "--steps", 2)
    assert outcome.status == 2
    assert said in outcome.err


def test_one_test_image_has_no_standard_error(
    scud: Command, tiny: list[str], images: Path, tmp_path: Path
) -> None:
    with np.load(images) as data:
        np.savez(
            tmp_path / "one.npz",
            x_train=data["x_train"],
            x_valid=data["x_valid"],
            x_test=data["x_test"][:1],
        )
    options = [option for option in tiny if "data.train" not in option]
    run = tmp_path / "run"
    assert (
        scud(
            "train", "images", *options, f"--data.train={tmp_path / 'one.npz'}", "--out", run
        ).status
        == 0
    )
    assert scud("evaluate", run).status == 0
    assert (
        json.loads((run / "evaluation-test.json").read_text(), parse_constant=pytest.fail)[
            "standard_error"
        ]
        is None
    )


def test_a_seed_beyond_64_bits(scud: Command, tmp_path: Path) -> None:
    outcome = scud("sample", tmp_path, "--seed", 10**20)
    assert outcome.status == 2
    assert "seed must lie in" in outcome.err

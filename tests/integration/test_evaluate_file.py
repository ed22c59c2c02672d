"""`scud evaluate RUN --data FILE` bounds a file of the run's kind, without its training data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.conftest import Command, without
from tests.unit.sequences import random_fasta
from tests.unit.texts import some_text


def figures(run: Path, name: str) -> dict[str, Any]:
    """What was written of an evaluation, but for what was evaluated."""
    written = json.loads((run / f"evaluation-{name}.json").read_text())
    return {key: value for key, value in written.items() if key != "split"}


def check_file(scud: Command, run: Path, train: Path, valid: Path) -> None:
    """A file bounds as the split that was read from it does."""
    assert scud("evaluate", run, "--split=valid", "--repeats=2").status == 0
    train.unlink()
    bound = scud("evaluate", run, f"--data={valid}", "--repeats=2")
    assert bound.status == 0, bound.err
    assert f"on {valid.name}" in bound.last_line
    assert figures(run, valid.name) == figures(run, "valid")


def test_images(scud: Command, tiny: list[str], tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (30, 4, 4)).astype(np.uint8)
    train, valid, run = tmp_path / "train.npz", tmp_path / "other.npz", tmp_path / "run"
    np.savez(train, x_train=x[:20])
    np.savez(valid, x_train=x[20:])
    options = [*without(tiny, "data.train"), f"--data.train={train}", f"--data.valid={valid}"]
    assert scud("train", "images", *options, "--training.steps=1", "--out", run).status == 0
    check_file(scud, run, train, valid)
    np.savez(valid, x_train=x[:20], x_valid=x[20:25])
    assert scud("evaluate", run, f"--data={valid}", "--repeats=1").status == 0
    assert figures(run, "other.npz")["examples"] == 20, "those for training, without any for test"
    np.savez(valid, x_train=x[:20], x_test=x[20:27])
    assert scud("evaluate", run, f"--data={valid}", "--repeats=1").status == 0
    assert figures(run, "other.npz")["examples"] == 7, "those for test"


def test_arrays(scud: Command, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 4, (30, 2, 3))
    train, valid, run = tmp_path / "train.npy", tmp_path / "other.npy", tmp_path / "run"
    np.save(train, x[:20])
    np.save(valid, x[20:])
    network = ["--network.width=8", "--network.layers=1", "--network.heads=1"]
    options = [f"--data.train={train}", f"--data.valid={valid}", *network, "--training.steps=2"]
    trained = scud("train", "arrays", *options, "--out", run)
    assert trained.status == 0, trained.err
    assert "states 0..3" in trained.err
    check_file(scud, run, train, valid)
    sampled = scud("sample", run, "--num=3", "--steps=2")
    assert sampled.status == 0, sampled.err
    assert np.load(run / "samples" / "samples.npz")["x"].shape == (3, 2, 3)
    np.save(valid, x[20:] + 1)
    refused = scud("evaluate", run, f"--data={valid}")
    assert refused.status == 2
    assert "must hold states in 0..3, got 4" in refused.err


def test_sequences(scud: Command, small: list[str], proteins: Path, tmp_path: Path) -> None:
    valid, run = random_fasta(tmp_path / "other.fasta", 12, 8, 25, seed=3), tmp_path / "run"
    options = [
        *without(small, "data.valid-share"),
        f"--data.train={proteins}",
        f"--data.valid={valid}",
        "--training.steps=1",
    ]
    assert scud("train", "proteins", *options, "--out", run).status == 0
    check_file(scud, run, proteins, valid)
    span = scud("evaluate", run, f"--data={valid}", "--span=0.3", "--repeats=1")
    assert span.status == 0, span.err
    valid.write_text(">a\nAC-EF\n")
    refused = scud("evaluate", run, f"--data={valid}")
    assert refused.status == 2
    assert "record 1" in refused.err


@pytest.mark.parametrize("name", ["other.txt", "other.txt.gz"])
def test_text(scud: Command, small_text: list[str], text: Path, tmp_path: Path, name: str) -> None:
    import gzip

    valid, run = tmp_path / name, tmp_path / "run"
    written = some_text(100, seed=2).encode()
    valid.write_bytes(gzip.compress(written) if name.endswith(".gz") else written)
    options = [
        *without(small_text, "data.valid-share"),
        f"--data.train={text}",
        f"--data.valid={valid}",
        "--training.steps=1",
    ]
    assert scud("train", "text", *options, "--out", run).status == 0
    check_file(scud, run, text, valid)

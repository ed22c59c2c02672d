"""Runs that version 0.1.0 wrote can still be used, and mean what they meant.

The runs are in tests/fixtures; the figures here were measured with version 0.1.0, on one thread.
"""

import csv
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import scud as library
from scud.data.order import Shuffled
from tests.integration.conftest import Command

RUNS = Path(__file__).parents[1] / "fixtures" / "runs-0.1.0"

RTOL = 1e-4


@dataclass(frozen=True)
class Recorded:
    """What version 0.1.0 made of a run.

    Attributes:
        data: file of the data.
        split: what `scud evaluate` took, with --repeats 4.
        bits_per_dim: its figure.
        perplexity: its other figure.
        p0: the training marginal.
        resumed: train_bits_per_dim of steps 7 and 8.
        valid: valid_bits_per_dim after step 8.
    """

    data: str
    split: str
    bits_per_dim: float
    perplexity: float
    p0: list[float]
    resumed: list[float]
    valid: float


RECORDED = {
    "images": Recorded(
        data="images.npz",
        split="test",
        bits_per_dim=2.163549,
        perplexity=4.480156,
        p0=[0.1798450, 0.2248062, 0.1720930, 0.2294574, 0.1937984],
        resumed=[2.490207, 2.684784],
        valid=2.754140,
    ),
    "proteins": Recorded(
        data="proteins.fasta",
        split="valid",
        bits_per_dim=4.234110,
        perplexity=18.818900,
        p0=[
            *(0.0935583, 0.0429448, 0.0122699, 0.0460123, 0.0061350),
            *(0.0567485, 0.0322086, 0.0398773, 0.0153374, 0.0122699),
            *(0.0966258, 0.0475460, 0.1226994, 0.0506135, 0.0444785),
            *(0.0276074, 0.0874233, 0.0383436, 0.0766871, 0.0506135),
        ],
        resumed=[4.424887, 4.877161],
        valid=4.643015,
    ),
}

LOG_LIKELIHOOD = -2694.729
"""Sum of the bounds of all proteins, by `scud score` with --repeats 16."""


def unpack(kind: str, folder: Path) -> Path:
    """A run as its owner has it who moved the data: config.yaml names the file where it is now."""
    with tarfile.open(RUNS / f"{kind}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    config = folder / kind / "config.yaml"
    text = config.read_text()
    name = RECORDED[kind].data
    assert f"/data/{name}" in text
    config.write_text(text.replace(f"/data/{name}", str(RUNS / name)))
    return folder / kind


@pytest.fixture
def run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    return unpack(kind, tmp_path)


def read_metrics(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows: list[dict[str, str]], name: str) -> list[float]:
    return [float(row[name]) for row in rows if row[name]]


def last_step(run: Path) -> int:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return int(checkpoint["step"])


every_kind = pytest.mark.parametrize("kind", RECORDED)


@pytest.mark.usefixtures("old_order")
@every_kind
def test_the_bound_is_the_same(scud: Command, run: Path, kind: str) -> None:
    outcome = scud("evaluate", run, "--repeats=4", "--device=cpu")
    assert outcome.status == 0, outcome.err
    recorded = RECORDED[kind]
    figures = json.loads((run / f"evaluation-{recorded.split}.json").read_text())
    assert figures["bits_per_dim"] == pytest.approx(recorded.bits_per_dim, rel=RTOL)
    assert figures["perplexity"] == pytest.approx(recorded.perplexity, rel=RTOL)


@every_kind
def test_the_model_can_be_loaded(run: Path, kind: str) -> None:
    loaded = library.load(run)
    p0 = loaded.model.p0.tolist()
    assert p0 == pytest.approx(RECORDED[kind].p0, rel=RTOL)
    assert not loaded.network.training


@every_kind
@pytest.mark.usefixtures("old_order")
def test_training_goes_on(scud: Command, run: Path, kind: str) -> None:
    before = read_metrics(run)
    assert len(before) == last_step(run) == 6
    outcome = scud("train", run / "config.yaml", "--out", run, "--resume", "--device=cpu")
    assert outcome.status == 0, outcome.err
    assert last_step(run) == 8
    rows = read_metrics(run)
    assert column(rows, "step") == [1, 2, 3, 4, 5, 6, 7, 8]
    for old, row in zip(before, rows, strict=False):
        for name, cell in old.items():
            assert row[name] == cell
    recorded = RECORDED[kind]
    assert column(rows, "train_bits_per_dim")[6:] == pytest.approx(recorded.resumed, rel=RTOL)
    assert column(rows, "valid_bits_per_dim")[-1] == pytest.approx(recorded.valid, rel=RTOL)


@pytest.mark.parametrize("kind", ["images"])
def test_another_order_of_examples_is_said_once(scud: Command, run: Path, kind: str) -> None:
    """A run of images goes on from where it is with today's order; of sequences, above, nothing is said."""
    command = ("train", run / "config.yaml", "--out", run, "--resume", "--device=cpu")
    with pytest.warns(UserWarning, match=r"first 6 steps .* order of another version") as said:
        outcome = scud(*command)
    assert outcome.status == 0, outcome.err
    assert len(said) == 1
    rows = read_metrics(run)
    assert column(rows, "step") == [1, 2, 3, 4, 5, 6, 7, 8]
    resumed = column(rows, "train_bits_per_dim")[6:]
    assert resumed != pytest.approx(RECORDED[kind].resumed, rel=RTOL)
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["order"] == Shuffled.version
    assert scud(*command, "--training.steps=10").status == 0, "a warning would be an error"
    assert last_step(run) == 10


@every_kind
@pytest.mark.usefixtures("old_order")
def test_the_configuration_makes_the_run_again(scud: Command, run: Path, kind: str) -> None:
    """Options that are null or left out have the defaults that they had."""
    again = run.parent / "again"
    outcome = scud("train", run / "config.yaml", "--out", again, "--device=cpu")
    assert outcome.status == 0, outcome.err
    for name in ("train_bits_per_dim", "gradient_norm", "learning_rate"):
        old = column(read_metrics(run), name)
        new = column(read_metrics(again), name)
        assert new[:6] == pytest.approx(old, rel=RTOL)
    last = column(read_metrics(again), "train_bits_per_dim")[6:]
    assert last == pytest.approx(RECORDED[kind].resumed, rel=RTOL)


@every_kind
def test_samples_can_be_drawn(scud: Command, run: Path, kind: str) -> None:
    outcome = scud("sample", run, "--num=3", "--steps=3", "--device=cpu")
    assert outcome.status == 0, outcome.err
    name = {"images": "samples.npz", "proteins": "samples.fasta"}[kind]
    assert (run / "samples" / name).is_file()


@pytest.mark.parametrize("kind", ["proteins"])
def test_proteins_can_be_redesigned_and_scored(scud: Command, run: Path, kind: str) -> None:
    data = RUNS / RECORDED[kind].data
    filled = scud(
        *("infill", run, "--device=cpu"),
        *("--input", data, "--positions=3-5", "--num=1", "--steps=2"),
    )
    assert filled.status == 0, filled.err
    designs = (run / "samples" / "infilled.fasta").read_text().split(">")[1:]
    given = data.read_text().split(">")[1:]
    assert len(designs) == len(given) == 40
    for design, record in zip(designs, given, strict=True):
        new = design.splitlines()[1]
        old = record.splitlines()[1]
        assert len(new) == len(old)
        assert new[:2] + new[5:] == old[:2] + old[5:]

    scored = scud("score", run, "--device=cpu", "--input", data, "--repeats=16")
    assert scored.status == 0, scored.err
    with (run / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 40
    total = sum(column(rows, "log_likelihood"))
    assert total == pytest.approx(LOG_LIKELIHOOD, rel=RTOL)

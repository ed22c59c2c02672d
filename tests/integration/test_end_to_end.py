"""Train, evaluate and sample by the command line, for each model; and start from trained weights."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from torch._inductor.exc import TritonMissing

import scud as library
from tests.integration.conftest import Command, without
from tests.unit.image_files import write_cifar

UNIFORM_BITS = math.log2(5)


@pytest.fixture(autouse=True)
def blank_curves() -> None:
    """Here curves are drawn."""


@pytest.mark.parametrize(
    "options",
    [
        ["--diffusion.kind=scud", "--diffusion.gamma=0.5"],
        ["--diffusion.kind=masking", "--schedule.kind=cosine"],
        ["--diffusion.kind=classical", "--process.kind=uniform"],
    ],
    ids=["scud", "masking", "classical"],
)
def test_from_data_to_pictures(
    scud: Command, tiny: list[str], tmp_path: Path, options: list[str]
) -> None:
    run = tmp_path / "runs" / "mine"
    if options[0] != "--diffusion.kind=scud":
        tiny = without(tiny, "process.bandwidth")
    trained = scud("train", "images", *tiny, *options, "--training.steps=8", "--out", run)
    assert trained.status == 0, trained.err
    assert str(run) in trained.last_line
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "metrics.csv",
        "checkpoints",
        "model",
        "curves.png",
    }
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}

    evaluated = scud("evaluate", run, "--repeats=3", "--device=cpu")
    assert evaluated.status == 0, evaluated.err
    assert "evaluation-test.json" in evaluated.last_line
    figures = json.loads((run / "evaluation-test.json").read_text())
    assert figures["examples"] == 10
    assert figures["positions"] == 160
    assert 0.3 * UNIFORM_BITS < figures["bits_per_dim"] < 3 * UNIFORM_BITS
    assert (
        f"{figures['bits_per_dim']:.3f} ± {figures['bits_per_dim_error']:.3f}"
        in evaluated.last_line
    )
    assert "diffusion term" in evaluated.out
    assert "prior term" in evaluated.out
    assert "gain over independent states" in evaluated.out
    gain = (figures["independent"] - figures["diffusion"] - figures["prior"]) / 16
    assert figures["gain"] == pytest.approx(gain)
    assert figures["gain_error"] > 0

    sampled = scud("sample", run, "--num=5", "--steps=40", "--seed=3")
    assert sampled.status == 0, sampled.err
    assert str(run / "samples") in sampled.last_line
    with Image.open(run / "samples" / "samples.png") as grid:
        assert grid.size == (3 * 68 + 4, 2 * 68 + 4)
    with Image.open(run / "samples" / "denoising.gif") as animation:
        assert 10 < sum(1 for _ in ImageSequence.Iterator(animation)) <= 30
    again = scud("sample", run, "--num=5", "--steps=40", "--seed=3", "--out", tmp_path / "again")
    assert again.status == 0
    assert (tmp_path / "again" / "samples.png").read_bytes() == (
        run / "samples" / "samples.png"
    ).read_bytes()

    loaded = library.load(run)
    sampler = library.samplers.Ancestral(steps=3)
    x = library.sample(loaded, 4, sampler=sampler, generator=torch.Generator().manual_seed(0))
    assert x.shape == (4, 1, 4, 4)
    pixels = loaded.sample(4, sampler=sampler, generator=torch.Generator().manual_seed(0))
    drawn = loaded.draw(4, sampler=sampler, generator=torch.Generator().manual_seed(0)).states
    shown = library.plots.to_pixels(torch.stack(list(drawn)).numpy(), 5)
    np.testing.assert_array_equal(np.stack(pixels), shown)
    assert loaded.elbo(x).total.shape == (4,)


def test_dense_process_from_a_file(scud: Command, tiny: list[str], tmp_path: Path) -> None:
    rates = np.random.default_rng(0).random((5, 5))
    np.save(tmp_path / "rates.npy", rates - np.diag(rates.sum(1)))
    tiny = without(tiny, "process.bandwidth")
    options = [
        "--process.kind=dense",
        f"--process.generator={tmp_path / 'rates.npy'}",
        "--training.steps=2",
    ]
    assert scud("train", "images", *tiny, *options, "--out", tmp_path / "run").status == 0
    (tmp_path / "rates.npy").unlink()
    assert scud("evaluate", tmp_path / "run", "--repeats=1").status == 0


def test_training_lowers_the_bound_and_can_start_from_it(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    options = [
        *tiny,
        "--training.batch-size=40",
        "--network.width=16",
        "--training.validation-repeats=10",
    ]
    assert scud("train", "images", *options, "--training.steps=40", "--out", first).status == 0
    from_nothing = library_metrics(first)
    assert from_nothing[-1] < from_nothing[0] - 0.05
    slow = ["--training.steps=1", "--training.learning-rate=1e-9", "--seed=1"]
    assert (
        scud("train", "images", *options, *slow, "--init-from", first, "--out", second).status == 0
    )
    assert library_metrics(second)[-1] < from_nothing[0] - 0.05
    assert f"init_from: {first}" in (second / "config.yaml").read_text()


def library_metrics(run: Path) -> list[float]:
    from scud.training import metrics

    return [
        row.valid_bits_per_dim
        for row in metrics.read(run / "metrics.csv")
        if row.valid_bits_per_dim is not None
    ]


def test_overwriting_replaces_the_run_and_nothing_else(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    short = [*tiny, "--training.steps=2"]
    assert scud("train", "images", *short, "--out", run).status == 0
    assert scud("sample", run, "--num=1", "--steps=2").status == 0
    (run / "notes.txt").write_text("mine")
    assert scud("train", "images", *short, "--seed=5", "--out", run, "--overwrite").status == 0
    assert (run / "notes.txt").read_text() == "mine"
    assert not (run / "samples").exists()
    assert "seed: 5" in (run / "config.yaml").read_text()


def test_bfloat16_and_flips(scud: Command, tiny: list[str], tmp_path: Path) -> None:
    """Training in bfloat16 follows training in float32, and keeps weights of float32."""
    bits = {}
    for precision in ("float32", "bfloat16"):
        folder = tmp_path / precision
        options = [*tiny, "--data.flips", f"--training.precision={precision}", "--out", folder]
        assert scud("train", "images", *options).status == 0
        bits[precision] = float((folder / "metrics.csv").read_text().splitlines()[-1].split(",")[2])
        assert all(
            weight.dtype == torch.float32 for weight in library.load(folder).network.parameters()
        )
    assert bits["bfloat16"] == pytest.approx(bits["float32"], rel=0.02)
    assert bits["bfloat16"] != bits["float32"]


def test_compiled_training(
    scud: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiled step is the same step; where nothing can be compiled, that is said."""
    plain, backends = torch.compile, {"same": "eager", "absent": missing}
    for name, backend in backends.items():
        monkeypatch.setattr(torch, "compile", partial(plain, backend=backend))
        outcome = scud(
            "train",
            "images",
            *tiny,
            "--training.steps=2",
            "--training.compile",
            "--out",
            tmp_path / name,
        )
        assert outcome.status == (0 if name == "same" else 2), outcome.err
    assert (
        "training.compile must be used where torch.compile works, got Cannot find a working triton"
        in " ".join(outcome.err.split())
    )
    assert (
        scud("train", "images", *tiny, "--training.steps=2", "--out", tmp_path / "plain").status
        == 0
    )
    losses = [
        (tmp_path / name / "metrics.csv").read_text().splitlines()[-1].split(",")[1]
        for name in ("same", "plain")
    ]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)


def missing(*_: object) -> None:
    """A compiler that is not there, as on a GPU without Triton."""
    raise TritonMissing(None)


def test_the_recipe_of_the_paper_on_files_as_published(scud: Command, tmp_path: Path) -> None:
    """CIFAR-10's folder, with the recipe as it is but for a smaller network and two steps."""
    write_cifar(tmp_path / "cifar", each=4)
    small = ["--network.preset=0.6M", "--training.steps=2", "--training.batch-size=2"]
    run = tmp_path / "run"
    trained = scud("train", "cifar10", "--data.train", tmp_path / "cifar", *small, "--out", run)
    assert trained.status == 0, trained.err
    config = (run / "config.yaml").read_text()
    assert all(
        line in config
        for line in ("flips: true", "precision: bfloat16", "num_states: 256", "bandwidth: 0.05")
    )
    assert library.load(run).modality.dims == (3, 32, 32)

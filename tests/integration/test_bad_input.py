"""Every mistake ends with a short message that names the remedy and exit status 2, and no file is changed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scud.networks import UNet
from scud.training import metrics
from scud.typing import Conditioning
from tests.integration.conftest import Command, without
from tests.saved import strip


@pytest.fixture
def run(scud: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of two steps, runs/old, in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "old"
    assert scud("train", "images", *tiny, "--training.steps=2", "--out", folder).status == 0
    return folder


def write_npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


def test_commands_recipes_and_options(refuse: Callable[..., str], tiny: list[str]) -> None:
    assert "choose from train, evaluate, sample" in refuse("tarin")
    recipes = "arrays, cifar10, digits, fashion_mnist, images, lm1b, proteins, text, text8"
    assert f"recipe must be one of {recipes} or a config.yaml, got 'digitz'" in refuse(
        "train", "digitz"
    )
    assert "name a recipe or a config.yaml" in refuse("train", "--seed", "3")
    assert "--diffusion.gamma" in refuse("train", "digits", "--diffusion.gama", "1")
    assert "diffusion.kind must be one of scud, masking, classical, got 'scuds'" in refuse(
        "train", "digits", "--diffusion.kind", "scuds"
    )
    assert "invalid" in refuse("train", "digits", "--training.steps", "many").lower()
    assert "training.steps must be at least 1, got 0" in refuse(
        "train", "digits", "--training.steps", "0"
    )
    assert "must be auto, cpu, cuda or cuda:N" in refuse(
        "train", "images", *tiny, "--device", "tpu", "--out", "x"
    )
    divided = refuse("train", "images", *tiny, "--training.accumulate", "2", "--out", "x")
    assert "training.batch_size must be divisible" in divided
    wrong = refuse("train", "images", *tiny, "--network.preset", "600M", "--out", "x")
    assert "network.preset must be one of 0.6M, 4M, 12M, paper for unet, got 600M" in wrong
    assert "use fewer levels" in refuse(
        "train", "images", *tiny, "--network.levels", "9", "--out", "x"
    )


@pytest.mark.parametrize("gamma", ["0", "-0.5", "1.5"])
def test_gamma(refuse: Callable[..., str], gamma: str) -> None:
    said = refuse("train", "digits", f"--diffusion.gamma={gamma}")
    assert f"diffusion.gamma must lie in (0, 1], got {float(gamma)}; use 1 for" in said


@pytest.mark.parametrize("gamma", ["nan", "inf"])
def test_gamma_that_is_not_finite(refuse: Callable[..., str], gamma: str) -> None:
    said = refuse("train", "digits", f"--diffusion.gamma={gamma}")
    assert f"diffusion.gamma: input should be a finite number, got {gamma}" in said


def test_periodic_kernel(refuse: Callable[..., str], tiny: list[str]) -> None:
    tiny = without(tiny, "process.bandwidth")
    binary = ["--data.num-states=2", "--process.kind=uniform", "--out=x"]
    assert "lower gamma, for example to 0.5" in refuse("train", "images", *tiny, *binary)


def test_generators(refuse: Callable[..., str], tiny: list[str], tmp_path: Path) -> None:
    path, tiny = tmp_path / "rates.npy", without(tiny, "process.bandwidth")
    options = [*tiny, "--process.kind=dense", f"--process.generator={path}", "--out=x"]
    assert "process.generator" in refuse("train", "images", *options)
    np.save(path, np.ones((5, 5)))
    assert "rows that sum to 0" in refuse("train", "images", *options)
    np.save(path, np.ones((3, 3)))
    assert "between the data's states, [5, 5], got [3, 3]" in refuse("train", "images", *options)
    np.save(path, np.array(["a", "b"]))
    assert ".npy file of numbers" in refuse("train", "images", *options)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    pickled = refuse("train", "images", *options)
    assert "process.generator must be an undamaged .npy file without pickled objects" in pickled
    assert "add --process.generator FILE" in refuse(
        "train", "images", *tiny, "--process.kind=dense", "--out=x"
    )


def test_data(refuse: Callable[..., str], tmp_path: Path) -> None:
    def train(**arrays: Any) -> str:
        return refuse("train", "images", f"--data.train={write_npz(tmp_path, **arrays)}", "--out=x")

    good = np.random.default_rng(0).integers(0, 256, (20, 4, 4))
    assert "add --data.train FILE" in refuse("train", "images", "--out=x")
    assert "name a file or folder that exists" in refuse(
        "train", "images", "--data.train=nowhere.npz", "--out=x"
    )
    assert "hold an array x_train" in train(x_test=good)
    assert "convert it with .astype(np.uint8)" in train(x_train=good / 255)
    assert "hold values in 0..255, got 300" in train(
        x_train=np.where(good == good.max(), 300, good)
    )
    assert "hold at least one image" in train(x_train=good[:0])
    assert "data.num_states must lie in [2, 256], got 1; choose" in refuse(
        "train", "images", "--data.num-states=1", "--out=x"
    )
    (tmp_path / "data.npz").write_bytes((tmp_path / "data.npz").read_bytes()[:100])
    assert "undamaged .npz file" in refuse(
        "train", "images", f"--data.train={tmp_path / 'data.npz'}", "--out=x"
    )


def test_a_folder_that_holds_a_run(
    refuse: Callable[..., str], tiny: list[str], run: Path, tmp_path: Path
) -> None:
    again = ["train", "images", *tiny, "--training.steps=2", "--out", run]
    assert "--resume (in Python resume=True) to continue it, --overwrite to replace it" in refuse(
        *again
    )
    assert "to continue it, --overwrite" in refuse("train", run / "config.yaml")
    assert "drop one" in refuse(*again, "--resume", "--overwrite")
    changed = refuse(*again, "--resume", "--training.learning-rate=0.5", "--seed=9")
    assert "seed, training.learning_rate" in changed
    assert "--init-from" in changed
    assert "hold a run to resume" in refuse(*again[:-1], tmp_path / "new", "--resume")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("three years")
    for option in ([], ["--resume"], ["--overwrite"]):
        assert "be empty or hold a run" in refuse(*again[:-1], tmp_path / "full", *option)
    assert "be a folder" in refuse(*again[:-1], tmp_path / "full" / "thesis.tex")


def test_a_mistake_with_overwrite_loses_nothing(
    refuse: Callable[..., str], tiny: list[str], run: Path, tmp_path: Path
) -> None:
    again = ["train", "images", *tiny, "--out", run, "--overwrite"]
    refuse(*again, "--data.train=nowhere.npz")
    refuse(*again, "--diffusion.gamma=2")
    refuse(*again, "--network.levels=5")
    refuse(*again, "--init-from=nowhere")
    refuse(*again, "--training.accumulate=2")
    refuse(*again, "--device=cuda:99")
    lacking = ["train", "images", *without(tiny, "process.bandwidth"), "--out", run, "--overwrite"]
    assert "add --process.generator FILE" in refuse(*lacking, "--process.kind=dense")
    refuse(*again, f"--init-from={run}", "--network.width=16")
    assert not list(tmp_path.rglob("*.tmp"))


def test_other_weights(refuse: Callable[..., str], tiny: list[str], run: Path) -> None:
    wider = refuse("train", "images", *tiny, "--network.width=16", f"--init-from={run}", "--out=x")
    assert "have the shape of this network's" in wider
    assert str(run) in wider
    deeper = refuse("train", "images", *tiny, "--network.blocks=2", f"--init-from={run}", "--out=x")
    assert "no such layer" in deeper


def test_runs_that_are_missing_or_damaged(
    refuse: Callable[..., str], scud: Command, run: Path
) -> None:
    resume = ["train", run / "config.yaml", "--out", run, "--resume"]
    for command in ("evaluate", "sample"):
        assert "must be a folder that exists, got nowhere" in refuse(command, "nowhere")
        assert "check the spelling" in refuse(command, "nowhere")
    assert "repeats must be at least 1" in refuse("evaluate", run, "--repeats=0")
    assert "batch_size must be at least 1" in refuse("evaluate", run, "--batch-size=0")
    assert "num must be at least 1" in refuse("sample", run, "--num=0")
    assert "steps must be at least 1" in refuse("sample", run, "--steps=0")
    weights, text, last = (
        run / "model" / "model.safetensors",
        run / "model" / "config.json",
        run / "checkpoints/last.ckpt",
    )
    copy = text.read_bytes()
    text.unlink()
    with pytest.warns(UserWarning, match="config.json is not what the weights beside it say"):
        assert scud("sample", run, "--num=1", "--steps=2").status == 0
    text.write_bytes(copy)
    strip(run)  # without what the weights say of themselves, the text is needed
    for file in (weights, text):
        whole = file.read_bytes()
        for size in (0, 5, len(whole) // 2, len(whole) - 3):
            file.write_bytes(whole[:size])
            for command in ("evaluate", "sample"):
                assert "damaged files" in refuse(command, run)
        file.unlink()
        assert f"hold model/{file.name}" in refuse("sample", run)
        file.write_bytes(whole)
    text.write_text(text.read_text().replace('"scud"', '"skud"'))
    assert "diffusion.kind must be one of classical, masking, scud, got 'skud'" in refuse(
        "sample", run
    )
    whole = last.read_bytes()
    for size in (0, 100, len(whole) - 10):
        last.write_bytes(whole[:size])
        assert "damaged file" in refuse(*resume)
        assert "best.ckpt" in refuse(*resume)
    state = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save(state | {"network": {}}, last)
    assert "no such layer" in refuse(*resume)


def test_data_that_is_missing_or_has_changed(
    refuse: Callable[..., str], scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    path = write_npz(tmp_path, x_train=np.random.default_rng(0).integers(0, 256, (20, 4, 4)))
    options = [*tiny, f"--data.train={path}", "--training.steps=1", "--out", tmp_path / "untested"]
    assert scud("train", "images", *options).status == 0
    assert "split must be one of train, valid, got 'test'" in refuse(
        "evaluate", tmp_path / "untested", "--split=test"
    )
    np.savez(path, x_train=np.random.default_rng(0).integers(0, 256, (20, 6, 4)))
    changed = refuse("evaluate", tmp_path / "untested", "--split=valid")
    assert "data must be images of 5 levels of shape [1, 4, 4], as those of the run" in changed
    assert "got images of 5 levels of shape [1, 6, 4]; restore the data file" in changed
    path.unlink()
    assert "name a file or folder that exists" in refuse("evaluate", tmp_path / "untested")


@pytest.mark.parametrize(("first", "where"), [(6, "last.ckpt"), (2, "there is no checkpoint yet")])
def test_a_loss_that_is_not_finite(
    scud: Command,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: int,
    where: str,
) -> None:
    forward, calls = UNet.forward, 0

    def breaks(network: UNet, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        nonlocal calls
        calls += network.training
        return forward(network, x_t, conditioning) * (
            float("nan") if network.training and calls == first else 1.0
        )

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(UNet, "forward", breaks)
        outcome = scud("train", "images", *tiny, "--out", run)
    assert outcome.status == 2
    message = " ".join(outcome.err.split())
    assert f"training stopped at step {first}: the diffusion term of the bound is nan" in message
    assert where in message
    assert "lower training.learning_rate" in message
    assert len(metrics.read(run / "metrics.csv")) == first - 1
    assert scud("train", "images", *tiny, "--out", run, "--resume").status == 0

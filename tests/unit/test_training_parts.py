"""The parts of training that have a formula: averaged weights, learning rate, seeds; and its files."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from scud.errors import UserError
from scud.files import writing
from scud.seeds import Use, derive
from scud.training import checkpoint, metrics
from scud.training.checkpoint import Checkpoint
from scud.training.ema import Ema
from scud.training.metrics import Metrics
from scud.training.options import ByExamples


def test_ema_follows_its_formula() -> None:
    norm = nn.BatchNorm1d(2)
    network = nn.Sequential(nn.Linear(2, 2), norm, nn.Dropout(0.5))
    ema = Ema(network, 0.3)
    reference = {name: value.clone().double() for name, value in network.named_parameters()}
    for update in range(6):
        with torch.no_grad():
            for value in network.parameters():
                value.normal_()
            norm.register_buffer("running_mean", torch.full((2,), float(update)))
        ema.update(network, update)
        decay = min(0.3, (1 + update) / (10 + update))
        for name, value in network.named_parameters():
            reference[name] = decay * reference[name] + (1 - decay) * value.double()
    for name, value in ema.network.named_parameters():
        torch.testing.assert_close(value.double(), reference[name], rtol=1e-6, atol=1e-7)
    assert dict(ema.network.named_buffers())["1.running_mean"].tolist() == [5, 5]
    assert not ema.network.training
    assert not any(value.requires_grad for value in ema.network.parameters())


def test_ema_of_half_precision_weights_is_kept_in_float32() -> None:
    network = nn.Linear(2, 2).bfloat16()
    ema = Ema(network, 0.999)
    ema.update(network, 10_000)
    assert all(value.dtype == torch.float32 for value in ema.network.parameters())


@pytest.mark.parametrize("decay", [-0.1, 1, 1.5, math.nan])
def test_ema_has_a_decay_below_1(decay: float) -> None:
    with pytest.raises(UserError, match=r"decay must lie in \[0, 1\), got"):
        Ema(nn.Linear(2, 2), decay)


def test_ema_follows_one_network() -> None:
    ema = Ema(nn.Linear(2, 2), 0.5)
    for other in (nn.Linear(2, 3), nn.Linear(2, 2, bias=False), nn.Sequential()):
        with pytest.raises(UserError, match="network must have the weights that are averaged"):
            ema.update(other, 0)


def test_learning_rate_rises_then_falls() -> None:
    from scud.training.module import learning_rate

    cosine = ByExamples(steps=110, warmup=10, learning_rate=1.0, decay="cosine")
    assert [learning_rate(cosine, step) for step in (0, 4, 9, 10)] == [0.1, 0.5, 1.0, 1.0]
    assert learning_rate(cosine, 60) == pytest.approx(0.5)
    assert 0 < learning_rate(cosine, 109) < 1e-3
    constant = ByExamples(steps=110, warmup=0, learning_rate=1.0, decay="constant")
    assert {learning_rate(constant, step) for step in range(110)} == {1.0}


def test_seeds_differ_by_use_and_place() -> None:
    seeds = {derive(seed, use, step) for seed in range(5) for use in Use for step in range(5)}
    assert len(seeds) == 5 * len(Use) * 5
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_failure_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def fail_half_way() -> None:
        with writing(path) as file:
            file.write(b"half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_metrics_keep_their_digits_and_drop_later_and_broken_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    rows = [
        Metrics(step, math.pi * step, step / 3 if step == 2 else None, 1e-7, 0.1 + 0.2, 1.5)
        for step in range(1, 6)
    ]
    for row in rows:
        metrics.append(path, row)
    assert metrics.read(path) == rows
    path.write_text(path.read_text() + "6,0.3")
    metrics.keep_until(path, 3)
    assert metrics.read(path) == rows[:3]


def test_checkpoints_come_back_as_they_were(tmp_path: Path) -> None:
    state = Checkpoint(
        3,
        {"a": torch.randn(2)},
        {"a": torch.randn(2)},
        {"state": {0: {"step": torch.ones(())}}},
        1.5,
        2.0,
    )
    checkpoint.write(tmp_path / "last.ckpt", state)
    again = checkpoint.read(tmp_path / "last.ckpt")
    assert again.network["a"].equal(state.network["a"])
    assert (again.step, again.best, again.seconds) == (3, 1.5, 2.0)


@pytest.mark.parametrize("keep", [0, 10, 300, -20])
def test_a_truncated_checkpoint_is_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "last.ckpt"
    checkpoint.write(path, Checkpoint(3, {"a": torch.randn(50)}, {}, {}, 1.5, 2.0))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"damaged file, .*last\.ckpt"):
        checkpoint.read(path)


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"step": Path("anything that is no tensor")}, path)
    with pytest.raises(UserError, match="damaged"):
        checkpoint.read(path)

"""Weights in bfloat16: what trains in them, and what stays in float32."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import scud
from scud.networks import ByteNet, DiT, UNet
from scud.processes import Uniform
from scud.schedules import Linear
from scud.training import checkpoint, threads
from scud.training.files import RunFolder
from scud.training.precision import keep_weights_in
from tests.unit.front import DATA, MODELS, SHORT, B, fit, network, rows, same
from tests.unit.test_training_threads import job_of


def kept(folder: Path) -> dict[str, set[torch.dtype]]:
    """The types of numbers in a checkpoint."""
    state = checkpoint.read(RunFolder(folder).last)
    moments = [value for part in state.optimizer["state"].values() for value in part.values()]
    parts = {"network": state.network, "average": state.average}
    types = {name: {value.dtype for value in part.values()} for name, part in parts.items()}
    return types | {"optimizer": {value.dtype for value in moments if value.ndim}}


@pytest.mark.parametrize("kind", MODELS)
def test_weights_and_moments_are_bfloat16_and_the_average_float32(
    tmp_path: Path, kind: str
) -> None:
    """Noise and times are those of float32, so that the first loss is the same up to rounding."""
    true, plain = tmp_path / "true", tmp_path / "plain"
    run = fit(true, kind, precision="bfloat16-true")
    fit(plain, kind)
    assert kept(true) == {
        "network": {torch.bfloat16},
        "average": {torch.float32},
        "optimizer": {torch.bfloat16},
    }
    saved = load_file(true / "model" / "model.safetensors")
    types = {value.dtype for name, value in saved.items() if name.startswith("network.")}
    assert types == {torch.float32} == {value.dtype for value in run.network.parameters()}
    ours, theirs = (float(rows(folder)[1][1]) for folder in (true, plain))
    assert ours == pytest.approx(theirs, rel=0.01)
    assert ours != theirs


def test_it_learns_and_goes_on_bit_for_bit(tmp_path: Path) -> None:
    long = {"precision": "bfloat16-true", "steps": 60, "decay": "constant", "learning_rate": 0.02}
    net = network()
    fitted = {**SHORT, **long, "device": "cpu", "progress": False}
    model = MODELS["masking"](DATA.p0())
    whole = scud.fit(model, net, DATA, tmp_path / "whole", **fitted)
    assert {weight.dtype for weight in net.parameters()} == {torch.float32}, "given back so"
    valid = [float(row[2]) for row in rows(tmp_path / "whole")[1:] if row[2]]
    assert valid[-1] < valid[0] - 0.02
    half = tmp_path / "half"
    fit(half, **{**long, "steps": 30})
    assert same(fit(half, **long, resume=True), whole)
    assert rows(half) == rows(tmp_path / "whole")


NETWORKS = {
    "unet": lambda: UNet(B, (1, 4, 4), width=8, blocks=1, levels=1, head="mixed"),
    "dit": lambda: DiT(B, width=16, layers=1, heads=2),
    "bytenet": lambda: ByteNet(B, width=8, layers=2),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_computes_with_weights_in_bfloat16(kind: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NETWORKS[kind]()
    x0 = torch.randint(B, (3, 1, 4, 4) if kind == "unet" else (3, 6), generator=seeded())
    model = scud.SCUD(Uniform(B), Linear(), p0=torch.full((B,), 1 / B))
    plain = float(model.objective(net.eval(), x0, generator=seeded()).loss.detach().mean())
    keep_weights_in(torch.bfloat16, net)
    assert {value.dtype for value in net.parameters()} == {torch.bfloat16}
    assert torch.bfloat16 not in {value.dtype for value in net.buffers()}
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.objective(net, x0, generator=seeded()).loss
    loss.mean().backward()
    assert loss.dtype == torch.float32
    assert float(loss.detach().mean()) == pytest.approx(plain, rel=0.02)
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in net.parameters())


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_threads_are_tried_with_it_on_a_copy() -> None:
    job = job_of(precision="bfloat16-true")
    assert set(threads.time_steps(job, [1])) == {1}
    assert {weight.dtype for weight in job.network.parameters()} == {torch.float32}

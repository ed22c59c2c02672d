"""What `training.compile` compiles where shapes are fixed: all behind the noise as one graph, which says what is said without.

Tried on a CPU, without a compiler: PyTorch follows the same Python code, and runs or differentiates what it has found.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from scud import Diffusion
from scud.diffusion import Bound, Objective, Reconstruction
from scud.diffusion.compiled import CompiledObjective
from scud.networks import DiT
from scud.numerics import fixed_shapes
from scud.training.checkpoint import read
from scud.training.files import RunFolder
from scud.typing import Batch
from tests.integration.conftest import Command
from tests.pretended import cases

pytestmark = [  # of PyTorch's own code
    pytest.mark.filterwarnings("ignore:.*torch.autograd.function.Function.* should not be"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated"),
]

HALF, WHOLE = Reconstruction(share=0.5), Reconstruction()

FEW = (
    ("masking", "dit", HALF),
    ("scud gaussian", "unet", Bound()),
    ("classical blosum62", "bytenet", HALF),
)

ALL = [
    (model, network, objective)
    for model, network in cases.PAIRS
    for objective in (Bound(), HALF, WHOLE)
    if model != cases.GRAPH and (model, network, objective) not in FEW
]

MANY = 2100
"""States of which logits are made where they are asked for, and some positions are watched."""


def source() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def numbers(call: Any, network: nn.Module, batch: Batch, objective: Objective) -> list[Tensor]:
    """Losses, what is watched, all gradients of the network, and where the random numbers have come to."""
    noise = source()
    network.zero_grad()
    terms = call(network, batch, objective, generator=noise)
    terms.loss.sum().backward()
    slopes = [torch.zeros(1) if w.grad is None else w.grad.flatten() for w in network.parameters()]
    return [terms.loss.detach(), terms.diffusion, torch.cat(slopes), noise.get_state()]


def check_same(
    model: Diffusion,
    network: nn.Module,
    batch: Batch,
    objective: Objective,
    tolerance: float = 1e-5,
    **options: Any,
) -> None:
    """Raise unless what is compiled is one graph, and gives what is given without."""
    torch.compiler.reset()
    compiled = CompiledObjective(model, fullgraph=True, **options)
    with fixed_shapes():
        expected = numbers(model.objective, network, batch, objective)
        found = numbers(compiled, network, batch, objective)
    for ours, theirs in zip(found[:-1], expected[:-1], strict=True):
        most = tolerance * float(theirs.abs().max())
        torch.testing.assert_close(ours, theirs, rtol=0, atol=most)
    assert found[-1].equal(expected[-1])


def check_unbroken(name: str, network: str, objective: Objective) -> None:
    torch.compiler.reset()
    batch, model = cases.make_batch(network), cases.make_model(name)
    compiled = CompiledObjective(model)
    noised = model.noised(batch, generator=source())
    compiled.prepare(noised)
    arguments = (cases.make_network(network), noised, objective, None)
    explained = torch._dynamo.explain(compiled.behind_the_noise)(*arguments)
    assert (explained.graph_count, explained.graph_break_count) == (1, 0), explained.break_reasons


@pytest.mark.parametrize(("model", "network", "objective"), FEW)
def test_all_behind_the_noise_is_one_graph(model: str, network: str, objective: Objective) -> None:
    """With labels, padding and known positions."""
    check_unbroken(model, network, objective)


@pytest.mark.long
@pytest.mark.parametrize(("model", "network", "objective"), ALL)
def test_it_is_of_every_model_process_and_network(
    model: str, network: str, objective: Objective
) -> None:
    check_unbroken(model, network, objective)
    made, batch = cases.make_model(model), cases.make_batch(network)
    check_same(made, cases.make_network(network), batch, objective, backend="aot_eager")


def test_losses_and_gradients_are_those_without() -> None:
    network, batch = cases.make_network("bytenet"), cases.make_batch("bytenet")
    check_same(cases.make_model("scud uniform"), network, batch, WHOLE, backend="aot_eager")


def test_they_are_in_bfloat16() -> None:
    """A compiler need not round between operations."""
    network, batch = cases.make_network("dit"), cases.make_batch("dit")
    with torch.autocast("cpu", torch.bfloat16):
        check_same(
            cases.make_model("classical uniform"), network, batch, Bound(), 0.02, backend="eager"
        )


@pytest.mark.parametrize("at_once", [pytest.param(2**26, marks=pytest.mark.long), 0])
def test_they_are_of_many_states(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose logits are made where they are asked for, and whose bound is watched on some positions; in several stretches too."""
    monkeypatch.setattr("scud.processes.kernels.base.GPU_BLOCK_ELEMENTS", at_once)
    torch.manual_seed(1)
    network = DiT(MANY, width=8, layers=1, heads=1, dropout=0.0)
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.3)
    batch = Batch(torch.randint(MANY, (8, 16), generator=source()))
    model = cases.many(MANY, cases.marginal(MANY))
    check_same(model, network, batch, WHOLE, backend="eager")


@pytest.mark.parametrize("name", ["masking", pytest.param("scud blosum62", marks=pytest.mark.long)])
def test_batches_of_other_shapes_are_not_compiled_again(name: str) -> None:
    torch.compiler.reset()
    counter = CompileCounter()
    model, network = cases.make_model(name), cases.make_network("bytenet")
    compiled = CompiledObjective(model, backend=counter, fullgraph=True)
    with fixed_shapes():
        for batch, length in ((4, 12), (4, 13), (6, 17), (3, 20), (2, 31), (4, 12)):
            x0 = torch.randint(cases.B, (batch, length), generator=source())
            compiled(network, Batch(x0, x0 > 0), generator=source())
    assert counter.frame_count <= 3, "of the first shape, of any length, of any size and length"


@pytest.mark.parametrize("name", ["masking", cases.GRAPH])
def test_what_has_no_fixed_shapes_is_not_compiled(name: str) -> None:
    torch.compiler.reset()
    counter = CompileCounter()
    model, network, batch = (
        cases.make_model(name),
        cases.make_network("bytenet"),
        cases.make_batch("bytenet"),
    )
    compiled = CompiledObjective(model, backend=counter)
    with fixed_shapes(name == cases.GRAPH):
        expected = numbers(model.objective, network, batch, HALF)
        found = numbers(compiled, network, batch, HALF)
    assert all(ours.equal(theirs) for ours, theirs in zip(found, expected, strict=True))
    assert counter.frame_count == 0


def test_training_is_compiled_with_its_network(
    scud: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one graph, for the same losses; what is saved has the names that it has without."""
    torch.compiler.reset()
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    for name, options in {"plain": [], "compiled": ["--training.compile"]}.items():
        with fixed_shapes():
            command = ["images", *tiny, "--training.steps=2", *options, "--out", tmp_path / name]
            outcome = scud("train", *command)
        assert outcome.status == 0, outcome.err
    assert counter.frame_count == 1
    plain, compiled = (read(RunFolder(tmp_path / name).last) for name in ("plain", "compiled"))
    assert list(compiled.network) == list(plain.network)
    assert compiled.row is not None
    assert plain.row is not None
    assert compiled.row == pytest.approx(plain.row, rel=1e-4)

"""The DiT on arrays: it reads every position and every axis, and leaves padding out."""

import pytest
import torch

from scud import SCUD, Masking
from scud.errors import UserError
from scud.networks import DiT
from scud.networks.dit import LARGE_OUTPUT
from scud.numerics.logits import LinearLogits
from scud.processes import Uniform
from scud.schedules import Linear
from scud.typing import Conditioning, Given, Shape
from tests.unit.test_networks import awake

B = 5
ARRAYS = [(3, 4, 4), (5, 2), (2, 1, 3, 2)]


def network(dims: Shape, num_states: int = B, num_labels: int = 0) -> DiT:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = {"width": 16, "layers": 2, "heads": 2, "dropout": 0.0}
        return awake(DiT(num_states, dims=dims, num_labels=num_labels, **sizes))


def noised(dims: Shape, mask: torch.Tensor | None = None) -> tuple[torch.Tensor, Conditioning]:
    """Three noised examples."""
    model, generator = (
        SCUD(Uniform(B), Linear(), p0=torch.full((B,), 1 / B).double()),
        torch.Generator(),
    )
    x0 = torch.randint(B, (3, *dims), generator=generator.manual_seed(0))
    noisy = model.noise(x0, torch.full((3,), 0.5, dtype=torch.float64), generator)
    return noisy.x_t, model.condition(noisy, Given(mask=mask))


@pytest.mark.parametrize("dims", ARRAYS)
def test_every_parameter_learns(dims: Shape) -> None:
    net = network(dims, num_labels=3)
    x_t, given = noised(dims)
    label = torch.tensor([[0, 1], [2, -1], [-1, -1]])
    given = Conditioning(given.t, given.s, None, label, given.evidence)
    logits = net(x_t, given)
    assert logits.shape == (3, *dims, B)
    logits.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
        assert float(parameter.grad.abs().max()) > 0, name
    assert [tuple(axis.shape) for axis in net.axes] == [(size, 16) for size in dims]


@pytest.mark.parametrize("dims", ARRAYS)
@torch.no_grad()
def test_it_is_the_network_for_rows_over_places_that_have_features(dims: Shape) -> None:
    """With features of places at 0, an array is its positions in a row."""
    net = network(dims)
    for axis in net.axes:
        axis.zero_()
    rows = awake(DiT(B, width=16, layers=2, heads=2))
    state = net.state_dict().items()
    rows.load_state_dict({name: value for name, value in state if "axes" not in name})
    mask = torch.rand(3, *dims, generator=torch.Generator().manual_seed(1)) < 0.7
    x_t, given = noised(dims, mask)
    evidence = given.evidence

    class Flat:
        def embed(self, weight: torch.Tensor) -> torch.Tensor:
            return evidence.embed(weight).flatten(1, -2)

    flat = Conditioning(given.t, given.s.flatten(1), mask.flatten(1), None, Flat())
    expected = rows(x_t.flatten(1), flat)
    torch.testing.assert_close(net(x_t, given).flatten(1, -2), expected, rtol=0, atol=0)


@pytest.mark.parametrize("dims", ARRAYS)
@torch.no_grad()
def test_what_is_not_real_changes_nothing(dims: Shape) -> None:
    net, mask = (
        network(dims),
        torch.rand(3, *dims, generator=torch.Generator().manual_seed(1)) < 0.6,
    )
    x_t, given = noised(dims, mask)
    reference = net(x_t, given)
    assert bool(reference.isfinite().all())
    s = torch.where(mask, given.s, given.s + 3)
    evidence = given.evidence

    class Changed:
        def embed(self, weight: torch.Tensor) -> torch.Tensor:
            return torch.where(mask.unsqueeze(-1), evidence.embed(weight), weight[0])

    changed = net(torch.where(mask, x_t, 0), Conditioning(given.t, s, mask, None, Changed()))
    torch.testing.assert_close(changed[mask], reference[mask], rtol=1e-5, atol=1e-5)
    everything = net(x_t, noised(dims)[1])
    assert not torch.allclose(everything[mask], reference[mask]), "all are keys without a mask"
    nothing = net(x_t, noised(dims, torch.zeros_like(mask))[1])
    assert bool(nothing.isfinite().all())


@torch.no_grad()
def test_of_many_states_the_features_have_the_shape_of_the_array() -> None:
    many, dims = LARGE_OUTPUT + 1, (5, 2)
    model = Masking(many, p0=torch.full((many,), 1 / many).double())
    x0 = torch.zeros(3, *dims, dtype=torch.long)
    t = torch.full((3,), 0.5, dtype=torch.float64)
    noisy = model.noise(x0, t, torch.Generator().manual_seed(0))
    net = network(dims, many)
    logits = net(noisy.x_t, model.condition(noisy))
    assert isinstance(logits, LinearLogits)
    assert logits.shape == (3, *dims, many)
    dense = logits.dense()[..., :-1]
    net.num_states = LARGE_OUTPUT  # the same network, as one of few states would do it
    net.out.bias.data, net.out.weight.data = net.out.bias[:-1], net.out.weight[:-1]
    torch.testing.assert_close(net(noisy.x_t, model.condition(noisy)), dense)


def test_it_compiles_without_graph_breaks() -> None:
    net = network((5, 2))
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    mask = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(1)) < 0.7
    torch.testing.assert_close(compiled(*noised((5, 2), mask)), net(*noised((5, 2), mask)))


def test_a_row_is_a_row_with_or_without_dims() -> None:
    net = network((9,))
    assert net.dims is None
    assert "dims" not in net.spec()
    assert not any("axes" in name for name in net.state_dict())
    assert network((5, 2)).spec()["dims"] == [5, 2]


@pytest.mark.parametrize(
    ("dims", "shape", "message"),
    [
        (
            None,
            (3, 4),
            r"shape \[batch, length\], got \[3, 3, 4\]; build the network with the dims",
        ),
        ((5, 2), (2, 5), r"x_t must have shape \[batch, 5, 2\], got \[3, 2, 5\]"),
        ((5, 2), (10,), r"x_t must have shape \[batch, 5, 2\], got \[3, 10\]"),
    ],
)
def test_states_of_another_shape(dims: Shape | None, shape: Shape, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DiT(B, width=16, layers=1, heads=2, dims=dims)(*noised(shape))


@pytest.mark.parametrize("dims", [(), (3, 0)])
def test_dims_without_positions(dims: Shape) -> None:
    with pytest.raises(UserError, match="dims must hold sizes of at least 1"):
        DiT(B, dims=dims)


def test_it_learns_what_holds_along_every_axis() -> None:
    """States grow by 1 along rows and by 2 along columns: all follow from one."""
    generator, dims = torch.Generator().manual_seed(0), (4, 4)
    model = Masking(B, p0=torch.full((B,), 1 / B, dtype=torch.float64))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DiT(B, width=32, layers=2, heads=2, dropout=0.0, dims=dims)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    grown = torch.arange(4) + 2 * torch.arange(4).unsqueeze(1)
    losses = []
    for _ in range(100):
        start = torch.randint(B, (32, 1, 1), generator=generator)
        loss = model.loss(net, (start + grown) % B, generator=generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[:5]) / 5 > 1.3, "log 5 = 1.61 before anything is learnt"
    assert sum(losses[-10:]) / 10 < 0.5, "log 5 / 16 = 0.10 is the least"

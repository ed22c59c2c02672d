"""Objectives: mixtures as their formula says, each term computed once, and objectives of one's own."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking
from scud.diffusion import OBJECTIVES, Bound, Draw, Reconstruction
from scud.errors import UserError
from scud.processes import Gaussian
from scud.schedules import MutualInformation
from scud.typing import Batch, Conditioning

B = 5
P0 = torch.tensor([0.3, 0.1, 0.2, 0.15, 0.25], dtype=torch.float64)
PROCESS = Gaussian(B, 0.3)
MODELS: dict[str, Diffusion] = {
    "scud": SCUD(PROCESS, MutualInformation(PROCESS, P0, 0.8), 0.8, p0=P0),
    "classical": Classical(PROCESS, MutualInformation(PROCESS, P0, 0.0), p0=P0),
    "masking": Masking(B, p0=P0),
}
X0 = torch.randint(B, (6, 7), generator=torch.Generator().manual_seed(0))


class Learned(torch.nn.Module):
    """Logits that are the same at all positions, and learned."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.linspace(-1, 1, B))

    def forward(self, x_t: Tensor, _: Conditioning) -> Tensor:
        return self.logits.expand(*x_t.shape, B)


def source() -> torch.Generator:
    return torch.Generator().manual_seed(4)


@pytest.fixture
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often the model of the test computes each of its terms."""
    counts: Counter[str] = Counter()
    kind = request.node.callspec.params["kind"]
    for name in ("integrand", "reconstruction"):
        whole = getattr(MODELS[kind], name)

        def counted(*args: Tensor, name: str = name, whole: object = whole) -> Tensor:
            counts[name] += 1
            assert callable(whole)
            values: Tensor = whole(*args)
            return values

        monkeypatch.setattr(MODELS[kind], name, counted)
    return counts


@pytest.mark.parametrize("kind", ["scud", "classical"])
def test_every_term_is_computed_once(kind: str, asked: Counter[str]) -> None:
    losses = MODELS[kind].objective(Learned(), X0, Reconstruction(share=0.3), generator=source())
    draw = MODELS[kind].draw(Learned(), X0, generator=source())
    assert asked == {"integrand": 1, "reconstruction": 1}
    torch.testing.assert_close(losses.loss, 0.7 * draw.diffusion + 0.3 * draw.reconstruction)
    assert torch.equal(losses.diffusion, draw.diffusion)
    assert not losses.diffusion.requires_grad
    assert torch.equal(Bound()(MODELS[kind], draw), draw.diffusion)
    assert asked == {"integrand": 2, "reconstruction": 2}


@pytest.mark.parametrize("kind", ["masking"])
def test_where_the_two_terms_are_one_it_is_computed_once(kind: str, asked: Counter[str]) -> None:
    losses = MODELS[kind].objective(Learned(), X0, Reconstruction(), generator=source())
    assert torch.equal(losses.loss, losses.diffusion)
    assert asked == {"reconstruction": 1, "integrand": 1}, "one calls the other"


@pytest.mark.parametrize("kind", MODELS)
def test_an_objective_of_ones_own_trains_and_the_bound_is_watched(kind: str) -> None:
    model, network = MODELS[kind], Learned()

    def easy(model: Diffusion, draw: Draw) -> Tensor:
        """The plain cross-entropy at every position, whatever the noise."""
        logits = draw.logits
        assert isinstance(logits, Tensor)
        nats = -logits.log_softmax(-1).gather(-1, draw.x0.unsqueeze(-1)).squeeze(-1)
        assert model.num_states == B
        return draw.sum(nats)

    batch = Batch(X0, known=X0 == 2)
    losses = model.objective(network, batch, easy, generator=source())
    (gradient,) = torch.autograd.grad(losses.loss.sum(), network.logits)
    expected = -network.logits.log_softmax(0).detach()[X0].masked_fill(X0 == 2, 0).sum(1)
    torch.testing.assert_close(losses.loss.detach(), expected)
    assert float(gradient.abs().sum()) > 0
    bound = model.objective(network, batch, generator=source())
    assert torch.equal(losses.diffusion, bound.diffusion)


@pytest.mark.parametrize("kind", MODELS)
def test_loss_is_the_bound_per_position_that_counts(kind: str) -> None:
    mask, known = (
        torch.rand(6, 7, generator=source()) < 0.8,
        torch.rand(6, 7, generator=source()) < 0.3,
    )
    batch = Batch(X0, mask, known=known)
    loss = MODELS[kind].loss(Learned(), batch, generator=source())
    terms = MODELS[kind].objective(Learned(), batch, generator=source())
    torch.testing.assert_close(loss, terms.loss.sum() / (mask & ~known).sum())


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_must_be_one(share: float) -> None:
    with pytest.raises(
        UserError, match=r"share must lie in \(0, 1\], got .*; for the bound alone choose"
    ):
        Reconstruction(share=share)


def test_objectives_are_their_own_options() -> None:
    for kind, objective in OBJECTIVES.items():
        made = objective()
        assert made.kind == kind
        assert made.build() is made

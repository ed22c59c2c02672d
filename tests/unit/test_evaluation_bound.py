"""The evaluation: against figures computed by hand, and its promises about modes, masks and stratification."""

import math

import pytest
import torch
from torch import Tensor, nn

from scud import SCUD, Masking
from scud.data import Examples
from scud.diffusion.estimates import Elbo
from scud.errors import UserError
from scud.evaluation import evaluate
from scud.evaluation.bound import ratio_error, stratified_quantiles, take_off_control
from scud.processes import Uniform
from scud.schedules import MutualInformation
from scud.typing import Batch, BatchSize, Conditioning

P0 = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
LOGITS = torch.tensor([0.3, -0.2, 0.5])


class Constant(nn.Module):
    """Predicts the same law everywhere, and notes the mode it is called in."""

    modes: set[bool]

    def __init__(self) -> None:
        super().__init__()
        self.modes = set()

    def forward(self, x_t: Tensor, _: Conditioning) -> Tensor:
        self.modes.add(self.training)
        return LOGITS.expand(*x_t.shape, 3)


class Masked:
    """Examples of different lengths."""

    def __init__(self) -> None:
        self.x = torch.randint(3, (40, 6), generator=torch.Generator().manual_seed(0))
        self.mask = torch.arange(6) < torch.arange(40).unsqueeze(1) % 6 + 1

    def __len__(self) -> int:
        return 40

    def batches(self, size: BatchSize) -> tuple[Tensor, ...]:
        return torch.arange(len(self)).split(size.examples)

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.x[index], self.mask[index])


def test_masking_with_a_constant_prediction_by_hand() -> None:
    """On the linear schedule the diffusion term's expectation is t_max times the cross-entropy."""
    x = torch.randint(3, (200, 5), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    network = Constant().train()
    result = evaluate(Masking(3, p0=P0, t_max=0.9), network, Examples(x), repeats=40, batch_size=64)
    cross_entropy = -LOGITS.log_softmax(0)[x.long()]
    prior = -0.1 * P0.log()[x.long()]
    assert result.prior == pytest.approx(float(prior.sum(1).mean()), rel=1e-6)
    assert result.diffusion == pytest.approx(0.9 * float(cross_entropy.sum(1).mean()), rel=0.02)
    assert result.positions == 1000
    assert result.bits_per_dim == pytest.approx(result.total / 5 / math.log(2))
    assert result.bits_per_dim_error == pytest.approx(result.standard_error / math.log(2))
    assert 0 < result.standard_error < 0.1
    assert network.modes == {False}
    assert network.training


def test_lengths_that_differ_count_real_positions_only() -> None:
    examples = Masked()
    result = evaluate(Masking(3, p0=P0, t_max=0.9), Constant(), examples, repeats=60, batch_size=7)
    cross_entropy = (-LOGITS.log_softmax(0)[examples.x] * examples.mask).sum()
    assert result.positions == int(examples.mask.sum())
    expected = (
        0.9 * float(cross_entropy) - 0.1 * float((P0.log()[examples.x] * examples.mask).sum())
    ) / result.positions
    assert result.nats_per_position == pytest.approx(expected, rel=0.03)


def test_of_a_prediction_that_knows_p0_alone_noise_is_taken_off_and_it_gains_nothing() -> None:
    """16 draws for each of 200 examples: without the control variate the figure would be off by a few per cent."""
    x = torch.randint(3, (200, 5), generator=torch.Generator().manual_seed(1)).to(torch.uint8)

    def ignorant(x_t: Tensor, _: Conditioning) -> Tensor:
        return P0.log().expand(*x_t.shape, 3)

    class Ignorant(nn.Module):
        forward = staticmethod(ignorant)

    for kind in (
        Masking(3, p0=P0),
        SCUD(Uniform(3), MutualInformation(Uniform(3), P0, 0.5), 0.5, p0=P0),
    ):
        result = evaluate(kind, Ignorant(), Examples(x), repeats=16)
        exact = -float(P0.log()[x.long()].sum(1).mean())
        assert result.independent == pytest.approx(exact)
        assert result.total == pytest.approx(exact, rel=2e-3)
        assert abs(result.gain) < 2e-3
        assert result.gain == pytest.approx((exact - result.total) / 5)
        assert result.gain_error < 3e-3 < result.standard_error


class ByTime:
    """A model whose estimate and control variate depend on u alone: e^{2u} and u - 1/2 at each of an example's positions."""

    p0 = P0

    def elbo(self, _: nn.Module, batch: Batch, *, u: Tensor, **__: object) -> Elbo:
        nats = batch.x0.shape[1] * torch.stack([(2 * u).exp(), torch.zeros_like(u), u - 0.5])
        return Elbo(*nats)


def test_the_estimate_has_no_bias() -> None:
    """Means of 1,500 evaluations: 5.6 standard errors, one false alarm in 10^7 runs.

    One systematic sample for all examples would fail: the β of one half would know where the other's times are.
    """
    examples = Examples(torch.ones(8, 3).byte())
    found = torch.tensor(
        [evaluate(ByTime(), Constant(), examples, repeats=4, seed=s).diffusion for s in range(1500)]
    )  # type: ignore[arg-type]
    exact, error = 3 * math.expm1(2) / 2, float(found.std()) / 1500**0.5
    assert abs(float(found.mean()) - exact) < 5.6 * error
    assert error < 1e-3 * exact


def test_taking_off_the_control_variate() -> None:
    """What is β times the control variate goes, with β from the other half; a few draws, or an infinite one, give none."""
    generator, positions = (
        torch.Generator().manual_seed(0),
        torch.tensor([3.0, 5.0, 4.0] * 8).double(),
    )
    control, other = torch.randn(2, 4, 24, dtype=torch.float64, generator=generator)
    diffusion = 2 * positions + 0.4 * control
    less = take_off_control(diffusion, control, positions)
    torch.testing.assert_close(less, (2 * positions).expand_as(less), rtol=0, atol=0.15)
    changed = diffusion.clone()
    changed[:, 1::2] += other[:, 1::2]
    torch.testing.assert_close(
        take_off_control(changed, control, positions)[:, 1::2], less[:, 1::2] + other[:, 1::2]
    )
    assert not take_off_control(changed, control, positions)[:, ::2].equal(less[:, ::2])
    few = diffusion[:1], control[:1], positions
    assert take_off_control(*few).equal(diffusion[:1])
    changed[2, 3] = torch.inf
    assert take_off_control(changed, control, positions)[2, 3] == torch.inf
    assert take_off_control(changed, control, positions)[:, ::2].equal(diffusion[:, ::2])


def test_the_same_seed_gives_the_same_figures() -> None:
    model, examples = Masking(3, p0=P0), Masked()
    first, again, other = (
        evaluate(model, Constant(), examples, repeats=2, seed=seed) for seed in (4, 4, 5)
    )
    assert first == again
    assert first.diffusion != other.diffusion


def test_standard_error_of_equal_lengths_is_that_of_the_mean() -> None:
    nats = torch.tensor([10.0, 12.0, 17.0, 9.0])
    expected = float(nats.std()) / 2 / 5
    assert ratio_error(nats, torch.full((4,), 5)) == pytest.approx(expected)
    assert math.isnan(ratio_error(nats[:1], torch.tensor([5])))


def test_times_are_one_systematic_sample_and_even_for_each_example() -> None:
    u = stratified_quantiles(7, 4, torch.Generator().manual_seed(0))
    gaps = u.flatten().sort().values.diff()
    torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / 28))
    for example in u.T:
        gaps = example.sort().values.diff()
        torch.testing.assert_close(gaps, torch.full_like(gaps, 1 / 4))


def test_progress_ends_at_one_and_nothing_to_evaluate_is_refused() -> None:
    shares: list[float] = []
    evaluate(
        Masking(3, p0=P0), Constant(), Masked(), repeats=2, batch_size=16, progress=shares.append
    )
    assert len(shares) == 6
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    with pytest.raises(UserError, match="at least one example"):
        evaluate(Masking(3, p0=P0), Constant(), Examples(torch.zeros(0, 2, dtype=torch.uint8)))
    with pytest.raises(UserError, match="repeats"):
        evaluate(Masking(3, p0=P0), Constant(), Masked(), repeats=0)

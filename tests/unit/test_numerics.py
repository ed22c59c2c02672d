"""Draws are exact in the tail; divergences keep their digits; block-wise gradients are the true ones."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scud.numerics import (
    blockwise,
    draw_categorical,
    invert_cdf,
    posterior_divergence,
    stratified_uniform,
)


def test_tail_is_drawn_at_its_probability() -> None:
    """A total tail of 7.8% spread over 10,000 states, and one state of 1e-6: both within 5.5 standard errors (4e-8)."""
    tail = torch.full((10_000,), 0.078 / 10_000, dtype=torch.float64)
    weights = torch.cat(
        [torch.tensor([1 - 0.078 - 1e-6], dtype=torch.float64), tail, torch.tensor([1e-6])]
    )
    count = 4_000_000
    cdf = weights.cumsum(0).unsqueeze(0)
    uniform = torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    drawn = invert_cdf(cdf, torch.zeros(count, dtype=torch.long), uniform)
    for seen, p in ((drawn > 0, 0.078 + 1e-6), (drawn == 10_001, 1e-6)):
        # The rare state is expected 4 times: 20 or more happens in 1e-8 of runs.
        error = math.sqrt(count * p * (1 - p))
        assert abs(int(seen.sum()) - count * p) < max(5.5 * error, 16)


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.floats(0, 1e6), min_size=1, max_size=9).filter(lambda w: sum(w) > 1e-3),
    seed=st.integers(0, 99),
)
def test_no_state_of_probability_zero(weights: list[float], seed: int) -> None:
    rows = torch.tensor(weights, dtype=torch.float64).expand(500, -1)
    drawn = draw_categorical(rows, torch.Generator().manual_seed(seed))
    assert bool((rows[0][drawn] > 0).all())


@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
def test_ends_of_the_unit_interval(u: float) -> None:
    cdf = torch.tensor([[0.0, 0.3, 0.3, 1.0, 1.0]], dtype=torch.float64)
    drawn = invert_cdf(
        cdf, torch.zeros(1, dtype=torch.long), torch.tensor([u], dtype=torch.float64)
    )
    assert int(drawn) == (1 if u == 0 else 3)


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 64), seed=st.integers(0, 1000))
def test_stratified_uniform_has_one_point_per_stratum(count: int, seed: int) -> None:
    u = stratified_uniform(count, torch.Generator().manual_seed(seed))
    assert bool(((u >= 0) & (u < 1)).all())
    gaps = torch.cat([u.sort().values, u.min()[None] + 1]).diff()
    torch.testing.assert_close(gaps, torch.full((count,), 1 / count, dtype=torch.float64))


def test_posterior_divergence_is_the_kl_of_the_posteriors() -> None:
    true, predicted, weight = torch.rand(
        3, 50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    p, q = weight * true, weight * predicted
    p, q = p / p.sum(-1, keepdim=True), q / q.sum(-1, keepdim=True)
    torch.testing.assert_close(
        posterior_divergence(predicted, true, weight), (p * (p / q).log()).sum(-1)
    )


def test_posterior_divergence_of_rates() -> None:
    true, predicted, weight = torch.rand(
        3, 50, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    at = torch.arange(50) % 7
    weight[torch.arange(50), at] = 0.0
    p, q = (weight * v / v.gather(-1, at.unsqueeze(-1)) for v in (true, predicted))
    expected = (q - p + torch.xlogy(p, p / q).nan_to_num()).sum(-1)
    torch.testing.assert_close(posterior_divergence(predicted, true, weight, at), expected)


@pytest.mark.parametrize("rates", [False, True])
def test_posterior_divergence_has_the_gradient_it_says(rates: bool) -> None:
    """Also where the truth is 0, and where it is below the smallest float32."""
    true, predicted, weight = torch.rand(
        3, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
    )
    true[:, 1], true[:, 2] = 0.0, 1e-60
    at = torch.tensor([0, 3, 4, 0, 3, 4]) if rates else None
    predicted.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda q: posterior_divergence(q, true, weight, at), (predicted,)
    )


def test_posterior_divergence_keeps_its_digits() -> None:
    """Two laws 1e-4 apart: float32 still has the KL of 5e-9 to 1%."""
    p = torch.full((1, 8), 1 / 8)
    q = p * (1 + 1e-4 * torch.tensor([1.0, -1.0] * 4))
    exact = float((p.double() * (p.double() / q.double()).log()).sum())
    assert float(posterior_divergence(q, p, torch.ones(1, 8))) == pytest.approx(exact, rel=1e-2)


def test_posterior_divergence_where_the_truth_is_zero() -> None:
    p, q = torch.tensor([[0.0, 1e-40, 1.0]]), torch.tensor([[0.5, 1e-6, 0.5]], requires_grad=True)
    value = posterior_divergence(q, p, torch.ones(1, 3))
    assert float(value.detach()) == pytest.approx(math.log(2), rel=1e-5)
    (gradient,) = torch.autograd.grad(value.sum(), q)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, 1.0, -1.0]]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rates", [False, True])
def test_posterior_divergence_of_a_sharp_wrong_prediction(rates: bool) -> None:
    """All predicted mass where the truth is 0, 1e-18 where it is: finite, with a finite gradient, in float32."""
    true = torch.tensor([[1.0, 0.0, 0.0]])
    predicted = torch.tensor([[1e-18, 1.0, 1e-18]], requires_grad=True)
    weight = torch.tensor([[1e-3, 1e-3, 0.0]])
    value = posterior_divergence(predicted, true, weight, torch.tensor([0]) if rates else None)
    (gradient,) = torch.autograd.grad(value.sum(), predicted)
    assert float(value.detach()) == pytest.approx(1e15 if rates else 18 * math.log(10), rel=1e-5)
    assert bool(torch.isfinite(gradient).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_blockwise_gradient(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(10, 4, dtype=torch.float64, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(10, dtype=torch.float64, generator=generator)

    def function(rows: Tensor, index: Tensor) -> Tensor:
        wide = torch.promote_types(rows.dtype, torch.float32)
        return rows.to(wide).log_softmax(-1)[:, 0] * (1 + index)

    blocks = [torch.tensor([7, 2, 3]), torch.tensor([0, 9])]
    used = torch.cat(blocks)
    values = blockwise(function, logits, blocks)
    assert values.dtype == torch.promote_types(dtype, torch.float32)
    (gradient,) = torch.autograd.grad((values * weight).sum(), logits)
    expected = torch.zeros_like(values).index_copy(0, used, function(logits[used], used))
    (direct,) = torch.autograd.grad((expected * weight).sum(), logits)
    torch.testing.assert_close(values, expected)
    torch.testing.assert_close(
        gradient.float(), direct.float(), rtol=2e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-6
    )
    assert bool((values[[1, 4, 5, 6, 8]] == 0).all())
    assert not blockwise(function, logits.detach(), blocks).requires_grad

"""Loss and sampler hold the same predicted law, also where logits are sharp or contradict the state."""

import math

import pytest
import torch

from scud import SCUD
from scud.processes import Dense, Gaussian, Uniform
from scud.schedules import Linear
from tests.theory.oracle import random_generator


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("past", [0, 3])
def test_sampling_from_a_prediction_that_contradicts_the_state(
    past: int, dtype: torch.dtype
) -> None:
    """Uniform noise at gamma = 1 never stays: one event ago the state was another, though all of p is on this one.

    The states drawn are even over the others; 6 standard deviations each, false alarm below 1e-7.
    """
    size, count, state = 17, 34_000, 5
    process = Uniform(size)
    model = SCUD(process, Linear(), 1.0, p0=torch.full((size,), 1 / size, dtype=torch.float64))
    logits = torch.full((1, count, size), -math.inf, dtype=dtype)
    logits[..., state] = 0.0
    noise = (torch.full((count,), amount, dtype=torch.float64) for amount in (past, 1))
    x_t = torch.full((count,), state)
    drawn = model.draw_before(x_t, logits[0], *noise, torch.Generator().manual_seed(0))
    seen = torch.bincount(drawn, minlength=size).double()
    assert seen[state] == 0
    expected = count / (size - 1)
    others = torch.cat([seen[:state], seen[state + 1 :]])
    assert float((others - expected).abs().max()) < 6 * math.sqrt(expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_loss_and_sampler_hold_the_same_law_where_a_prediction_contradicts_the_state(
    dtype: torch.dtype,
) -> None:
    """A chain of 12 states with steps to neighbours, most often down: all of p is at one end, and x_t at the other.

    Both must fall back on the same law, which is not uniform; 6 standard deviations each, false alarm below 1e-7.
    """
    size, count = 12, 40_000
    steps = torch.diag(torch.full((size - 1,), 0.7), -1) + torch.diag(
        torch.full((size - 1,), 1.3), 1
    )
    process = Dense(steps - steps.sum(1).diag())
    model = SCUD(process, Linear(), 0.5, p0=torch.full((size,), 1 / size, dtype=torch.float64))
    one, ones = torch.zeros(count).long(), torch.ones(count, dtype=torch.float64)
    p = torch.nn.functional.one_hot(one, size).to(dtype)
    operator = model.kernel.operator(ones)
    law = operator.law(p[:1].double())[0] * operator.columns(one[:1] + size - 1)[0]
    assert float(model.kernel.entries(one[:1], one[:1] + size - 1, 2 * ones[:1])) < 1e-15
    drawn = model.draw_before(one + size - 1, p.log(), ones, ones, torch.Generator().manual_seed(0))
    seen, expected = torch.bincount(drawn, minlength=size).double(), count * law / law.sum()
    assert int((expected > 100).sum()) == 2
    assert bool(((seen - expected).abs() <= 6 * expected.sqrt() + 1e-6).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["rank-one", "spectral", "powers"])
def test_loss_and_sampler_at_the_first_event_are_exact_for_sharp_logits(
    kind: str, dtype: torch.dtype
) -> None:
    """After one event the law of x0 is softmax(logits) K[:, x_t]: its -log is the loss, its states are drawn.

    Logits spread over hundreds of nats; 6 standard deviations for each state, false alarm below 1e-7.
    """
    size, count = 6, 40_000
    processes = {
        "rank-one": Uniform(size),
        "spectral": Gaussian(size, 0.2),
        "powers": Dense(random_generator(size, 2, False)),
    }
    process = processes[kind]
    model = SCUD(process, Linear(), 0.9, p0=torch.full((size,), 1 / size, dtype=torch.float64))
    logits = 40 * torch.randn(size, dtype=dtype, generator=torch.Generator().manual_seed(1))
    K = torch.eye(size) + 0.9 * process.generator() / process.max_rate
    states = torch.arange(size)
    for x in range(size):
        law = (logits.double() + K[:, x].log()).log_softmax(-1)
        x_t, s = torch.full((1, size), x), torch.ones(1, size).long()
        found = model.divergence(logits.expand(1, size, size), states.unsqueeze(0), x_t, s)[0]
        torch.testing.assert_close(found.double(), -law, rtol=1e-5, atol=1e-5)
        none, one = torch.zeros(count, dtype=torch.float64), torch.ones(count, dtype=torch.float64)
        drawn = model.draw_before(
            torch.full((count,), x),
            logits.expand(count, size),
            none,
            one,
            torch.Generator().manual_seed(x),
        )
        expected = count * law.exp()
        assert bool(
            (
                (torch.bincount(drawn, minlength=size) - expected).abs()
                <= 6 * expected.sqrt() + 1e-6
            ).all()
        )


def test_logits_that_rule_out_all_that_is_possible() -> None:
    """Uniform noise at gamma = 1 never stays where it was: with all of p there the prediction falls back on the noise."""
    model = SCUD(Uniform(6), Linear(), 1.0, p0=torch.full((6,), 1 / 6))
    logits = torch.full((1, 1, 6), -math.inf)
    logits[..., 2] = 0.0
    logits.requires_grad_()
    value = model.divergence(logits, torch.tensor([[1]]), torch.tensor([[2]]), torch.tensor([[1]]))
    value.sum().backward()
    assert float(value.detach()) == pytest.approx(math.log(5), rel=1e-5)
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())

"""The law of one step back in time: `reverse_log_prob` against a dense oracle, and against what `reverse` draws.

Two positions of a few states: every outcome of a step, counts and states, is enumerated. Its log-probability agrees with dense
matrices to 1e-9, all of them sum to 1, and 50,000 draws of `reverse` follow it by chi-squared at a false-alarm rate of 1e-8
(less than 1e-6 for all cases together).
"""

import itertools
import math

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking, Noisy
from scud.processes import Dense
from scud.schedules import Cosine, Linear
from tests.theory.cases import EVENT_PROCESSES, PROCESSES, make_gamma, make_process
from tests.theory.oracle import powers

B = 3
P0 = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
LOGITS = 2 * torch.randn(2, B, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
NOW = 0.7
FALSE_ALARM = 1e-8
DRAWS = 50_000


def outcomes(noisy: Noisy, num_states: int, u: float) -> Noisy:
    """Every outcome of a step from one example of two positions, with a count too many at each: [n, 2]."""
    x = list(itertools.product(range(num_states), repeat=2))
    most = [0, 0] if noisy.s is None else (noisy.s[0] + 1).tolist()
    s = list(itertools.product(*(range(count + 1) for count in most)))
    pairs = list(itertools.product(s, x))
    counts = None if noisy.s is None else torch.tensor([pair[0] for pair in pairs])
    states = torch.tensor([pair[1] for pair in pairs])
    return Noisy(states, torch.full((len(pairs),), u, dtype=torch.float64), counts)


def repeated(noisy: Noisy, count: int) -> Noisy:
    """The same example, many times."""
    s = None if noisy.s is None else noisy.s.expand(count, 2)
    return Noisy(noisy.x_t.expand(count, 2), noisy.t.expand(count, *noisy.t.shape[1:]), s)


def log_law(model: Diffusion, noisy: Noisy, logits: Tensor, u: float, then: Noisy) -> Tensor:
    """`reverse_log_prob` of outcomes [n] of a step from one example: -> [n]."""
    count = len(then.x_t)
    return model.reverse_log_prob(
        repeated(noisy, count), logits.expand(count, *logits.shape), u, then
    )


def check_draws(
    model: Diffusion, noisy: Noisy, logits: Tensor, u: float, then: Noisy, law: Tensor
) -> None:
    """Chi-squared of draws of `reverse` against the law [n] of outcomes; impossible ones must not occur."""
    size = model.num_states + 1
    parts = [noisy.x_t.new_full((2,), size)]
    if then.s is not None:
        parts.append(noisy.x_t.new_full((2,), int(then.s.max()) + 1))
    base = torch.cat(parts).flip(0).cumprod(0).flip(0)
    place = torch.cat([base[1:], base.new_ones(1)])

    def number(outcome: Noisy) -> Tensor:
        columns = outcome.x_t if outcome.s is None else torch.cat([outcome.x_t, outcome.s], 1)
        return (columns * place).sum(1)

    generator = torch.Generator().manual_seed(3)
    drawn = model.reverse(repeated(noisy, DRAWS), logits.expand(DRAWS, *logits.shape), u, generator)
    seen = torch.bincount(number(drawn), minlength=int(base[0]))[number(then)].double()
    assert int(seen.sum()) == DRAWS
    assert int(seen[law == 0].sum()) == 0
    expected = law * DRAWS
    likely = expected > 5
    rest, expected_rest = seen[~likely].sum(), expected[~likely].sum()
    statistic = float(((seen - expected) ** 2 / expected)[likely].sum())
    statistic += float((rest - expected_rest) ** 2 / expected_rest.clamp_min(5))
    assert statistic < float(chi2.isf(FALSE_ALARM, int(likely.sum()))) + 1e-9


def check(
    model: Diffusion, noisy: Noisy, u: float, oracle: Tensor, then: Noisy, logits: Tensor = LOGITS
) -> None:
    """The law against the oracle's [n], and draws against the law."""
    logs = log_law(model, noisy, logits, u, then)
    assert logs.dtype == torch.float64
    torch.testing.assert_close(logs.exp(), oracle, rtol=1e-9, atol=1e-12)
    assert bool(logs[oracle == 0].isneginf().all())
    assert float(logs.exp().sum()) == pytest.approx(1, abs=1e-9)
    check_draws(model, noisy, logits, u, then, logs.exp())


def posterior(past: Tensor, recent: Tensor, x: int, logits: Tensor) -> Tensor:
    """∝ recent[y, x] (p past)[y] for dense matrices [B, B]: -> [B]."""
    law = recent[:, x] * (logits.softmax(-1) @ past)
    return law / law.sum()


@pytest.mark.parametrize("u", [0.0, 0.4])
@pytest.mark.parametrize("known", [False, True], ids=["free", "known"])
@pytest.mark.parametrize("gamma_name", ["1", "0.6"])
@pytest.mark.parametrize("process_name", EVENT_PROCESSES)
def test_scud(process_name: str, gamma_name: str, known: bool, u: float) -> None:
    process, gamma = make_process(process_name, B), make_gamma(gamma_name, B)
    model = SCUD(process, Linear(), gamma, p0=P0)
    table = powers(torch.eye(B) + process.generator() / process.rate(gamma), 4)
    noisy = Noisy(
        torch.tensor([[0, 2]]),
        torch.tensor([NOW], dtype=torch.float64),
        torch.tensor([[4, 0 if known else 2]]),
    )
    assert noisy.s is not None
    then = outcomes(noisy, B, u)
    assert then.s is not None
    stays = math.log1p(-u) / math.log1p(
        -NOW
    )  # tau(u) / tau(t): the chance that an event is not undone
    oracle = torch.ones(len(then.x_t), dtype=torch.float64)
    for d in range(2):
        before = int(noisy.s[0, d])
        for row in range(len(oracle)):
            after, y = int(then.s[row, d]), int(then.x_t[row, d])
            if after > before:
                oracle[row] = 0
                continue
            count = math.comb(before, after) * stays**after * (1 - stays) ** (before - after)
            x = int(noisy.x_t[0, d])
            oracle[row] *= count * posterior(table[after], table[before - after], x, LOGITS[d])[y]
    check(model, noisy, u, oracle, then)


@pytest.mark.parametrize("u", [0.0, 0.4])
@pytest.mark.parametrize("known", [False, True], ids=["free", "known"])
@pytest.mark.parametrize("process_name", PROCESSES)
def test_classical(process_name: str, known: bool, u: float) -> None:
    process = make_process(process_name, B)
    model = Classical(process, Linear(), p0=P0)
    noisy = Noisy(torch.tensor([[0, 2]]), torch.tensor([NOW], dtype=torch.float64))
    if known:
        noisy = model.keep(noisy, noisy.x_t, torch.tensor([[False, True]]))
    then = outcomes(noisy, B, u)
    tau, until = -math.log1p(-NOW), -math.log1p(-u)
    past, recent = (
        torch.linalg.matrix_exp(amount * process.generator()) for amount in (until, tau - until)
    )
    laws = [posterior(past, recent, int(noisy.x_t[0, d]), LOGITS[d]) for d in range(2)]
    if known:
        laws[1] = torch.eye(B, dtype=torch.float64)[2]
    check(model, noisy, u, laws[0][then.x_t[:, 0]] * laws[1][then.x_t[:, 1]], then)


@pytest.mark.parametrize("u", [0.0, 0.4])
@pytest.mark.parametrize("pattern", [(1, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("schedule", [Linear(), Cosine()])
def test_masking(schedule: Linear | Cosine, pattern: tuple[int, int], u: float) -> None:
    model = Masking(B, schedule, p0=P0)
    s = torch.tensor([pattern])
    noisy = Noisy(
        torch.tensor([[1, 2]]).masked_fill(s > 0, B), torch.tensor([NOW], dtype=torch.float64), s
    )
    then = outcomes(noisy, B + 1, u)
    assert then.s is not None
    times = torch.tensor([u, NOW], dtype=torch.float64)
    alpha = (-schedule.tau(times)).exp()
    unmasked = float((alpha[0] - alpha[1]) / (1 - alpha[1]))
    oracle = torch.ones(len(then.x_t), dtype=torch.float64)
    for d in range(2):
        # Unmasked with a state, still masked, or never masked and the same; nothing else is possible.
        after, y = then.s[:, d], then.x_t[:, d]
        p = torch.cat([LOGITS[d].softmax(-1), torch.zeros(1, dtype=torch.float64)])
        if pattern[d]:
            law = torch.where(
                after == 0, unmasked * p[y], (1 - unmasked) * ((after == 1) & (y == B)).double()
            )
        else:
            law = ((after == 0) & (y == noisy.x_t[0, d])).double()
        oracle *= law
    check(model, noisy, u, oracle, then)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("u", [0.0, 0.4])
def test_a_prediction_that_contradicts_the_state(u: float, dtype: torch.dtype) -> None:
    """A chain of 8 states with steps to neighbours: all of p is at one end, and x_t at the other, out of reach in few events.

    What is drawn, and its log-probability, are then those of the mass that the kernel mixes in.
    """
    size = 8
    steps = torch.diag(torch.full((size - 1,), 0.7), -1) + torch.diag(
        torch.full((size - 1,), 1.3), 1
    )
    process = Dense(steps - steps.sum(1).diag())
    p0 = torch.full((size,), 1 / size, dtype=torch.float64)
    model = SCUD(process, Linear(), 0.5, p0=p0)
    logits = torch.full((2, size), -math.inf, dtype=dtype)
    logits[:, 0] = 0.0
    noisy = Noisy(
        torch.tensor([[size - 1, 1]]),
        torch.tensor([NOW], dtype=torch.float64),
        torch.tensor([[2, 1]]),
    )
    then = outcomes(noisy, size, u)
    law = log_law(model, noisy, logits, u, then).exp()
    assert float(law.sum()) == pytest.approx(1, abs=1e-5)
    check_draws(model, noisy, logits, u, then, law)


@pytest.mark.parametrize("kind", ["scud", "classical", "masking"])
def test_gradient_by_finite_differences(kind: str) -> None:
    process = make_process("gaussian", B)
    model: Diffusion = {
        "scud": SCUD(process, Linear(), 0.6, p0=P0),
        "classical": Classical(process, Linear(), p0=P0),
        "masking": Masking(B, p0=P0),
    }[kind]
    x0 = torch.randint(B, (6, 4), generator=torch.Generator().manual_seed(0))
    noisy = model.corrupt(
        x0, torch.full((6,), NOW, dtype=torch.float64), torch.Generator().manual_seed(1)
    )
    logits = torch.randn(
        6, 4, B, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True
    )
    then = model.reverse(noisy, logits.detach(), 0.4, torch.Generator().manual_seed(3))
    assert bool(model.reverse_log_prob(noisy, logits, 0.4, then).isfinite().all())
    assert torch.autograd.gradcheck(
        lambda z: model.reverse_log_prob(noisy, z, 0.4, then), (logits,)
    )

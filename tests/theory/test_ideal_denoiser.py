"""The bound is tight: with the ideal denoiser it equals H(x0) plus only what a factorised prior cannot know at t_max.

Both sides by enumeration of every clean state, noised state and count, and Gauss-Legendre quadrature over t; they agree to
1e-6 nats or better (the residue is quadrature and the cut of the Poisson tails).
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from scud import SCUD, Classical, Masking, Noisy
from tests.theory.cases import (
    EVENT_PROCESSES,
    GAMMAS,
    PROCESSES,
    SCHEDULES,
    make_gamma,
    make_process,
    make_schedule,
    repeated,
    time_at,
)
from tests.theory.oracle import (
    IdealEvents,
    IdealMasking,
    IdealTime,
    average_marginal,
    entropy,
    forward_law,
    gauss_legendre,
    others,
    poisson,
    powers,
    random_joint,
    states,
)

TOLERANCE = 2e-6
SIZES = [repeated(size, long=size == (5, 2)) for size in ((4, 2), (5, 2), (3, 3))]


def cases(processes: Sequence[str], options: Sequence[str]) -> list[Any]:
    """All triples of a process, an option and a size; of three positions one case for each process always runs."""
    return [
        repeated((process, option, *size), long=again)
        for i, process in enumerate(processes)
        for j, option in enumerate(options)
        for size, again in (((4, 2), False), ((5, 2), True), ((3, 3), j != i % len(options)))
    ]


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).flatten(-1).sum(-1)


def prior_terms(joint: Tensor, prior_nats: Tensor) -> float:
    clean = states(joint.shape[0], joint.ndim)
    return float(joint.flatten() @ prior_nats[clean].sum(1))


def quadrature(t_max: float, nodes: int = 240) -> tuple[Tensor, Tensor]:
    """Nodes in t, dense at both ends: t = t_max v² (3 - 2v)."""
    v, weight = gauss_legendre(0.0, 1.0, nodes)
    return t_max * v**2 * (3 - 2 * v), t_max * 6 * v * (1 - v) * weight


def expectation(
    joint: Tensor,
    law: Tensor,
    values: Callable[..., Tensor],
    logits: Tensor,
    *noise: Noisy | Tensor,
) -> Tensor:
    """E Σ_d values(logits, x0, *noise)_d given what is seen, for law [n, B^D] over x0 and values [n, D]: -> [n].

    A value is of its own position's clean state alone, so B sets of clean states do, in each of which positions differ: what
    should look at another position's would be seen.
    """
    num_states, positions = joint.shape[0], joint.ndim
    law = law.reshape(-1, *joint.shape)
    axes = range(1, positions + 1)
    marginal = torch.stack([law.sum([a for a in axes if a != d]) for d in axes], 1)  # [n, D, B]
    total = torch.zeros(len(law), dtype=torch.float64)
    for shift in range(num_states):
        clean = ((torch.arange(positions) + shift) % num_states).expand(len(law), positions)
        chance = marginal.gather(2, clean.unsqueeze(2)).squeeze(2)
        total += torch.where(chance > 1e-14, chance * values(logits, clean, *noise), 0.0).sum(1)
    return total


def counted_divergence(model: SCUD) -> Callable[..., Tensor]:
    return lambda logits, x0, x_t, s: s * model.divergence(logits, x0, x_t, s)


def event_table(model: SCUD, ideal: IdealEvents, most: int) -> tuple[Tensor, Tensor]:
    """For every vector of counts up to `most`: E Σ_d s_d KL_d, and KL(p(x | s) || Π_d p0 K^s), each [(most + 1)^D]."""
    joint, p0 = ideal.joint, model.p0
    num_states, positions = joint.shape[0], joint.ndim
    x = states(num_states, positions)
    size, counts = (
        x.shape[0],
        torch.tensor(list(itertools.product(range(most + 1), repeat=positions))),
    )
    gains, excesses = [], []
    for part in counts.split(max(40_000 // size, 1)):
        s = part.repeat_interleave(size, 0)
        seen = x.repeat(part.shape[0], 1)
        law = forward_law(joint, ideal.likelihood(seen, s))  # [n, B^D] over x0
        logits = ideal(seen, model.condition(Noisy(seen, torch.ones(len(s)), s)))
        gain = expectation(joint, law, counted_divergence(model), logits, seen, s)
        gains.append(gain.reshape(-1, size).sum(1))
        marginal = law.sum(1).reshape(-1, size)
        prior = (p0 @ ideal.table)[s, seen].prod(1).reshape(-1, size)
        excesses.append(kl(marginal, prior))
    return torch.cat(gains), torch.cat(excesses)


def joint_poisson(mean: Tensor, most: int, positions: int) -> Tensor:
    """Independent Poisson counts at every position: mean [n] -> [n, (most + 1)^D]."""
    single = law = poisson(mean, most)
    for _ in range(positions - 1):
        law = (law.unsqueeze(-1) * single.unsqueeze(1)).flatten(1)
    return law


@pytest.mark.parametrize(
    ("process_name", "gamma_name", "num_states", "positions"), cases(EVENT_PROCESSES, GAMMAS)
)
def test_scud(process_name: str, gamma_name: str, num_states: int, positions: int) -> None:
    process, gamma = make_process(process_name, num_states), make_gamma(gamma_name, num_states)
    joint = random_joint(num_states, positions, seed=num_states + positions)
    p0 = average_marginal(joint)
    events, most = (4.0, 23) if positions == 2 else (1.0, 10)
    jump = torch.eye(num_states) + process.generator() / process.rate(gamma)
    ideal = IdealEvents(joint, powers(jump, most))
    table = None
    for schedule_name in SCHEDULES:
        schedule = make_schedule(schedule_name, process, p0, gamma)
        model = SCUD(
            process, schedule, gamma, p0=p0, t_max=time_at(schedule, events / process.rate(gamma))
        )
        if table is None:
            table = event_table(model, ideal, most)
        gain, excess = table
        t, weight = quadrature(model.t_max)
        mean = process.rate(gamma) * schedule.tau(t)
        diffusion = (
            weight
            * schedule.beta(t)
            / schedule.tau(t)
            @ (joint_poisson(mean, most, positions) @ gain)
        )
        last = process.rate(gamma) * schedule.tau(torch.tensor([model.t_max], dtype=torch.float64))
        left = joint_poisson(last, most, positions)[0] @ excess
        bound = float(diffusion) + prior_terms(joint, model.prior_nats)
        assert bound == pytest.approx(entropy(joint) + float(left), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("process_name", "schedule_name", "num_states", "positions"), cases(PROCESSES, SCHEDULES)
)
def test_classical(process_name: str, schedule_name: str, num_states: int, positions: int) -> None:
    process = make_process(process_name, num_states)
    joint = random_joint(num_states, positions, seed=num_states + positions)
    p0 = average_marginal(joint)
    schedule = make_schedule(schedule_name, process, p0, 0.0)
    model = Classical(process, schedule, p0=p0, t_max=time_at(schedule, 2.0 / process.max_rate))
    ideal = IdealTime(joint, process.generator(), schedule)
    t, weight = quadrature(model.t_max)
    x = states(num_states, positions)
    size = x.shape[0]
    total = 0.0
    for times, weights in zip(t.split(40), weight.split(40), strict=True):
        seen, when = x.repeat(len(times), 1), times.repeat_interleave(size)
        law = forward_law(joint, ideal.likelihood(seen, when))
        # The oracle's own float64 times: a `Conditioning` holds them in float32, as networks want them.
        logits = others(joint, ideal.likelihood(seen, when))
        values = expectation(joint, law, model.integrand, logits, Noisy(seen, when))
        total += float(weights.repeat_interleave(size) @ values)
    end = torch.full((size,), model.t_max, dtype=torch.float64)
    marginal = forward_law(joint, ideal.likelihood(x, end)).sum(1)
    last = torch.linalg.matrix_exp(schedule.tau(end[:1])[0] * process.generator())
    left = kl(marginal, (p0 @ last)[x].prod(1))
    bound = total + prior_terms(joint, model.prior_nats)
    assert bound == pytest.approx(entropy(joint) + float(left), abs=TOLERANCE)


@pytest.mark.parametrize(("num_states", "positions"), SIZES)
@pytest.mark.parametrize("schedule_name", ["linear", "cosine"])
def test_masking(schedule_name: str, num_states: int, positions: int) -> None:
    joint = random_joint(num_states, positions, seed=num_states + positions)
    p0 = average_marginal(joint)
    schedule = make_schedule(schedule_name, make_process("uniform", num_states), p0, 1.0)
    model = Masking(num_states, schedule, p0=p0, t_max=0.9)
    t, weight = quadrature(model.t_max)
    x = states(num_states, positions)
    hidden = states(2, positions)
    patterns = hidden.repeat(len(x), 1)
    clean = x.repeat_interleave(len(hidden), 0)
    seen = clean.masked_fill(patterns > 0, num_states)
    logits = IdealMasking(joint)(
        seen, model.condition(Noisy(seen, torch.ones(len(seen)), patterns))
    )
    total = 0.0
    for time, w in zip(t, weight, strict=True):
        share = 1 - (-schedule.tau(time)).exp()
        law = joint.flatten().repeat_interleave(len(hidden)) * torch.where(
            patterns > 0, share, 1 - share
        ).prod(1)
        values = model.integrand(logits, clean, Noisy(seen, time.expand(len(seen)), patterns)).sum(
            1
        )
        total += float(w * (law @ values))
    alpha = float((-schedule.tau(torch.tensor(model.t_max, dtype=torch.float64))).exp())
    left = 0.0
    for pattern in hidden:
        chance = float(torch.where(pattern > 0, 1 - alpha, torch.tensor(alpha)).prod())
        shown = [d for d in range(positions) if pattern[d] == 0]
        gone = [d for d in range(positions) if pattern[d] == 1]
        marginal = joint.sum(gone) if gone else joint
        if shown:
            prior = p0[states(num_states, len(shown))].prod(1)
            left += chance * float(kl(marginal.flatten(), prior))
    bound = total + prior_terms(joint, model.prior_nats)
    assert bound == pytest.approx(entropy(joint) + left, abs=TOLERANCE)

"""Samples follow the exact reversal from the factorised prior, for every process, gamma, schedule and model.

The law Σ_x Π_d prior(x_d) p(x0 | x, s), averaged over s, is enumerated; 100,000 draws are compared with it by chi-squared
at a false-alarm rate of 1e-7. The step grid is fine enough that its own error stays below what this can see.
"""

import itertools
from dataclasses import dataclass

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking
from scud.schedules import Linear, Schedule
from scud.typing import Conditioning, Denoiser, Given
from tests.theory.cases import GAMMAS, PROCESSES, SCHEDULES, make_gamma, make_process, make_schedule, time_at
from tests.theory.oracle import (
    IdealEvents,
    IdealMasking,
    IdealTime,
    average_marginal,
    forward_law,
    others,
    poisson,
    powers,
    random_joint,
    states,
)

DRAWS = 100_000
FALSE_ALARM = 1e-7
NUM_STATES = 3
KNOWN = 1


@dataclass
class Tabled:
    """An ideal denoiser for two positions and counts, looked up: logits [s, s, x, x, D, B]."""

    table: Tensor

    def __call__(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.s is not None
        s = conditioning.s.clamp_max(self.table.shape[0] - 1)
        return self.table[s[:, 0], s[:, 1], x_t[:, 0], x_t[:, 1]]


def tabled(ideal: IdealEvents) -> Tabled:
    most, num_states = ideal.table.shape[0], ideal.joint.shape[0]
    grid = torch.cartesian_prod(*[torch.arange(most)] * 2, *[torch.arange(num_states)] * 2)
    logits = others(ideal.joint, ideal.likelihood(grid[:, 2:], grid[:, :2]))
    return Tabled(logits.reshape(most, most, num_states, num_states, 2, num_states))


@dataclass
class OncePerStep:
    """An ideal denoiser whose conditioning is the same for the whole batch: called once for every state, then looked up."""

    ideal: IdealTime | IdealMasking
    num_states: int

    def __call__(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        x = states(self.num_states, 2)
        t = conditioning.t[:1].expand(len(x), *conditioning.t.shape[1:])
        logits = self.ideal(x, Conditioning(t=t, s=x))
        return logits[x_t[:, 0] * self.num_states + x_t[:, 1]]


def reversal(joint: Tensor, likelihood: Tensor, prior: Tensor) -> Tensor:
    """Σ_x Π_d prior_d(x_d) p(x0 | x) for likelihood [n, D, B] and prior mass [n] of the n seen states: -> [B^D]."""
    law = forward_law(joint, likelihood)
    return prior @ (law / law.sum(1, keepdim=True))


def check_law(samples: Tensor, law: Tensor, num_states: int = NUM_STATES) -> None:
    """Chi-squared of samples [N, D] against the law of all states [B^D]; states of probability 0 must not occur."""
    place = num_states ** torch.arange(samples.shape[1] - 1, -1, -1)
    seen = torch.bincount((samples * place).sum(1), minlength=len(law)).double()
    expected = law * len(samples)
    possible = law > 1e-12
    assert float(seen[~possible].sum()) == 0
    statistic = float(((seen - expected) ** 2 / expected)[possible].sum())
    limit = float(chi2.isf(FALSE_ALARM, int(possible.sum()) - 1))
    assert statistic < limit, f"chi-squared {statistic:.1f} beyond {limit:.1f}: {seen / len(samples)} for {law}"


def sample(model: Diffusion, denoiser: Denoiser, known: Tensor | None, steps: int = 160) -> Tensor:
    generator = torch.Generator().manual_seed(31)
    shape = (DRAWS, 2)
    if known is None:
        return model.sample(denoiser, shape, steps, generator=generator)
    mask = torch.tensor([True, False]).expand(shape)
    return model.sample(denoiser, shape, steps, given=Given(known.expand(shape), mask), generator=generator)


def event_law(model: SCUD, ideal: IdealEvents, known: bool) -> Tensor:
    """The exact law of samples; with `known`, of the second position given that the first is KNOWN."""
    joint, most = ideal.joint, ideal.table.shape[0] - 1
    mean = model.rate * model.schedule.tau(torch.tensor(model.t_max, dtype=torch.float64))
    chance = poisson(mean, most)
    x, law = states(NUM_STATES, 2), torch.zeros(NUM_STATES**2, dtype=torch.float64)
    prior = model.p0 @ ideal.table
    firsts = [0] if known else range(most + 1)
    if known:
        x = x[x[:, 0] == KNOWN]
    for first in firsts:
        for second in range(most + 1):
            s = torch.tensor([first, second]).expand(x.shape)
            mass = prior[second, x[:, 1]] if known else prior[first, x[:, 0]] * prior[second, x[:, 1]]
            held = mass > 1e-13
            weight = chance[second] * (1.0 if known else chance[first])
            law += weight * reversal(joint, ideal.likelihood(x, s)[held], mass[held])
    return law / law.sum()


# Every pair of process, schedule and gamma occurs; the bound itself is tested on every triple.
EVENTS = [
    (process, SCHEDULES[(i + j) % 3], gamma, False)
    for i, process in enumerate(PROCESSES)
    for j, gamma in enumerate(GAMMAS)
]
INFILLED = [(process, SCHEDULES[turn % 3]) for turn, process in enumerate(PROCESSES)]
EVENTS += [(*case, gamma, True) for case, gamma in zip(INFILLED, GAMMAS, strict=True)]
EVENTS += [("graph", "mutual_information", "1", False)]
TIMES = [(*case, False) for case in itertools.product(PROCESSES, SCHEDULES)] + [(*case, True) for case in INFILLED]


@pytest.mark.parametrize(("process_name", "schedule_name", "gamma_name", "known"), EVENTS)
def test_scud(process_name: str, schedule_name: str, gamma_name: str, known: bool) -> None:
    process, gamma = make_process(process_name, NUM_STATES), make_gamma(gamma_name, NUM_STATES)
    joint = random_joint(NUM_STATES, 2, seed=21)
    p0 = average_marginal(joint)
    schedule = make_schedule(schedule_name, process, p0, gamma)
    model = SCUD(process, schedule, gamma, p0=p0, t_max=time_at(schedule, 4.0 / process.rate(gamma)))
    ideal = IdealEvents(joint, powers(torch.eye(NUM_STATES) + process.generator() / process.rate(gamma), 24))
    law = event_law(model, ideal, known)
    check_law(sample(model, tabled(ideal), torch.tensor([KNOWN, 0]) if known else None), law)


@pytest.mark.parametrize(("process_name", "schedule_name", "known"), TIMES)
def test_classical(process_name: str, schedule_name: str, known: bool) -> None:
    process = make_process(process_name, NUM_STATES)
    joint = random_joint(NUM_STATES, 2, seed=21)
    p0 = average_marginal(joint)
    schedule = make_schedule(schedule_name, process, p0, 0.0)
    model = Classical(process, schedule, p0=p0, t_max=time_at(schedule, 1.5 / process.max_rate))
    ideal = IdealTime(joint, process.generator(), schedule)
    x = states(NUM_STATES, 2)
    if known:
        x = x[x[:, 0] == KNOWN]
    t = torch.full(x.shape, model.t_max, dtype=torch.float64)
    if known:
        t[:, 0] = 0.0
    prior = p0 @ torch.linalg.matrix_exp(schedule.tau(t[:1, 1])[0] * process.generator())
    mass = prior[x[:, 1]] if known else prior[x].prod(1)
    law = reversal(joint, ideal.likelihood(x, t), mass / mass.sum())
    check_law(sample(model, OncePerStep(ideal, NUM_STATES), torch.tensor([KNOWN, 0]) if known else None, steps=64), law)


@pytest.mark.parametrize("known", [False, True], ids=["free", "infill"])
@pytest.mark.parametrize(
    "schedule", [Linear(), make_schedule("cosine", make_process("uniform", 3), torch.ones(3), 1.0)]
)
def test_masking(schedule: Schedule, known: bool) -> None:
    joint = random_joint(NUM_STATES, 2, seed=21)
    p0 = average_marginal(joint)
    model = Masking(NUM_STATES, schedule, p0=p0, t_max=0.9)
    ideal = IdealMasking(joint)
    alpha = float((-schedule.tau(torch.tensor(0.9, dtype=torch.float64))).exp())
    mass_of = torch.cat([alpha * p0, torch.tensor([1 - alpha], dtype=torch.float64)])
    x = states(NUM_STATES + 1, 2)
    if known:
        x = x[x[:, 0] == KNOWN]
    mass = mass_of[x[:, 1]] if known else mass_of[x].prod(1)
    law = reversal(joint, ideal.likelihood(x), mass)
    check_law(sample(model, OncePerStep(ideal, NUM_STATES + 1), torch.tensor([KNOWN, 0]) if known else None), law)


def test_data_law_where_all_is_forgotten() -> None:
    """With t_max where nothing is left, the exact reversal is the data's own law, and the conditional one when infilling."""
    joint = random_joint(NUM_STATES, 2, seed=21)
    p0 = average_marginal(joint)
    model = Masking(NUM_STATES, Linear(), p0=p0, t_max=1 - 1e-9)
    ideal = OncePerStep(IdealMasking(joint), NUM_STATES + 1)
    check_law(sample(model, ideal, None), joint.flatten())
    conditional = torch.zeros_like(joint)
    conditional[KNOWN] = joint[KNOWN] / joint[KNOWN].sum()
    check_law(sample(model, ideal, torch.tensor([KNOWN, 0])), conditional.flatten())


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_one_call_per_step(steps: int) -> None:
    """A requested number of steps is the number of calls of the denoiser, and all noise is undone by the last."""
    process = make_process("gaussian", NUM_STATES)
    p0 = torch.full((NUM_STATES,), 1 / NUM_STATES, dtype=torch.float64)
    for model in (
        SCUD(process, Linear(), 0.5, p0=p0),
        Classical(process, Linear(), p0=p0),
        Masking(NUM_STATES, p0=p0),
    ):
        calls = []

        def denoiser(x_t: Tensor, conditioning: Conditioning, calls: list[Tensor] = calls) -> Tensor:
            calls.append(conditioning.t)
            return torch.zeros(*x_t.shape, NUM_STATES)

        x = model.sample(denoiser, (5, 2, 3), steps)
        assert len(calls) == steps
        assert x.shape == (5, 2, 3)
        assert int(x.max()) < NUM_STATES

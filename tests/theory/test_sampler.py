"""Samples follow the exact reversal from the factorised prior, for every process, gamma, schedule and model.

In two parts. What is drawn with STEPS steps follows the laws that those steps have, at every time between them and at the end:
`tests.theory.chain` enumerates them, and 60,000 draws are compared by chi-squared at a false-alarm rate of 1e-7 in all. The
times between matter: a last step makes good what others did wrong. And the last law tends to Σ_x Π_d prior(x_d) p(x0 | x, s),
averaged over s and enumerated: no chance in it. With one position left to draw any grid is exact. `make theory` also draws on a
grid that is as fine as 60,000 draws can see.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking
from scud.samplers import Ancestral
from scud.schedules import Linear, Schedule
from scud.typing import Conditioning, Denoiser, Given
from tests.theory import chain
from tests.theory.cases import (
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
    forward_law,
    others,
    poisson,
    powers,
    random_joint,
    states,
)

DRAWS = 60_000
FALSE_ALARM = 1e-7
NUM_STATES = 3
KNOWN = 1
STEPS = 8
FINE = 160
MOST = 18
"""Counts above this are left out of chains: 4 are expected, and more than these have probability 1e-8."""


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
    assert statistic < limit, (
        f"chi-squared {statistic:.1f} beyond {limit:.1f}: {seen / len(samples)} for {law}"
    )


@dataclass
class Watched:
    """A denoiser that keeps what it is told: classes of `tests.theory.chain`, [N, 2] at every call."""

    denoiser: Denoiser
    counted: bool
    seen: list[Tensor]

    def __call__(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        s = conditioning.s if self.counted else None
        self.seen.append(x_t if s is None else s.clamp_max(chain.COUNTED) * NUM_STATES + x_t)
        return self.denoiser(x_t, conditioning)


def check_draws(
    model: Diffusion, denoiser: Denoiser, laws: list[Tensor], known: int | None
) -> None:
    """Chi-squared of what is drawn at every time against the law there; cells where fewer than 5 are expected are one."""
    watched = Watched(denoiser, isinstance(model, SCUD), [])
    last = sample(model, watched, known)
    assert len(watched.seen) == len(laws) - 1
    for drawn, law in zip([*watched.seen, last], laws, strict=True):
        count = torch.bincount(drawn[:, 0] * len(law) + drawn[:, 1], minlength=law.numel()).double()
        expected = DRAWS * law.flatten()
        assert float(count[expected < 1e-6].sum()) == 0
        many = expected >= 5
        rest, expected_rest = count[~many].sum(), expected[~many].sum()
        statistic = float(((count - expected) ** 2 / expected)[many].sum())
        statistic += float((rest - expected_rest) ** 2 / expected_rest.clamp_min(5))
        limit = float(chi2.isf(FALSE_ALARM / len(laws), int(many.sum())))
        assert statistic < limit, (
            f"chi-squared {statistic:.1f} beyond {limit:.1f}: {count / DRAWS} for {law}"
        )


def unlikeness(law: Tensor, other: Tensor) -> float:
    """By how much chi-squared of DRAWS draws from one law exceeds its expectation for the other."""
    possible = other > 1e-12
    return float(
        (DRAWS * (law - other) ** 2 / other)[possible].sum() + DRAWS * law[~possible].abs().sum()
    )


def check_limit(
    laws_of: Callable[[int], list[Tensor]], law: Tensor, known: int | None, steps: int = 16
) -> None:
    """The last law of a number of steps tends to `law`, and is it where one position is known.

    The error halves as steps double; what is left when it is extrapolated could not be seen in DRAWS draws.
    """
    few, many = (laws_of(n)[-1][:NUM_STATES, :NUM_STATES].flatten() for n in (steps, 2 * steps))
    if known is not None:
        assert unlikeness(few, law) < 1e-6
    assert unlikeness(many, law) <= unlikeness(few, law) / 3 + 1e-6
    assert unlikeness(2 * many - few, law) < 1


def sample(model: Diffusion, denoiser: Denoiser, known: int | None, steps: int = STEPS) -> Tensor:
    generator = torch.Generator().manual_seed(31)
    shape = (DRAWS, 2)
    if known is None:
        return model.sample(denoiser, shape, steps, generator=generator)
    mask = torch.tensor([True, False]).expand(shape)
    clean = torch.tensor([known, 0]).expand(shape)
    return model.sample(denoiser, shape, steps, given=Given(clean, mask), generator=generator)


def event_law(model: SCUD, ideal: IdealEvents, known: int | None) -> Tensor:
    """The exact law of samples; with `known`, of the second position given the first."""
    joint, most = ideal.joint, ideal.table.shape[0] - 1
    mean = model.rate * model.schedule.tau(torch.tensor(model.t_max, dtype=torch.float64))
    chance = poisson(mean, most)
    x, law = states(NUM_STATES, 2), torch.zeros(NUM_STATES**2, dtype=torch.float64)
    prior = model.p0 @ ideal.table
    firsts = range(most + 1) if known is None else [0]
    if known is not None:
        x = x[x[:, 0] == known]
    for first in firsts:
        for second in range(most + 1):
            s = torch.tensor([first, second]).expand(x.shape)
            mass = prior[second, x[:, 1]] * (prior[first, x[:, 0]] if known is None else 1.0)
            held = mass > 1e-13
            weight = chance[second] * (chance[first] if known is None else 1.0)
            law += weight * reversal(joint, ideal.likelihood(x, s)[held], mass[held])
    return law / law.sum()


# Every process, schedule and gamma occurs; of the long ones, every pair. The bound itself is tested on every triple.
EVENTS = [
    repeated((process, SCHEDULES[(i + j) % 3], gamma, None), long=i != j)
    for i, process in enumerate(PROCESSES)
    for j, gamma in enumerate(GAMMAS)
]
INFILLED = [(process, SCHEDULES[turn % 3]) for turn, process in enumerate(PROCESSES)]
EVENTS += [
    repeated((*case, gamma, KNOWN), long=turn in (1, 2))
    for turn, (case, gamma) in enumerate(zip(INFILLED, GAMMAS, strict=True))
]
EVENTS += [repeated(("graph", "mutual_information", "1", None), long=False)]
TIMES = [
    repeated((process, schedule, None), long=i % 3 != j)
    for i, process in enumerate(PROCESSES)
    for j, schedule in enumerate(SCHEDULES)
] + [repeated((*case, KNOWN), long=turn in (0, 3)) for turn, case in enumerate(INFILLED)]


def events(process_name: str, schedule_name: str, gamma_name: str) -> tuple[SCUD, IdealEvents]:
    process, gamma = make_process(process_name, NUM_STATES), make_gamma(gamma_name, NUM_STATES)
    joint = random_joint(NUM_STATES, 2, seed=21)
    p0 = average_marginal(joint)
    schedule = make_schedule(schedule_name, process, p0, gamma)
    model = SCUD(
        process, schedule, gamma, p0=p0, t_max=time_at(schedule, 4.0 / process.rate(gamma))
    )
    jump = torch.eye(NUM_STATES) + process.generator() / process.rate(gamma)
    return model, IdealEvents(joint, powers(jump, 24))


@pytest.mark.parametrize(("process_name", "schedule_name", "gamma_name", "known"), EVENTS)
def test_scud(process_name: str, schedule_name: str, gamma_name: str, known: int | None) -> None:
    model, ideal = events(process_name, schedule_name, gamma_name)

    def laws_of(steps: int) -> list[Tensor]:
        return chain.of_events(
            model, ideal.joint, ideal.table[: MOST + 1], Ancestral(steps=steps).times(model), known
        )

    check_limit(laws_of, event_law(model, ideal, known), known)
    check_draws(model, tabled(ideal), laws_of(STEPS), known)


@pytest.mark.long
@pytest.mark.parametrize(("process_name", "schedule_name", "gamma_name", "known"), EVENTS)
def test_scud_on_a_fine_grid(
    process_name: str, schedule_name: str, gamma_name: str, known: int | None
) -> None:
    model, ideal = events(process_name, schedule_name, gamma_name)
    check_law(sample(model, tabled(ideal), known, FINE), event_law(model, ideal, known))


def times(
    process_name: str, schedule_name: str, known: int | None
) -> tuple[Classical, IdealTime, Tensor]:
    """The model, its ideal denoiser, and the exact law of samples."""
    process = make_process(process_name, NUM_STATES)
    joint = random_joint(NUM_STATES, 2, seed=21)
    p0 = average_marginal(joint)
    schedule = make_schedule(schedule_name, process, p0, 0.0)
    model = Classical(process, schedule, p0=p0, t_max=time_at(schedule, 1.5 / process.max_rate))
    ideal = IdealTime(joint, process.generator(), schedule)
    x = states(NUM_STATES, 2)
    if known is not None:
        x = x[x[:, 0] == known]
    t = torch.full(x.shape, model.t_max, dtype=torch.float64)
    if known is not None:
        t[:, 0] = 0.0
    prior = p0 @ torch.linalg.matrix_exp(schedule.tau(t[:1, 1])[0] * process.generator())
    mass = prior[x].prod(1) if known is None else prior[x[:, 1]]
    return model, ideal, reversal(joint, ideal.likelihood(x, t), mass / mass.sum())


@pytest.mark.parametrize(("process_name", "schedule_name", "known"), TIMES)
def test_classical(process_name: str, schedule_name: str, known: int | None) -> None:
    model, ideal, law = times(process_name, schedule_name, known)

    def laws_of(steps: int) -> list[Tensor]:
        return chain.of_time(
            model, ideal.joint, ideal.generator, Ancestral(steps=steps).times(model), known
        )

    check_limit(laws_of, law, known, steps=64)
    check_draws(model, OncePerStep(ideal, NUM_STATES), laws_of(STEPS), known)


@pytest.mark.long
@pytest.mark.parametrize(("process_name", "schedule_name", "known"), TIMES)
def test_classical_on_a_fine_grid(process_name: str, schedule_name: str, known: int | None) -> None:
    model, ideal, law = times(process_name, schedule_name, known)
    check_law(sample(model, OncePerStep(ideal, NUM_STATES), known, 64), law)


def masked_law(model: Masking, joint: Tensor, known: int | None) -> Tensor:
    """The exact law of samples."""
    alpha = float((-model.schedule.tau(torch.tensor(model.t_max, dtype=torch.float64))).exp())
    mass_of = torch.cat([alpha * model.p0, torch.tensor([1 - alpha], dtype=torch.float64)])
    x = states(NUM_STATES + 1, 2)
    if known is not None:
        x = x[x[:, 0] == known]
    mass = mass_of[x].prod(1) if known is None else mass_of[x[:, 1]]
    return reversal(joint, IdealMasking(joint).likelihood(x), mass)


def check_masking(model: Masking, joint: Tensor, law: Tensor, known: int | None) -> None:
    """Against the exact law of samples, as above."""

    def laws_of(steps: int) -> list[Tensor]:
        return chain.of_masking(model, joint, Ancestral(steps=steps).times(model), known)

    check_limit(laws_of, law, known)
    check_draws(model, OncePerStep(IdealMasking(joint), NUM_STATES + 1), laws_of(STEPS), known)


@pytest.mark.parametrize("known", [None, KNOWN], ids=["free", "infill"])
@pytest.mark.parametrize(
    "schedule", [Linear(), make_schedule("cosine", make_process("uniform", 3), torch.ones(3), 1.0)]
)
def test_masking(schedule: Schedule, known: int | None) -> None:
    joint = random_joint(NUM_STATES, 2, seed=21)
    model = Masking(NUM_STATES, schedule, p0=average_marginal(joint), t_max=0.9)
    check_masking(model, joint, masked_law(model, joint, known), known)


@pytest.mark.long
@pytest.mark.parametrize("known", [None, KNOWN], ids=["free", "infill"])
def test_masking_on_a_fine_grid(known: int | None) -> None:
    joint = random_joint(NUM_STATES, 2, seed=21)
    model = Masking(NUM_STATES, Linear(), p0=average_marginal(joint), t_max=0.9)
    ideal = OncePerStep(IdealMasking(joint), NUM_STATES + 1)
    check_law(sample(model, ideal, known, FINE), masked_law(model, joint, known))


def test_data_law_where_all_is_forgotten() -> None:
    """With t_max where nothing is left, the exact reversal is the data's own law, and the conditional one when infilling."""
    joint = random_joint(NUM_STATES, 2, seed=21)
    model = Masking(NUM_STATES, Linear(), p0=average_marginal(joint), t_max=1 - 1e-9)
    check_masking(model, joint, joint.flatten(), None)
    conditional = torch.zeros_like(joint)
    conditional[KNOWN] = joint[KNOWN] / joint[KNOWN].sum()
    check_masking(model, joint, conditional.flatten(), KNOWN)


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

        def denoiser(
            x_t: Tensor, conditioning: Conditioning, calls: list[Tensor] = calls
        ) -> Tensor:
            calls.append(conditioning.t)
            return torch.zeros(*x_t.shape, NUM_STATES)

        x = model.sample(denoiser, (5, 2, 3), steps)
        assert len(calls) == steps
        assert x.shape == (5, 2, 3)
        assert int(x.max()) < NUM_STATES

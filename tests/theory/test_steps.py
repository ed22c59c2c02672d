"""The bound of the sampler that is used, against dense matrices and enumeration."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking, Noisy
from scud.errors import UserError
from scud.samplers import Ancestral
from scud.schedules import Linear
from scud.typing import Batch, Conditioning
from tests.theory.cases import make_process
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

B = 3
JOINT = random_joint(B, 2, seed=5).sqrt()
JOINT = JOINT / JOINT.sum()
P0 = average_marginal(JOINT)
PROCESSES = ("uniform", "gaussian", "non-reversible")
GAMMA = 0.7
T_MAX = 0.6


def make(kind: str, process: str = "uniform") -> Diffusion:
    if kind == "masking":
        return Masking(B, Linear(), p0=P0, t_max=T_MAX)
    noise = make_process(process, B)
    if kind == "scud":
        return SCUD(noise, gamma=GAMMA, p0=P0, t_max=T_MAX)
    return Classical(noise, p0=P0, t_max=T_MAX)


def kl(p: Tensor, q: Tensor) -> Tensor:
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)


def posterior(since: Tensor, seen: Tensor, before: Tensor) -> Tensor:
    """∝ M(recent)[y, x_t] (p M(past))[y], all [n, B]."""
    weights = since.transpose(-1, -2).gather(-2, seen.reshape(-1, 1, 1).expand(-1, 1, B)).squeeze(1)
    law = weights * before
    return law / law.sum(-1, keepdim=True)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("sharp", [1.0, 8.0])
def test_scud_steps_are_divergences_of_dense_posteriors(process: str, sharp: float) -> None:
    """All clean and noised states, and all ways to undo up to four of up to five events."""
    model = make("scud", process)
    assert isinstance(model, SCUD)
    tables = powers(torch.eye(B) + model.process.generator() / model.rate, 6)
    grid = torch.cartesian_prod(*[torch.arange(n) for n in (B, B, 6, 6)])
    x0, x_t, past, s = grid[grid[:, 2] <= grid[:, 3]].T
    logits = sharp * torch.randn(len(x0), B, generator=torch.Generator().manual_seed(0))
    possible = tables[s, x0, x_t] > 1e-12
    x0, x_t, past, s, logits = (part[possible] for part in (x0, x_t, past, s, logits))
    noisy = Noisy(x_t.unsqueeze(1), torch.full((len(x0),), 0.5), s.unsqueeze(1))
    found = model.step_divergence(
        logits.unsqueeze(1), x0.unsqueeze(1), noisy, 0.3, past.unsqueeze(1)
    ).squeeze(1)
    since, before = tables[s - past], tables[past]
    true = posterior(since, x_t, before[torch.arange(len(x0)), x0])
    predicted = logits.double().softmax(-1).unsqueeze(1) @ before
    expected = kl(true, posterior(since, x_t, predicted.squeeze(1)))
    torch.testing.assert_close(found.double(), expected, rtol=2e-4, atol=2e-5)
    assert bool((found[past == s] == 0).all())


@pytest.mark.parametrize("process", PROCESSES)
def test_classical_steps_are_divergences_of_dense_posteriors(process: str) -> None:
    model = make("classical", process)
    assert isinstance(model, Classical)
    x0, x_t = torch.cartesian_prod(torch.arange(B), torch.arange(B)).T
    logits = 2 * torch.randn(len(x0), B, generator=torch.Generator().manual_seed(0))
    t = torch.full((len(x0),), 0.6, dtype=torch.float64)
    for u in (0.0, 0.2, 0.599):
        end, now = model.schedule.tau(torch.tensor([u, 0.6], dtype=torch.float64))
        generator = model.process.generator()
        since = torch.linalg.matrix_exp((now - end) * generator).expand(len(x0), B, B)
        before = torch.linalg.matrix_exp(end * generator)
        found = model.step_divergence(
            logits.unsqueeze(1), x0.unsqueeze(1), Noisy(x_t.unsqueeze(1), t), u, None
        )
        predicted = logits.double().softmax(-1) @ before
        expected = kl(posterior(since, x_t, before[x0]), posterior(since, x_t, predicted))
        torch.testing.assert_close(found.squeeze(1).double(), expected, rtol=2e-4, atol=2e-6)


MOST = 8
"""Counts above this are left out, everywhere alike: they have probability 3e-6."""

PAIRS = torch.cartesian_prod(*[torch.arange(n) for n in (B, B, B, B)])
"""Clean and noised states of two positions."""


class Enumerated:
    """All clean states, noised states and counts of two positions at a time, and how likely they are."""

    def __init__(self, model: Diffusion, t: float) -> None:
        self.model, self.t = model, t
        when = torch.full((1,), t, dtype=torch.float64)
        tau = model.schedule.tau(when)
        self.x0, self.x_t, self.s = PAIRS[:, :2], PAIRS[:, 2:], None
        clean = self.x0
        if isinstance(model, SCUD):
            jump = torch.eye(B, dtype=torch.float64) + model.process.generator() / model.rate
            self.table = powers(jump, MOST)
            counts = torch.cartesian_prod(torch.arange(MOST + 1), torch.arange(MOST + 1))
            self.s = counts.repeat(len(PAIRS), 1)
            self.x0, self.x_t = (
                part.repeat_interleave(len(counts), 0) for part in (self.x0, self.x_t)
            )
            chance = poisson(model.rate * tau, MOST)[0]
            self.seen = chance[self.s] * self.table[self.s, self.x0, self.x_t]
            ideal = IdealEvents(JOINT, self.table)
            self.likelihood = ideal.likelihood(self.x_t, self.s)
        elif isinstance(model, Classical):
            law = torch.linalg.matrix_exp(tau * model.process.generator())
            self.seen = law[self.x0, self.x_t]
            ideal_time = IdealTime(JOINT, model.process.generator(), model.schedule)
            self.likelihood = ideal_time.likelihood(self.x_t, when.expand(len(self.x_t)))
        else:
            hidden = torch.cartesian_prod(torch.arange(2), torch.arange(2))
            clean = states(B, 2)
            self.x0, self.s = clean.repeat_interleave(4, 0), hidden.repeat(len(clean), 1)
            self.x_t = self.x0.masked_fill(self.s > 0, B)
            share = -torch.expm1(-tau)
            self.seen = torch.where(self.s > 0, share, 1 - share)
            self.likelihood = IdealMasking(JOINT).likelihood(self.x_t)
        self.weight = JOINT[self.x0[:, 0], self.x0[:, 1]] * self.seen.prod(1)
        self.logits = others(JOINT, self.likelihood)

    def step(self, u: float) -> float:
        """E Σ_d of the divergences of a step to u, less what counts beyond MOST have."""
        noisy = Noisy(self.x_t, torch.full((len(self.x_t),), self.t, dtype=torch.float64), self.s)
        if not isinstance(self.model, SCUD):
            values = self.model.step_divergence(self.logits, self.x0, noisy, u, self.s)
            return float(self.weight @ values.double().sum(1))
        assert self.s is not None
        now, then = self.model.schedule.tau(torch.tensor([self.t, u], dtype=torch.float64))
        total = 0.0
        for left in range(MOST + 1):
            past = torch.full_like(self.s, left).minimum(self.s)
            chance = torch.distributions.Binomial(self.s.double(), (then / now).clamp(0, 1))
            share = chance.log_prob(past.double()).exp() * (self.s >= left)
            values = self.model.step_divergence(self.logits, self.x0, noisy, u, past)
            total += float(self.weight @ (share * values.double()).sum(1))
        return total

    def left_over(self) -> tuple[float, float]:
        """Σ_d H(x0_d | what is seen), and H(x0 | what is seen), nats."""
        law = forward_law(JOINT, self.likelihood)  # [n, B^2] over x0
        chance = law / law.sum(1, keepdim=True)
        both = chance.gather(1, (self.x0[:, :1] * B + self.x0[:, 1:])).squeeze(1)
        square = chance.reshape(-1, B, B)
        alone = [square.sum(2), square.sum(1)]
        parts = [one.gather(1, self.x0[:, d : d + 1]).squeeze(1) for d, one in enumerate(alone)]
        seen = self.weight > 0
        nats = [-(self.weight[seen] @ part[seen].log()) for part in (*parts, both)]
        return float(nats[0] + nats[1]), float(nats[2])


KINDS = [("masking", "uniform")] + [
    (kind, process) for kind in ("scud", "classical") for process in PROCESSES
]


@pytest.mark.parametrize(("kind", "process"), KINDS)
def test_with_the_ideal_denoiser_it_falls_on_nested_grids_to_what_is_left(
    kind: str, process: str
) -> None:
    """One step costs what each position has left, given what is seen of both; many steps what both have together."""
    model = make(kind, process)
    cache: dict[float, Enumerated] = {}

    def bound(steps: int) -> float:
        grid = torch.linspace(T_MAX, 0, steps + 1, dtype=torch.float64).tolist()
        total = 0.0
        for t, u in itertools.pairwise(grid):
            if t not in cache:
                cache[t] = Enumerated(model, t)
            total += cache[t].step(u)
        return total

    apart, together = Enumerated(model, T_MAX).left_over()
    found = [bound(steps) for steps in (1, 2, 4, 8)]
    assert found[0] == pytest.approx(apart, abs=2e-5)
    assert all(more < fewer for fewer, more in itertools.pairwise(found))
    assert found[-1] > together
    excess = [value - together for value in found]
    assert excess[-1] < 0.25 * excess[0], "it falls as one over the number of steps"


@pytest.mark.parametrize("kind", ["masking", "scud", "classical"])
@pytest.mark.parametrize("steps", [3, 20])
def test_estimates_are_unbiased_whether_all_terms_are_computed_or_one(
    kind: str, steps: int
) -> None:
    """Against every term, each from 10,000 examples; a false alarm at six standard errors has probability 2e-9."""
    model = make(kind)
    source = torch.Generator().manual_seed(1)
    index = torch.multinomial(JOINT.flatten(), 10_000, replacement=True, generator=source)
    x0 = torch.stack([index // B, index % B], 1)
    table = torch.randn(B + 1, B, generator=source)

    def denoiser(x_t: Tensor, _: Conditioning) -> Tensor:
        return table[x_t.flip(1)]  # of what is seen at the other position

    grid = Ancestral(steps=steps).times(model)
    elbo = model.elbo(denoiser, x0, generator=source, grid=grid)
    expected = variance = 0.0
    for t, u in itertools.pairwise(grid.tolist()):
        noisy = model.noise(x0, torch.full((len(x0),), t, dtype=torch.float64), source)
        s = model.draw_counts(noisy, u, source)
        logits = denoiser(noisy.x_t, model.condition(noisy))
        values = model.step_divergence(logits, x0, noisy, u, s).double().sum(1)
        expected += float(values.mean())
        variance += float(values.var()) / len(x0)
    found, error = float(elbo.diffusion.mean()), float(elbo.diffusion.var()) / len(x0)
    assert abs(found - expected) < 6 * math.sqrt(variance + error)
    control = elbo.control
    assert abs(float(control.mean())) < 6 * float(control.std()) / math.sqrt(len(x0))
    assert torch.equal(elbo.prior, model.prior_term(x0).sum(1).to(elbo.prior.dtype))


@pytest.mark.parametrize("kind", ["masking", "scud", "classical"])
def test_positions_that_are_known_or_not_real_take_no_part(kind: str) -> None:
    model = make(kind)
    known = torch.tensor([[True, False, False, False]]).expand(50, -1)
    mask = torch.tensor([[True, True, True, False]]).expand(50, -1)
    x0 = torch.randint(B, (50, 4), generator=torch.Generator().manual_seed(0))

    def denoiser(x_t: Tensor, _: Conditioning) -> Tensor:
        return torch.zeros(*x_t.shape, B)

    other = torch.where(known | ~mask, (x0 + 1) % B, x0)
    found = [
        model.elbo(
            denoiser,
            Batch(x, mask, known=known),
            generator=torch.Generator().manual_seed(3),
            grid=Ancestral(steps=4).times(model),
        )
        for x in (x0, other)
    ]
    assert torch.equal(found[0].prior, found[1].prior)
    assert bool(found[0].diffusion.isfinite().all())
    if kind == "masking":  # whose noise depends on no state
        torch.testing.assert_close(found[0].diffusion, found[1].diffusion)


def test_a_grid_that_is_none_is_refused() -> None:
    model = make("masking")
    x0 = torch.zeros(2, 2, dtype=torch.int64)

    def denoiser(x_t: Tensor, _: Conditioning) -> Tensor:
        return torch.zeros(*x_t.shape, B)

    for grid in ([0.6], [0.6, 0.1], [0.5, 0.0], [0.6, 0.6, 0.0]):
        with pytest.raises(UserError, match="grid must"):
            model.elbo(denoiser, x0, grid=torch.tensor(grid, dtype=torch.float64))

"""Draws of noise for scores, and how those of a wild type and of its variants are paired.

A difference of two bounds is D = -∫ Δ(t) dt - prior(variant) + prior(wild type), Δ = Σ_d h_d(variant) - Σ_d h_d(wild type).
Noise outside the mutated positions M is the same for both. An event at M is rare at small t, where its weight is large, so the
integral is split by whether M has had one by time t,

    ∫ Δ dt = ∫ ( E[1(no event at M) Δ] + P(event at M) E[Δ | event at M] ) dt,

exactly, whatever the network. The first part uses draws for the whole sequence, which serve the wild type and all variants; one
with an event at M needs no call for this variant. The second has draws of its own, a quarter as many, since it varies less; the
event takes away what is large at small t, so their times are uniform. With m positions and an expected number λ of events at
each, the first of all comes at e / m, e exponential but below m λ, at a random one of them, and Poisson(λ - e / m) more follow
at each. States after events are races, x_t = argmax_y K^s[x0, y] / E_y, with the same
exponential E_y for wild type and variants: they mostly agree, and equal noised states share one call of the network. For
masking they always do where m = 1. The classical model's noise is drawn in the same way, exp(tau Q) as a mixture over events.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scud.diffusion import SCUD, Classical, Diffusion, Masking, Noisy
from scud.diffusion.base import per_example
from scud.diffusion.times import draw_times
from scud.processes import Kernel
from scud.typing import Denoiser

GROUPS = 8
"""Independent groups of draws; the times of each are one systematic sample."""

SHARE = 4
"""So many draws of the whole sequence for one with events at the mutated positions."""


@dataclass(frozen=True)
class Draws:
    """Noised copies of one sequence, GROUPS groups of as many.

    Attributes:
        noisy: [R, L].
        weight: one over the density of its time, [R] float64.
        events: whether there was an event, [R, L] bool.
    """

    noisy: Noisy
    weight: Tensor
    events: Tensor

    @classmethod
    def of(cls, model: Diffusion, x0: Tensor, repeats: int, seed: int, *, even: bool = False) -> "Draws":
        """At least `repeats` draws for clean states x0 [L], their times from the mixture, or uniform where `even`."""
        generator = torch.Generator(x0.device).manual_seed(seed)
        count = -(-repeats // GROUPS)
        offset = torch.rand(GROUPS, 1, dtype=torch.float64, device=x0.device, generator=generator)
        u = ((offset + torch.arange(count, device=x0.device) / count) % 1.0).flatten()
        t, weight = draw_times(u, model.schedule, model.t_max)
        if even:
            t, weight = model.t_max * u.clamp_min(1e-12), torch.full_like(u, model.t_max)
        x0 = x0.expand(len(t), -1)
        if not isinstance(model, Classical):
            noisy = model.noise(x0, t, generator)
            assert noisy.s is not None, "a batch noised by SCUD or masking has counts"
            return cls(noisy, weight, noisy.s > 0)
        rate, kernel = events_of(model)
        assert kernel is not None, "a classical model has a process"
        s = torch.poisson((rate * model.schedule.tau(t)).unsqueeze(1).expand(x0.shape), generator=generator)
        return cls(Noisy(kernel.draw(x0, s, generator), t), weight, s > 0)


@dataclass(frozen=True)
class Comparison:
    """A wild type to compare variants with.

    Attributes:
        wild, known: its states and which of them are known, [L].
        draws: of the whole sequence, [R, L].
        forced: to be given events at the mutated positions, [R / SHARE, L].
        totals: Σ_d h_d of each of `draws`, [R].
    """

    model: Diffusion
    network: Denoiser
    wild: Tensor
    known: Tensor
    draws: Draws
    forced: Draws
    totals: Tensor
    tokens: int
    seed: int

    @classmethod
    def of(
        cls, model: Diffusion, network: Denoiser, wild: Tensor, known: Tensor, repeats: int, tokens: int, seed: int
    ) -> "Comparison":
        """Draw the noise and evaluate the wild type."""
        draws = Draws.of(model, wild, repeats, seed)
        forced = Draws.of(model, wild, -(-repeats // SHARE), other_seed(seed, 1), even=True)
        totals = torch.zeros_like(draws.weight)
        mask = known.expand(len(totals), -1)
        for part, some, logits in calls(model, network, draws.noisy, mask, tokens):
            x0 = wild.expand(some.x_t.shape)
            totals[part] = per_example(model.integrand(logits, x0, some, mask[part])).double()
        return cls(model, network, wild, known, draws, forced, totals, tokens, seed)

    def differences(self, positions: Tensor, states: Tensor) -> Tensor:
        """-D by group of draws, of variants with these states [V, m] at positions [m]: -> [V, GROUPS]."""
        quiet = (~self.draws.events[:, positions].any(1)).nonzero().squeeze(-1)
        without = torch.zeros(len(states), len(self.totals), dtype=torch.float64, device=self.wild.device)
        seen = states.unsqueeze(1).expand(-1, len(quiet), -1)
        noisy = take(self.draws.noisy, quiet)
        without[:, quiet] = self.integrals(noisy, positions, states, seen, torch.zeros_like(seen[0]))
        without[:, quiet] -= self.totals[quiet]
        both = torch.cat([self.wild[positions].unsqueeze(0), states])
        s, seen, chance = self.events_at(both, self.forced.noisy.t)
        values = self.integrals(self.forced.noisy, positions, both, seen, s)
        after = (values[1:] - values[0]) * chance
        prior = (self.model.prior_nats[states] - self.model.prior_nats[self.wild[positions]]).sum(1, keepdim=True)
        return group_means(without * self.draws.weight) + group_means(after * self.forced.weight) + prior

    def events_at(self, states: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Events at m positions given that there is one, at times t [n], and the states [S, m] after them.

        Returns:
            Counts [n, m], states [S, n, m], and the probability of an event at all [n].
        """
        positions, shape = states.shape[1], (len(t), states.shape[1])
        generator = torch.Generator(t.device).manual_seed(other_seed(self.seed, 2))
        rate, kernel = events_of(self.model)
        mean = rate * self.model.schedule.tau(t)
        chance = -torch.expm1(-positions * mean)
        wait = torch.rand(t.shape, dtype=torch.float64, device=t.device, generator=generator)
        first = -torch.log1p(-wait * chance) / positions
        s = torch.poisson((mean - first).clamp_min(0).unsqueeze(1).expand(shape), generator=generator)
        place = torch.randint(positions, (len(t), 1), device=t.device, generator=generator)
        s.scatter_add_(1, place, torch.ones_like(s))
        before = states.unsqueeze(1).expand(-1, *shape)
        if kernel is None:
            return s.clamp_max(1).long(), before.masked_fill(s > 0, self.model.num_states), chance
        race = torch.empty(*shape, self.model.num_states, dtype=torch.float64, device=t.device)
        race.exponential_(generator=generator).clamp_min_(torch.finfo(torch.float64).tiny)
        law = kernel.operator(s.expand(before.shape).reshape(-1)).rows(before.reshape(-1))
        after = (law.reshape(*before.shape, -1) / race).argmax(-1)
        return s.long(), torch.where(s > 0, after, before), chance

    def integrals(self, draws: Noisy, positions: Tensor, states: Tensor, seen: Tensor, s: Tensor) -> Tensor:
        """Σ_d h_d of S sequences that differ at m positions only: -> [S, n].

        Args:
            draws: noise elsewhere, [n, L].
            positions: [m].
            states: clean states there, [S, m].
            seen: noised states there, [S, n, m].
            s: events there, [n, m] int64.
        """
        count, rows, width = seen.shape
        number = torch.arange(rows, device=seen.device).expand(count, -1).unsqueeze(-1)
        distinct, place = torch.unique(torch.cat([number, seen], -1).reshape(-1, width + 1), dim=0, return_inverse=True)
        which = distinct[:, 0]
        noisy = take(draws, which)
        noisy.x_t[:, positions] = distinct[:, 1:]
        if noisy.s is not None:
            noisy.s[:, positions] = s[which]
        mask, elsewhere = self.known.expand(len(which), -1), self.known.clone()
        elsewhere[positions] = False
        rest = torch.zeros(len(which), dtype=torch.float64, device=seen.device)
        logits_here = torch.zeros(len(which), width, self.model.num_states, device=seen.device)
        for part, some, logits in calls(self.model, self.network, noisy, mask, self.tokens):
            x0 = self.wild.expand(some.x_t.shape)
            rest[part] = per_example(self.model.integrand(logits, x0, some, elsewhere.expand(x0.shape))).double()
            logits_here[part] = logits[:, positions].float()
        counts = None if noisy.s is None else s.repeat(count, 1)
        here = Noisy(seen.reshape(-1, width), draws.t.repeat(count), counts)
        own = self.model.integrand(logits_here[place], states.repeat_interleave(rows, 0), here)
        return (rest[place] + per_example(own).double()).reshape(count, rows)


def calls(
    model: Diffusion, network: Denoiser, noisy: Noisy, mask: Tensor, tokens: int
) -> Iterator[tuple[slice, Noisy, Tensor]]:
    """Logits of noised rows [N, L] in parts of at most `tokens` positions (one row at least): part, its rows, logits."""
    size = max(tokens // noisy.x_t.shape[1], 1)
    for start in range(0, len(noisy.x_t), size):
        part = slice(start, start + size)
        some, real = take(noisy, part), mask[part]
        logits = network(some.x_t, model.condition(some, None if bool(real.all()) else real))
        model.check_logits(logits, some.x_t)
        yield part, some, logits


def take(noisy: Noisy, rows: Tensor | slice) -> Noisy:
    """Some rows of a noised batch; copies where `rows` is a tensor."""
    return Noisy(noisy.x_t[rows], noisy.t[rows], None if noisy.s is None else noisy.s[rows])


def events_of(model: Diffusion) -> tuple[float, Kernel | None]:
    """The rate of events per unit of tau, and the kernel of their counts; None where an event masks.

    Raises:
        TypeError: a model of another kind.
    """
    if isinstance(model, SCUD):
        return model.rate, model.kernel
    if isinstance(model, Masking):
        return 1.0, None
    if not isinstance(model, Classical):
        raise TypeError(f"model must be SCUD, Masking or Classical, got {type(model).__name__}; use one of these")
    # exp(tau Q) is a mixture over counts at any gamma; at 1/2 no jump kernel is periodic.
    return model.process.rate(0.5), model.process.events(0.5).to(model.p0.device)


def group_means(values: Tensor) -> Tensor:
    """Means over the draws of each group: [n, R] -> [n, GROUPS]."""
    return values.reshape(len(values), GROUPS, -1).mean(-1)


def other_seed(seed: int, number: int) -> int:
    """A seed for noise that is independent of that from `seed` itself and from other numbers."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> np.uint64(1))

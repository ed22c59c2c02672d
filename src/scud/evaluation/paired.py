"""Draws of noise for scores, and how those of sequences that differ at one position are paired.

A difference of two bounds is -D = ∫ E Δ(t) dt + prior(variant) - prior(before), Δ = Σ_d h_d(variant) - Σ_d h_d(before). Noise at
all other positions is the same for both. What happens at the mutated position decides how large Δ is, so the integral is split
by whether it has had an event by time t, exactly and whatever the network:

    E Δ = exp(-λ) E[Δ | no event] + E[Δ; an event],       λ(t) = r tau(t) expected events.

Half of the draws serve each part, and neither waits for what is rare: an event while t is small, where its weight is large; none
while t is large; few while t is large. In the second part there are s >= 1 events with probability

    q(s) = P(s) ρ(s),    ρ(s) = 0.3 / P(s >= 1) + 0.7 I_s / Σ_{u >= 1} P(u) I_u,    P = Poisson(λ),

and the draw is weighted by P / q: few events leave much to be known, I_s being the information that x after s events has about
x0. (Masking: s is 1.) Times are uniform in the second part, and from the mixture of `scud.diffusion.times` in the first, where
events at other positions still want it.

States after events are races, x_t = argmax_y K^s[x0, y] / E_y, with the same exponential E_y for all that are compared: they
often agree, and equal noised states share one call of the network. The classical model's noise at the mutated position is drawn
in the same way, as exp(tau Q) is a mixture over events.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from scud.diffusion import SCUD, Classical, Diffusion, Masking, Noisy
from scud.diffusion.objectives import per_example
from scud.diffusion.times import draw_times
from scud.errors import fail
from scud.numerics import is_fixed
from scud.numerics.logits import Logits
from scud.numerics.transfer import sent
from scud.processes import Kernel
from scud.schedules.information import EventInformation
from scud.typing import Denoiser, Given

GROUPS = 8
"""Independent groups of draws; the times of each are one systematic sample."""

PLAIN = 0.3
"""Share of numbers of events drawn by their own law: no weight P / q exceeds 1 / PLAIN."""

FORGOTTEN = 1e-12
"""Information below this share counts as this: where nothing is left, events are drawn by their own law."""


@dataclass(frozen=True)
class Draws:
    """Noised copies of one sequence [R, L], and one over the density of their times [R] float64."""

    noisy: Noisy
    weight: Tensor

    @classmethod
    def of(
        cls, model: Diffusion, x0: Tensor, repeats: int, seed: int, *, even: bool = False
    ) -> "Draws":
        """At least `repeats` draws for clean states x0 [L], their times from the mixture, or uniform where `even`."""
        generator = torch.Generator(x0.device).manual_seed(seed)
        count = -(-repeats // GROUPS)
        offset = torch.rand(GROUPS, 1, dtype=torch.float64, device=x0.device, generator=generator)
        u = ((offset + torch.arange(count, device=x0.device) / count) % 1.0).flatten()
        t, weight = draw_times(u, model.schedule, model.t_max, model.tau_max)
        if even:
            t, weight = (model.t_max * u).clamp_min(1e-12), torch.full_like(u, model.t_max)
        return cls(model.noise(x0.expand(len(t), -1), t, generator), weight)


@dataclass(frozen=True)
class Events:
    """Events at one position: their rate per unit of tau, the kernel of their counts, and the information they leave.

    Kernel and information are None for masking.
    """

    rate: float
    kernel: Kernel | None
    information: EventInformation | None

    @classmethod
    def of(cls, model: Diffusion) -> "Events":
        """The events of a model.

        Raises:
            UserError: a model of a kind of your own, whose events are not known.
        """
        if isinstance(model, Masking):
            return cls(1.0, None, None)
        if not isinstance(model, SCUD | Classical):
            remedy = "use one of these, or compare bounds by scud.evaluation.scores.score"
            raise fail("model", "be SCUD, Masking or Classical", type(model).__name__, remedy)
        # exp(tau Q) is a mixture over counts at any gamma; at 1/2 no jump kernel is periodic.
        gamma = model.gamma if isinstance(model, SCUD) else 0.5
        kernel = model.process.events(gamma)
        information = EventInformation(kernel, model.p0.cpu())
        return cls(model.process.rate(gamma), kernel.to(model.p0.device), information)

    def draw(self, mean: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Counts of at least one, [n] int64, and their weights P / q [n], for `mean` [n] expected events."""
        if self.information is None:
            return torch.ones_like(mean).long(), -torch.expm1(-mean)
        most = float(mean.max())
        counts = np.arange(1.0, int(most + 10 * most**0.5) + 20)
        left = sent(torch.as_tensor(self.information(counts).clip(FORGOTTEN)), mean.device)
        s = sent(torch.as_tensor(counts), mean.device)
        law = (torch.xlogy(s, mean.unsqueeze(1)) - mean.unsqueeze(1) - torch.lgamma(s + 1)).exp()
        rho = PLAIN / law.sum(1, keepdim=True) + (1 - PLAIN) * left / (law @ left).unsqueeze(1)
        index = torch.multinomial(law * rho, 1, generator=generator)
        return index.squeeze(1) + 1, 1 / rho.gather(1, index).squeeze(1)


@dataclass(frozen=True)
class Comparison:
    """A sequence to compare mutants with.

    Attributes:
        before, known: its states and which of them are known, [L].
        quiet, struck: draws for the part without and with an event at the mutated position, [R / 2, L] each.
        events: of the model.
    """

    model: Diffusion
    network: Denoiser
    before: Tensor
    known: Tensor
    quiet: Draws
    struck: Draws
    events: Events
    tokens: int
    seed: int

    @classmethod
    def of(
        cls,
        model: Diffusion,
        network: Denoiser,
        before: Tensor,
        known: Tensor,
        *,
        events: Events,
        repeats: int,
        tokens: int,
        seed: int,
    ) -> "Comparison":
        """Draw the noise that all mutants share; each takes at most `repeats` calls, in multiples of 16."""
        half = -(-repeats // 2)
        quiet = Draws.of(model, before, half, other_seed(seed, 0))
        struck = Draws.of(model, before, half, other_seed(seed, 1), even=True)
        return cls(model, network, before, known, quiet, struck, events, tokens, seed)

    def differences(self, position: int, states: Tensor) -> Tensor:
        """-D by group of draws, of mutants with these states [V] at a position: -> [V, GROUPS]."""
        both = torch.cat([self.before[position].unsqueeze(0), states])
        prior = self.model.prior_term(both)
        prior = (prior[1:] - prior[0]).unsqueeze(1)
        for draws, (s, weight) in zip((self.quiet, self.struck), self.counts, strict=True):
            values = self.integrals(draws.noisy, position, both, self.states_after(both, s), s)
            prior = prior + group_means((values[1:] - values[0]) * weight * draws.weight)
        return prior

    @cached_property
    def counts(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Events at the mutated position [n] int64 and the weight of each draw [n], for the parts without and with an event.

        They are the same at every position.
        """
        none, some = (
            self.events.rate * self.model.schedule.tau(draws.noisy.t)
            for draws in (self.quiet, self.struck)
        )
        source = torch.Generator(some.device).manual_seed(other_seed(self.seed, 2))
        return (torch.zeros_like(none).long(), torch.exp(-none)), self.events.draw(some, source)

    def states_after(self, states: Tensor, s: Tensor) -> Tensor:
        """What states [S] are after s events [n]: -> [S, n]."""
        before = states.unsqueeze(1).expand(-1, len(s))
        if self.events.kernel is None:
            return before.masked_fill(s > 0, self.model.num_states)
        generator = torch.Generator(s.device).manual_seed(other_seed(self.seed, 3))
        race = torch.empty(len(s), self.model.num_states, dtype=torch.float64, device=s.device)
        race.exponential_(generator=generator).clamp_min_(torch.finfo(torch.float64).tiny)
        law = self.events.kernel.operator(s.double().repeat(len(states))).rows(before.reshape(-1))
        return torch.where(s > 0, (law.reshape(*before.shape, -1) / race).argmax(-1), before)

    def integrals(
        self, draws: Noisy, position: int, states: Tensor, seen: Tensor, s: Tensor
    ) -> Tensor:
        """Σ_d h_d of S sequences that differ at one position only: -> [S, n].

        Args:
            draws: noise elsewhere, [n, L].
            position: where they differ.
            states: clean states there, [S].
            seen: noised states there, [S, n].
            s: events there, [n] int64.
        """
        count, rows = seen.shape
        # Noised sequences are equal where draw and state are: one number for both.
        number = torch.arange(rows, device=seen.device) * (self.model.num_states + 1) + seen
        distinct, place = torch.unique(number.flatten(), return_inverse=True)
        which = distinct // (self.model.num_states + 1)
        noisy = take(draws, which)
        noisy.x_t[:, position] = distinct % (self.model.num_states + 1)
        if noisy.s is not None:
            noisy.s[:, position] = s[which]
        mask, elsewhere = self.known.expand(len(which), -1), self.known.clone()
        elsewhere[position] = False
        rest = torch.zeros(len(which), dtype=torch.float64, device=seen.device)
        logits_here = torch.zeros(len(which), 1, self.model.num_states, device=seen.device)
        for part, some, logits in calls(self.model, self.network, noisy, mask, self.tokens):
            x0 = self.before.expand(some.x_t.shape)
            rest[part] = per_example(
                self.model.integrand(logits, x0, some, elsewhere.expand(x0.shape))
            ).double()
            logits_here[part, 0] = logits[:, position].float()
        counts = None if noisy.s is None else s.repeat(count).unsqueeze(1)
        here = Noisy(seen.reshape(-1, 1), draws.t.repeat(count), counts)
        own = self.model.integrand(
            logits_here[place], states.repeat_interleave(rows).unsqueeze(1), here
        )
        return (rest[place] + own.squeeze(1).double()).reshape(count, rows)


def calls(
    model: Diffusion, network: Denoiser, noisy: Noisy, mask: Tensor, tokens: int
) -> Iterator[tuple[slice, Noisy, Logits]]:
    """Logits of noised rows [N, L] in parts of at most `tokens` positions (one row at least): part, its rows, logits."""
    size = max(tokens // noisy.x_t.shape[1], 1)
    for start in range(0, len(noisy.x_t), size):
        part = slice(start, start + size)
        some, real = take(noisy, part), mask[part]
        # Whether all are real a GPU would have to be asked: there the network is told in any case.
        told = is_fixed(real) or not bool(real.all())
        given = Given(mask=real) if told else Given()
        logits = network(some.x_t, model.condition(some, given))
        model.check_logits(logits, some.x_t)
        yield part, some, logits


def take(noisy: Noisy, rows: Tensor | slice) -> Noisy:
    """Some rows of a noised batch; copies where `rows` is a tensor."""
    return Noisy(noisy.x_t[rows], noisy.t[rows], None if noisy.s is None else noisy.s[rows])


def group_means(values: Tensor) -> Tensor:
    """Means over the draws of each group: [n, R] -> [n, GROUPS]."""
    return values.reshape(len(values), GROUPS, -1).mean(-1)


def other_seed(*numbers: int) -> int:
    """A seed from numbers; noise from different ones is independent."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))

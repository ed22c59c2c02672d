"""SCUD: diffusion conditioned on the jump schedule.

Amin, Gruver and Wilson, "Why Masking Diffusion Works: Condition on the Jump Schedule for Improved
Discrete Diffusion", NeurIPS 2025, arXiv 2506.08316.

Events come at rate r = r* / gamma, each a jump from K = I + Q / r; the model is told how many each
position has had: s ~ Poisson(lambda(t)), lambda = r tau, and x_t | x0, s ~ K^s[x0, :]. The bound's
integrand, for one draw of (t, s, x_t):

    h_d(t) = (beta / tau) s_d KL( true || predicted posterior of the state before the last event ),

and its prior term is E_s KL( K^s[x0_d, :] || p0 K^s ), s ~ Poisson(lambda(t_max)).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from scud import numerics
from scud.diffusion.batches import at_time, spread
from scud.diffusion.kernel_diffusion import (
    SMALLEST,
    KernelDiffusion,
    check_schedule,
    is_idle,
    over_positions,
)
from scud.diffusion.objectives import per_example
from scud.diffusion.options import T_MAX, DiffusionOptions
from scud.numerics.logits import Logits
from scud.processes import Process, ProcessOptions
from scud.processes.base import check_gamma
from scud.processes.kernels.operator import Operator
from scud.schedules import MutualInformation, Schedule, ScheduleOptions
from scud.schedules.information import poisson_rule, smooth_divergences
from scud.typing import DataView, Noisy, Time


class SCUD(KernelDiffusion):
    """Schedule-conditioned diffusion with any process.

    Args:
        process: the noise.
        schedule: tau(t); the mutual-information schedule of process, p0 and gamma by default. A
            `MutualInformation` schedule must have the same process, gamma and p0.
        gamma: in (0, 1]; 1 conditions on the most schedule information, -> 0 tends to `Classical`.
        p0: training marginal [B], positive, summing to 1.
        t_max: the largest time, in (0, 1).

    Raises:
        UserError: gamma outside (0, 1] or periodic for the process; process, gamma or p0 that
            differ from the schedule's.
    """

    def __init__(
        self,
        process: Process,
        schedule: Schedule | None = None,
        gamma: float = 1.0,
        *,
        p0: Tensor,
        t_max: float = T_MAX,
    ) -> None:
        check_gamma(gamma)
        schedule = MutualInformation(process, p0, gamma) if schedule is None else schedule
        super().__init__(process.num_states, schedule, p0, t_max)
        check_schedule(schedule, process, self.p0, gamma)
        self.process, self.gamma = process, gamma
        self.kernel = process.events(gamma)
        self.rate = process.rate(gamma)
        most = self.rate * schedule.tau(torch.tensor([t_max], dtype=torch.float64))
        end = float(most + 6 * most.sqrt()) + 16
        self.evidence = self.kernel.evidence(self.p0, 16.0, end, counts=True)
        counts, weights = (part[0] for part in poisson_rule(most))
        self.lazy_prior = self.kernel.is_sampled
        likely = weights > (1e-10 if self.lazy_prior else 1e-18)
        self._most = counts[likely], weights[likely] / weights[likely].sum()
        # With a sparse kernel over many states, prior terms are computed for the states that occur.
        prior = torch.full_like(self.p0, torch.nan) if self.lazy_prior else self._prior_of(None)
        self.register_buffer("prior_nats", prior, persistent=False)

    def _prior_of(self, states: Tensor | None) -> Tensor:
        """The prior term of some states [n], or of all, in nats: [n]."""
        counts, weights = (part.to(self.p0.device) for part in self._most)
        if self.lazy_prior and states is not None:
            return weights @ smooth_divergences(self.kernel, self.p0, counts, states)
        return weights @ self.kernel.divergences(self.p0, counts)

    def prior_term(self, x0: Tensor, counted: Tensor | None = None) -> Tensor:
        if self.lazy_prior:
            states = torch.unique(x0 if counted is None else x0[counted])
            new = states[self.prior_nats[states].isnan()]
            if len(new):
                self.prior_nats[new] = self._prior_of(new)
        return self.prior_nats[x0]

    def noise(self, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> Noisy:
        mean = spread(self.rate * self.schedule.tau(t), x0).expand(x0.shape)
        s = torch.poisson(mean, generator=generator)
        return Noisy(self.kernel.draw(x0, s, generator), t, s.long())

    def amounts(self, noisy: Noisy) -> Tensor:
        return counts_of(noisy).double()

    def integrand(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        s = counts_of(noisy)
        return self._weighted(self.divergence(logits, x0, noisy.x_t, s, mask), noisy)

    def independent_integrand(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        s = counts_of(noisy)

        def law(rows: Tensor, before: Operator, past: Tensor) -> Tensor:
            prior = self.evidence.push_forward(past)
            return before.law(rows.softmax(-1)) if prior is None else prior.to(rows.dtype)

        return self._weighted(self._divergence(logits, x0, noisy.x_t, s, mask, law), noisy)

    def _weighted(self, kl: Tensor, noisy: Noisy) -> Tensor:
        """(beta / tau) s KL, and 0 where there is no noise."""
        s = counts_of(noisy)
        tau, beta = self.schedule.at(noisy.t.double())
        weight = spread(beta / tau.clamp_min(SMALLEST), s)  # at tau = 0 there is no event
        return (weight * s).to(kl.dtype) * kl

    def divergence(
        self,
        logits: Logits,
        x0: Tensor,
        x_t: Tensor,
        s: Tensor,
        mask: Tensor | None = None,
    ) -> Tensor:
        """KL(true || predicted) over the state before the last event, in nats, [batch, *dims].

        It is 0 where s = 0 or masked out.

        Args:
            logits: [batch, *dims, B].
            x0, x_t, s: clean states, noised states and event counts, [batch, *dims].
            mask: [batch, *dims], True at real positions.
        """

        def law(rows: Tensor, before: Operator, past: Tensor) -> Tensor:  # noqa: ARG001
            return before.law(rows.softmax(-1))

        return self._divergence(logits, x0, x_t, s, mask, law)

    def _divergence(
        self,
        logits: Logits,
        x0: Tensor,
        x_t: Tensor,
        s: Tensor,
        mask: Tensor | None,
        law: Callable[[Tensor, Operator, Tensor], Tensor],
    ) -> Tensor:
        """`divergence`, where `law` makes softmax(rows) K^(s - 1) of rows [n, B], by the operator of s - 1 [n]."""
        clean, seen = x0.reshape(-1), x_t.reshape(-1)
        counts = s.reshape(-1)
        past = (counts.double() - 1).clamp_min(0)
        dtype = torch.promote_types(logits.dtype, torch.float32)

        def first_event(rows: Tensor, index: numerics.Block) -> Tensor:
            """The state before was x0: -log of its predicted probability."""
            log_weight = self.kernel.event_log_columns(seen[index], dtype)
            predicted = numerics.weighted_logits(rows, log_weight)
            return F.cross_entropy(predicted, clean[index], reduction="none")

        def rowwise(rows: Tensor, index: numerics.Block) -> Tensor | numerics.Either:
            before = self.kernel.operator(past[index])
            rows = rows.to(dtype)
            if before.is_identity:
                return first_event(rows, index)
            true = before.rows(clean[index], dtype)
            weight = self.kernel.event_columns(seen[index], dtype)
            values = numerics.posterior_divergence(law(rows, before, past[index]), true, weight)
            if self.kernel.is_fixed(past):
                return numerics.Either(counts[index] != 1, values, first_event(rows, index))
            return values

        flat = logits.reshape(-1, self.num_states)
        idle = is_idle(s == 0, mask)
        return over_positions(self.kernel, rowwise, flat, past, idle).reshape(x0.shape)

    def draw_counts(
        self,
        noisy: Noisy,
        u: Time,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        s = counts_of(noisy)
        undone = torch.binomial(s.double(), self._undone_share(noisy, u)[0], generator=generator)
        return s - undone.long()

    def _undone_share(self, noisy: Noisy, u: Time) -> tuple[Tensor, Tensor]:
        """How likely an event came after u, and how likely it did not: [batch, *dims] both."""
        s = counts_of(noisy)
        then, now = self.schedule.tau(torch.stack([at_time(u, noisy.t), noisy.t]))
        ratio = then / now
        after, until = (1 - ratio).clamp(0, 1), ratio.clamp(0, 1)
        return spread(after, s).expand(s.shape), spread(until, s).expand(s.shape)

    def draw_states(
        self,
        noisy: Noisy,
        logits: Logits,
        u: Time,
        s: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> Noisy:
        assert s is not None, "SCUD has counts"
        past = s.reshape(-1).double()
        undone = (counts_of(noisy) - s).reshape(-1).double()
        predicted = logits.reshape(-1, self.num_states)
        x = self.draw_before(noisy.x_t.reshape(-1), predicted, past, undone, generator)
        return Noisy(x.reshape(s.shape), at_time(u, noisy.t), s)

    def step_divergence(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        u: Time,  # noqa: ARG002
        s: Tensor | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        assert s is not None, "SCUD has counts"
        past, recent = s.double(), (counts_of(noisy) - s).double()
        return self.divergence_before(logits, x0, noisy.x_t, past, recent, mask)

    def reverse_log_prob(self, noisy: Noisy, logits: Logits, u: Time, then: Noisy) -> Tensor:
        s, past = counts_of(noisy).double(), counts_of(then).double()
        after, until = self._undone_share(noisy, u)
        possible = (past >= 0) & (past <= s)
        past = past.clamp_min(0).minimum(s)
        undone = s - past
        ways = (s + 1).lgamma() - (undone + 1).lgamma() - (past + 1).lgamma()
        counts = ways + torch.xlogy(undone, after) + torch.xlogy(past, until)
        states = self.log_prob_before(
            noisy.x_t.reshape(-1),
            logits.reshape(-1, self.num_states),
            past.reshape(-1),
            undone.reshape(-1),
            then.x_t.reshape(-1),
        )
        total = counts + states.reshape(s.shape)
        return per_example(total.masked_fill(~possible, -torch.inf))

    def keep(self, noisy: Noisy, x0: Tensor, known: Tensor) -> Noisy:
        s = counts_of(noisy).masked_fill(known, 0)
        return Noisy(torch.where(known, x0, noisy.x_t), noisy.t, s)

    def information_schedule(self) -> Schedule:
        if isinstance(self.schedule, MutualInformation):
            return self.schedule
        return MutualInformation(self.process, self.p0, self.gamma)

    def spec(self) -> dict[str, Any]:
        return {"kind": "scud", "gamma": self.gamma, "t_max": self.t_max}


def counts_of(noisy: Noisy) -> Tensor:
    """The event counts [batch, *dims] of a batch noised by SCUD or masking."""
    assert noisy.s is not None, "a batch noised by SCUD or masking has counts"
    return noisy.s


@dataclass(frozen=True, kw_only=True)
class SCUDOptions(DiffusionOptions):
    """Told the number of events of noise at every position."""

    kind: Literal["scud"] = "scud"

    gamma: float = 1.0
    """1 conditions on the most schedule information; towards 0 it is classical."""

    def check(self) -> None:
        super().check()
        check_gamma(self.gamma)

    def build(self, data: DataView, process: ProcessOptions, schedule: ScheduleOptions) -> SCUD:
        """The model of data, with the noise of a process."""
        noise = process.build(data)
        p0 = data.p0()
        return SCUD(
            noise, schedule.build(noise, p0, self.gamma), self.gamma, p0=p0, t_max=self.t_max
        )

"""What SCUD and the classical model share: a kernel, and the posterior of an earlier state.

The kernel M(a) is what a units of noise do: events for SCUD, effective time for classical
diffusion. With y the state before the last b of them:

    true:      p(y | x_t, a, x0)      ∝ M(b)[y, x_t] M(a - b)[x0, y]
    predicted: q(y | x_t, a; logits)  ∝ M(b)[y, x_t] (p M(a - b))[y],    p = softmax(logits)

The first is the second with p one-hot at x0.

Beside the bound, training may minimise the cross-entropy of x0 itself, all noise of a position
undone at once: with the predicted posterior ∝ p_b M(a)[b, x_t], its minimum is the same ideal
denoiser. Its weight is w(t) = v'(t) / v(t), v the share of information that noise has destroyed by
t: 1 / t on the mutual-information schedule. Where one event forgets everything this *is* the
bound's diffusion term (masking's). Where one event forgets nearly everything, as amino acids do,
the bound learns from positions with exactly one event almost alone, this from all that have noise:
its gradient has far less variance.
"""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from scud import numerics
from scud.diffusion.base import Diffusion
from scud.diffusion.batches import spread
from scud.errors import fail
from scud.numerics.logits import Logits
from scud.processes import Process
from scud.processes.kernels.base import LARGE, EvidenceSource, Kernel
from scud.schedules import MutualInformation, Schedule
from scud.typing import Conditioning, Given, Noisy

SMALLEST = 1e-30
"""What is taken for 0 before a logarithm."""

EARLIEST = 1e-12
"""The time at which known positions are weighted: without noise any finite weight will do."""


class KernelDiffusion(Diffusion):
    """A diffusion model on a kernel; subclasses say what an amount of noise is."""

    kernel: Kernel
    evidence: EvidenceSource

    @abstractmethod
    def amounts(self, noisy: Noisy) -> Tensor:
        """How much noise each position has had, [batch, *dims] float64."""

    def is_fixed(self, like: Tensor) -> bool:
        return self.kernel.is_fixed(like)

    @abstractmethod
    def information_schedule(self) -> Schedule:
        """The schedule on which this model's information falls linearly."""

    def condition(self, noisy: Noisy, given: Given = Given()) -> Conditioning:
        evidence = self.evidence.at(noisy.x_t, self.amounts(noisy))
        return Conditioning(noisy.t.float(), noisy.s, given.mask, given.label, evidence)

    def reconstruction(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        clean, seen, amounts = (
            x0.reshape(-1),
            noisy.x_t.reshape(-1),
            self.amounts(noisy).reshape(-1),
        )
        dtype = torch.promote_types(logits.dtype, torch.float32)
        columns_at = self.kernel.columns_at(amounts, seen, dtype)

        def rowwise(rows: Tensor, index: Tensor) -> Tensor:
            columns = columns_at(index).clamp_min_(SMALLEST).log_().to(dtype)
            return F.cross_entropy(columns.add_(rows), clean[index], reduction="none")

        idle = is_idle(amounts.reshape(x0.shape) == 0, mask)
        flat = logits.reshape(-1, self.num_states)
        values = over_positions(self.kernel, rowwise, flat, amounts, idle).reshape(x0.shape)
        t = noisy.t.double().clamp_min(EARLIEST)
        even = self._even_in_information()
        tau, beta = self.schedule.at(t)
        lost = even.inverse(tau)
        weight = beta / (even.beta(lost) * lost)
        return spread(weight, values).to(values.dtype) * values

    def informative_time(self, share: Tensor) -> Tensor:
        even = self._even_in_information()
        most = even.inverse(self.schedule.tau(torch.full_like(share[:1], self.t_max)))
        return self.schedule.inverse(even.tau(most * share))

    def _even_in_information(self) -> Schedule:
        if not hasattr(self, "_information"):
            self._information = self.information_schedule().to(self.p0.device)
        return self._information

    def draw_before(
        self,
        x_t: Tensor,
        logits: Logits,
        past: Tensor,
        recent: Tensor,
        generator: torch.Generator | None,
        rate: float | None = None,
    ) -> Tensor:
        """Draw y, the state before the last `recent` units of noise, where `past` units remain.

        First x0 ∝ p_b M(past + recent)[b, x_t], then y ∝ M(past)[x0, y] M(recent)[y, x_t]: the law
        of y is the predicted one, and no product of a prediction with a matrix is taken. As in the
        loss, the kernel's `rounding` and `floor` are mixed in where past > 0, so that a prediction
        that contradicts x_t is a law too.

        With `rate`, events come at that rate in time. There was none, and y is x_t, with probability

            exp(-rate recent) M(past)[x0, x_t] / M(past + recent)[x0, x_t].

        Args:
            x_t: states now, [N].
            logits: predictions of x0, [N, B].
            past, recent: amounts of noise, [N] float64.
            generator: source of all noise.
            rate: of events in time; None where `recent` counts events.

        Returns:
            States [N] int64; x_t where nothing is recent.
        """
        if self.kernel.is_fixed(recent):
            return self._draw_before_everywhere(x_t, logits, past, recent, generator, rate)
        states = x_t.clone()
        rows = (recent > 0).nonzero().squeeze(-1)
        if not rows.numel():
            return states
        clean = self._draw_clean(x_t, logits, past, recent, rows, generator)
        if rate is not None:
            now = self.kernel.entries(clean, x_t[rows], (past + recent)[rows])
            unmoved = self.kernel.entries(clean, x_t[rows], past[rows])
            share = (-rate * recent[rows]).exp() * unmoved / now
            moved = numerics.draw_uniform(share, generator) >= share
            rows, clean = rows[moved], clean[moved]
        for block in self.kernel.blocks(recent[rows]) if rows.numel() else []:
            index = rows[block]
            before = self.kernel.operator(past[index]).rows(clean[block])
            weights = self.kernel.operator(recent[index]).columns(x_t[index])
            if rate is not None:  # these have had an event
                none = (-rate * recent[index]).exp().unsqueeze(-1)
                weights = weights.scatter_add_(-1, x_t[index].unsqueeze(-1), -none).clamp_min_(0)
            states[index] = numerics.draw_categorical(weights * before, generator)
        return states

    def _draw_before_everywhere(
        self,
        x_t: Tensor,
        logits: Logits,
        past: Tensor,
        recent: Tensor,
        generator: torch.Generator | None,
        rate: float | None,
    ) -> Tensor:
        """`draw_before` at all positions in the same way, and then only where something is recent."""
        drawn = []
        for part in self.kernel.stretches(len(x_t)):
            here, until, since = x_t[part], past[part], recent[part]
            first = until == 0  # what is undone is all there was
            clean, now = self._draw_clean_of(here, logits[part], first, until + since, generator)
            before = self.kernel.operator(until).rows(clean)
            weights = self.kernel.operator(since).columns(here)
            undone = since > 0
            if rate is not None:
                state = here.unsqueeze(-1)
                none = (-rate * since).exp()
                share = none * before.gather(-1, state).squeeze(-1) / now
                undone = undone & (numerics.draw_uniform(share, generator) >= share)
                weights = weights.scatter_add(-1, state, -none.unsqueeze(-1)).relu()
            state = numerics.draw_categorical(weights * before, generator)
            state = torch.where(first, clean, state)
            drawn.append(torch.where(undone, state, here))
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn)

    def _draw_clean_of(
        self,
        x_t: Tensor,
        logits: Tensor,
        first: Tensor,
        amounts: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Draw x0 of `draw_before` at some positions [n], of these amounts in all; and M(amounts)[x0, x_t]: both [n].

        `first` [n] is True where all noise is undone.
        """
        predicted = logits.to(torch.promote_types(logits.dtype, torch.float32))
        columns = self.kernel.operator(amounts).columns(x_t, predicted.dtype)
        rounding = self.kernel.rounding[logits.dtype == torch.float64]
        p = torch.add(predicted.softmax(-1), self.kernel.floor_in(predicted), alpha=rounding)
        exact = numerics.weighted_logits(predicted, numerics.log_probability(columns)).softmax(-1)
        weights = torch.where(first.unsqueeze(-1), exact, p * columns)
        clean = numerics.draw_categorical(weights, generator)
        return clean, columns.gather(-1, clean.unsqueeze(-1)).squeeze(-1)

    def _draw_clean(
        self,
        x_t: Tensor,
        logits: Logits,
        past: Tensor,
        recent: Tensor,
        rows: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Draw x0 of `draw_before`, for some rows [n] of its arguments: -> [n]."""
        clean, amounts = torch.empty_like(rows), (past + recent)[rows]
        wide = logits.dtype == torch.float64
        for block in self.kernel.blocks(amounts):
            index = rows[block]
            predicted = logits[index].to(torch.promote_types(logits.dtype, torch.float32))
            columns = self.kernel.operator(amounts[block]).columns(x_t[index], predicted.dtype)
            floor = self.kernel.floor_in(predicted)
            weights = (predicted.softmax(-1) + self.kernel.rounding[wide] * floor) * columns
            last = (past[index] == 0).nonzero().squeeze(-1)
            log_columns = numerics.log_probability(columns[last])
            exact = numerics.weighted_logits(predicted[last], log_columns)
            weights[last] = exact.softmax(-1)
            clean[block] = numerics.draw_categorical(weights, generator)
        return clean

    def divergence_before(
        self,
        logits: Logits,
        x0: Tensor,
        x_t: Tensor,
        past: Tensor,
        recent: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """KL(true || predicted) over the state before the last `recent` units of noise, where `past` units remain.

        The predicted law is that which `draw_before` draws from.

        Args:
            logits: [batch, *dims, B].
            x0, x_t: clean and noised states, [batch, *dims].
            past, recent: amounts of noise, [batch, *dims] float64.
            mask: [batch, *dims] bool, True at positions that count; all do when None.

        Returns:
            Nats [batch, *dims]; 0 where nothing is recent, or `mask` is False.
        """
        clean, seen = x0.reshape(-1), x_t.reshape(-1)
        until, since = past.reshape(-1), recent.reshape(-1)
        dtype = torch.promote_types(logits.dtype, torch.float32)

        def rowwise(rows: Tensor, index: numerics.Block) -> Tensor | numerics.Either:
            rows = rows.to(dtype)
            columns = self.kernel.operator(since[index]).columns(seen[index])
            weighted = numerics.weighted_logits(rows, numerics.log_probability(columns).to(dtype))
            # What is undone is all there was: y is x0.
            first = F.cross_entropy(weighted, clean[index], reduction="none")
            before = self.kernel.operator(until[index])
            if before.is_identity:
                return first
            true, predicted = before.rows(clean[index], dtype), before.law(rows.softmax(-1))
            values = numerics.posterior_divergence(predicted, true, columns.to(dtype))
            return numerics.Either(until[index] > 0, values, first)

        idle = is_idle(recent == 0, mask)
        flat = logits.reshape(-1, self.num_states)
        return over_positions(self.kernel, rowwise, flat, until, idle).reshape(x0.shape)

    def log_prob_before(
        self,
        x_t: Tensor,
        logits: Logits,
        past: Tensor,
        recent: Tensor,
        before: Tensor,
    ) -> Tensor:
        """The log-probability with which `draw_before` draws `before` [N]: nats, [N] float64.

        Summed over x0, the law of y is, up to normalisation by Σ_b p_b M(past + recent)[b, x_t],

            M(recent)[y, x_t] (p M(past))[y],

        with p the prediction, the kernel's `rounding` mixed in where past > 0. It does not depend
        on whether events come at a rate in time: that only splits the draw.
        """
        states, logs = [], []
        rows = (recent > 0).nonzero().squeeze(-1)
        for block in self.kernel.blocks((past + recent)[rows]) if rows.numel() else []:
            index = rows[block]
            parts = (x_t[index], logits[index], past[index], recent[index], before[index])
            states.append(index)
            logs.append(self._log_prob_of_block(*parts))
        same = torch.zeros_like(recent).masked_fill_(before != x_t, -torch.inf)
        return same.index_copy(0, torch.cat(states), torch.cat(logs)) if states else same

    def _log_prob_of_block(
        self,
        x_t: Tensor,
        logits: Tensor,
        past: Tensor,
        recent: Tensor,
        before: Tensor,
    ) -> Tensor:
        """`log_prob_before` for a block of rows [n] with recent > 0: -> [n] float64."""
        predicted = logits.to(torch.promote_types(logits.dtype, torch.float32))
        columns = self.kernel.operator(past + recent).columns(x_t)
        floor = self.kernel.floor_in(predicted)
        rounding = self.kernel.rounding[predicted.dtype == torch.float64]
        p = predicted.softmax(-1).double() + rounding * floor.double()
        arrives = (p * self.kernel.operator(past).columns(before)).sum(-1)
        mixed = arrives.log() - (p * columns).sum(-1).log()
        mixed = mixed + self.kernel.operator(recent).entries(before, x_t).log()
        # With nothing left to undo y is x0, whose law is exact however sharp the logits are.
        log_columns = numerics.log_probability(columns).to(predicted)
        weighted = numerics.weighted_logits(predicted, log_columns)
        exact = weighted.log_softmax(-1).gather(-1, before.unsqueeze(-1)).squeeze(-1)
        # `weighted_logits` stands in for logits of -inf by very low ones.
        ruled_out = exact < torch.finfo(exact.dtype).min / 8
        exact = exact.masked_fill(ruled_out, -torch.inf).double()
        return torch.where(past == 0, exact, mixed)


def over_positions(
    kernel: Kernel, rowwise: numerics.Rowwise, logits: Logits, amounts: Tensor, idle: Tensor
) -> Tensor:
    """The values of a row-wise function at the positions that count, 0 elsewhere: [N].

    Args:
        kernel: says which rows go together.
        rowwise: of rows of logits and which they are; its gradient is finite at every row where shapes are fixed.
        logits: [N, B].
        amounts: of noise, [N].
        idle: which positions do not count, [N]; values there may be infinite, where x0 cannot have become x_t.
    """
    if kernel.is_fixed(amounts):
        values = numerics.stretchwise(rowwise, logits, kernel.stretches(len(amounts)))
        return values.masked_fill(idle, 0)
    return numerics.blockwise(rowwise, logits, active_blocks(kernel, amounts, ~idle))


def active_blocks(kernel: Kernel, amounts: Tensor, active: Tensor) -> list[Tensor]:
    """Blocks of like amounts [N] among rows where active [N] is True: indices into all rows."""
    rows = active.nonzero().squeeze(-1)
    return [rows[block] for block in kernel.blocks(amounts[rows])] if rows.numel() else []


def is_idle(clean: Tensor, mask: Tensor | None) -> Tensor:
    """Which positions do not count, flattened: without noise [batch, *dims], or not real."""
    return (clean if mask is None else clean | ~mask).reshape(-1)


def check_schedule(schedule: Schedule, process: Process, p0: Tensor, gamma: float) -> None:
    """Raise `UserError` if a mutual-information schedule is for another process, p0 [B] or gamma.

    gamma is 0 for the classical model.
    """
    if not isinstance(schedule, MutualInformation):
        return
    if schedule.gamma != gamma:
        remedy = "give schedule and model the same gamma; 0 is the classical model's"
        raise fail("gamma", f"be the schedule's gamma {schedule.gamma:g}", f"{gamma:g}", remedy)
    if schedule.process is not process and not same_process(schedule.process, process):
        raise fail(
            "process",
            "be the schedule's own process",
            "another one",
            "build the schedule from this process",
        )
    if not torch.allclose(schedule.p0, p0, rtol=1e-6):
        raise fail(
            "p0",
            "be the schedule's own p0",
            "another one",
            "build both from the same training marginal",
        )


def same_process(one: Process, other: Process) -> bool:
    """Whether two processes are made of the same: of few states, have the same rates."""
    if max(one.num_states, other.num_states) <= LARGE:
        return torch.equal(one.generator(), other.generator())
    ours, theirs = one.spec(), other.spec()
    return ours.keys() == theirs.keys() and all(
        torch.equal(value, theirs[name]) if isinstance(value, Tensor) else value == theirs[name]
        for name, value in ours.items()
    )

"""Masking diffusion: SCUD where one event forgets everything, with counts beyond one summed out.

A position is masked by time t with probability 1 - alpha, alpha = exp(-tau(t)); the bound's
integrand is

    h_d(t) = -alpha' / (1 - alpha) CE(x0_d, logits_d) where masked, -alpha' = beta alpha,

the weighted cross-entropy of Shi et al. (arXiv 2406.04329) and Sahoo et al. (arXiv 2406.07524). The
prior of a masked position carries no information; that of a position never masked by t_max is p0,
at a cost of -alpha(t_max) log p0[x0_d].
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from scud import numerics
from scud.diffusion.base import Diffusion
from scud.diffusion.batches import at_time, spread
from scud.diffusion.evidence import MaskEvidence
from scud.diffusion.kernel_diffusion import is_idle
from scud.diffusion.objectives import per_example
from scud.diffusion.options import T_MAX, DiffusionOptions
from scud.diffusion.scud import counts_of
from scud.errors import fail
from scud.numerics.logits import Logits
from scud.processes.base import check_num_states
from scud.processes.kernels.base import block_rows, stretches
from scud.schedules import Linear, MutualInformation, Schedule, ScheduleOptions
from scud.typing import Conditioning, DataView, Given, Noisy, Time


class Masking(Diffusion):
    """Masking (absorbing-state) diffusion.

    In `Noisy` and `Conditioning`, s = 1 and x_t = B where a position is masked.

    Args:
        num_states: B.
        schedule: tau(t), alpha = exp(-tau) the share not yet masked. Linear by default: masked with
            probability t.
        p0: training marginal [B], positive, summing to 1.
        t_max: the largest time, in (0, 1).

    Raises:
        UserError: fewer than two states; a mutual-information schedule (masking's own is the linear
            one).
    """

    forgets_at_once = True

    def __init__(
        self,
        num_states: int,
        schedule: Schedule | None = None,
        *,
        p0: Tensor,
        t_max: float = T_MAX,
    ) -> None:
        check_num_states(num_states)
        if isinstance(schedule, MutualInformation):
            remedy = "use Linear(): on it, masking's information falls linearly"
            raise fail("schedule", "not depend on another process", "MutualInformation", remedy)
        super().__init__(num_states, schedule or Linear(), p0, t_max)
        alpha = (-self.schedule.tau(torch.tensor(t_max, dtype=torch.float64))).exp()
        self.register_buffer("prior_nats", -alpha * self.p0.log(), persistent=False)

    def noise(self, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> Noisy:
        share = -(-self.schedule.tau(t)).expm1()
        masked = numerics.draw_uniform(x0, generator) < spread(share, x0)
        return Noisy(x0.masked_fill(masked, self.num_states), t, masked.long())

    def condition(self, noisy: Noisy, given: Given = Given()) -> Conditioning:
        evidence = MaskEvidence(self.p0, noisy.x_t)
        return Conditioning(noisy.t.float(), noisy.s, given.mask, given.label, evidence)

    def integrand(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        values = self._surprise(logits, x0, noisy, mask)
        t = noisy.t.double()
        tau, beta = self.schedule.at(t)
        weight = beta / tau.expm1()
        return spread(weight, values).to(values.dtype) * values

    def step_divergence(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        u: Time,
        s: Tensor | None,  # noqa: ARG002
        mask: Tensor | None = None,
    ) -> Tensor:
        """As for every model, averaged over which positions are masked at u."""
        values = self._surprise(logits, x0, noisy, mask)
        return self._unmasked_share(noisy, u).to(values.dtype) * values

    def _surprise(self, logits: Logits, x0: Tensor, noisy: Noisy, mask: Tensor | None) -> Tensor:
        """The cross-entropy of x0 where it is masked, 0 elsewhere: nats, [batch, *dims]."""
        idle = is_idle(counts_of(noisy) == 0, mask)
        clean = x0.reshape(-1)

        def rowwise(chosen: Tensor, index: numerics.Block) -> Tensor:
            wide = torch.promote_types(chosen.dtype, torch.float32)
            return F.cross_entropy(chosen.to(wide), clean[index], reduction="none")

        flat, size = logits.reshape(-1, self.num_states), block_rows(self.num_states, idle)
        if numerics.is_fixed(idle):
            values = numerics.stretchwise(rowwise, flat, stretches(len(idle), size))
            values = values.masked_fill(idle, 0)
        else:
            blocks = torch.split((~idle).nonzero().squeeze(-1), size)
            values = numerics.blockwise(rowwise, flat, blocks)
        return values.reshape(x0.shape)

    def reconstruction(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        return self.integrand(logits, x0, noisy, mask)

    def draw_counts(
        self,
        noisy: Noisy,
        u: Time,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        s = counts_of(noisy)
        unmasked = (s > 0) & (numerics.draw_uniform(s, generator) < self._unmasked_share(noisy, u))
        return s.masked_fill(unmasked, 0)

    def _unmasked_share(self, noisy: Noisy, u: Time) -> Tensor:
        """(alpha(u) - alpha(t)) / (1 - alpha(t)): how likely what is masked now was not at u."""
        end = torch.stack([at_time(u, noisy.t), noisy.t])
        then, now = (-self.schedule.tau(end)).expm1()
        share = 1 - then / now
        return spread(share, noisy.x_t)

    def draw_states(
        self,
        noisy: Noisy,
        logits: Logits,
        u: Time,
        s: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> Noisy:
        assert s is not None, "masking has counts"
        unmasked = s < counts_of(noisy)
        if numerics.is_fixed(s):
            drawn = self._draw_everywhere(logits.reshape(-1, self.num_states), generator)
            x = torch.where(unmasked, drawn.reshape(s.shape), noisy.x_t)
            return Noisy(x, at_time(u, noisy.t), s)
        p = logits[unmasked].to(torch.promote_types(logits.dtype, torch.float32)).softmax(-1)
        x = noisy.x_t.masked_scatter(unmasked, numerics.draw_categorical(p, generator))
        return Noisy(x, at_time(u, noisy.t), s)

    def _draw_everywhere(self, logits: Logits, generator: torch.Generator | None) -> Tensor:
        """A state from the prediction at each position [N]."""
        drawn = []
        for part in stretches(len(logits), block_rows(self.num_states, self.p0)):
            rows = logits[part]
            p = rows.to(torch.promote_types(rows.dtype, torch.float32)).softmax(-1)
            drawn.append(numerics.draw_categorical(p, generator))
        return drawn[0] if len(drawn) == 1 else torch.cat(drawn)

    def reverse_log_prob(self, noisy: Noisy, logits: Logits, u: Time, then: Noisy) -> Tensor:
        s, after = counts_of(noisy), counts_of(then)
        unmasked, masked = after < s, (after == s) & (s > 0)
        share = self._unmasked_share(noisy, u).expand(s.shape)
        same = torch.zeros_like(share).masked_fill(then.x_t != noisy.x_t, -torch.inf)
        total = same + (-share).log1p().masked_fill(~masked, 0)
        rows = logits[unmasked]
        log_p = rows.to(torch.promote_types(rows.dtype, torch.float32)).log_softmax(-1).double()
        states = then.x_t[unmasked]
        log_p = log_p.gather(-1, states.clamp_max(self.num_states - 1).unsqueeze(-1)).squeeze(-1)
        log_p = log_p.masked_fill(states == self.num_states, -torch.inf)
        total = total.masked_scatter(unmasked, log_p + share[unmasked].log())
        return per_example(total.masked_fill((after < 0) | (after > s), -torch.inf))

    def keep(self, noisy: Noisy, x0: Tensor, known: Tensor) -> Noisy:
        s = counts_of(noisy).masked_fill(known, 0)
        return Noisy(torch.where(known, x0, noisy.x_t), noisy.t, s)

    def informative_time(self, share: Tensor) -> Tensor:
        masked = -(-self.schedule.tau(torch.full_like(share[:1], self.t_max))).expm1() * share
        return self.schedule.inverse(-(-masked).log1p())

    def spec(self) -> dict[str, Any]:
        return {"kind": "masking", "t_max": self.t_max}


@dataclass(frozen=True, kw_only=True)
class MaskingOptions(DiffusionOptions):
    """Told what is masked; masking is its noise."""

    kind: Literal["masking"] = "masking"

    takes_process: ClassVar[bool] = False

    def build(self, data: DataView, process: None, schedule: ScheduleOptions) -> Masking:  # noqa: ARG002
        """The model of data, which needs no process."""
        p0 = data.p0()
        return Masking(data.num_states, schedule.build(None, p0, 0.0), p0=p0, t_max=self.t_max)

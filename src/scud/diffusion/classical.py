"""Classical discrete diffusion in continuous time (Campbell et al. 2022, arXiv 2205.14987).

x_t | x0 ~ P[x0, :], P = exp(tau Q); the model is told the time alone. With p = softmax(logits), the
reverse rate from x_t to y ≠ x_t is R(y) = Q[y, x_t] (p P)[y] / (p P)[x_t] per unit of tau, the true
one has p one-hot at x0, and the bound's integrand is

    h_d(t) = beta Σ_{y ≠ x_t} [ R_θ(y) - R(y) + R(y) log(R(y) / R_θ(y)) ].

The prior term is KL( P(t_max)[x0_d, :] || p0 P(t_max) ).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from scud import numerics
from scud.diffusion.batches import spread
from scud.diffusion.kernel_diffusion import (
    KernelDiffusion,
    check_schedule,
    is_idle,
    over_positions,
)
from scud.diffusion.objectives import per_example
from scud.diffusion.options import T_MAX, DiffusionOptions
from scud.numerics.logits import Logits
from scud.processes import Process, ProcessOptions
from scud.processes.kernels.base import check_small
from scud.schedules import MutualInformation, Schedule, ScheduleOptions
from scud.typing import DataView, Noisy, Time


class Classical(KernelDiffusion):
    """Classical diffusion with any process.

    Args:
        process: the noise.
        schedule: tau(t); the mutual-information schedule of process and p0 by default. A
            `MutualInformation` schedule must have gamma = 0 and the same process and p0.
        p0: training marginal [B], positive, summing to 1.
        t_max: the largest time, in (0, 1).

    Raises:
        UserError: a schedule that is conditioned on events (gamma > 0), or has another p0.
    """

    jump_rates: Tensor

    def __init__(
        self,
        process: Process,
        schedule: Schedule | None = None,
        *,
        p0: Tensor,
        t_max: float = T_MAX,
    ) -> None:
        check_small(process.num_states, "classical diffusion")
        schedule = MutualInformation(process, p0, 0.0) if schedule is None else schedule
        super().__init__(process.num_states, schedule, p0, t_max)
        check_schedule(schedule, process, self.p0, 0.0)
        self.process, self.rate = process, process.max_rate
        self.kernel = process.time()
        generator = process.generator()
        into = (generator - generator.diagonal().diag()).T.contiguous()
        self.register_buffer("jump_rates", into, persistent=False)
        most = schedule.tau(torch.tensor([t_max], dtype=torch.float64))
        start = 1e-3 / process.max_rate
        self.evidence = self.kernel.evidence(self.p0, start, float(most) + start, counts=False)
        prior = self.kernel.divergences(self.p0, most)[0]
        self.register_buffer("prior_nats", prior, persistent=False)

    def noise(self, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> Noisy:
        tau = spread(self.schedule.tau(t), x0).expand(x0.shape)
        return Noisy(self.kernel.draw(x0, tau, generator), t)

    def amounts(self, noisy: Noisy) -> Tensor:
        return spread(self.schedule.tau(noisy.t), noisy.x_t).expand(noisy.x_t.shape)

    def integrand(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        clean, seen, tau = x0.reshape(-1), noisy.x_t.reshape(-1), self.amounts(noisy).reshape(-1)
        rates = self.jump_rates.to(torch.promote_types(logits.dtype, torch.float32))

        def rowwise(rows: Tensor, index: Tensor) -> Tensor:
            past, here = self.kernel.operator(tau[index]), seen[index]
            true, predicted = (
                past.rows(clean[index], rates.dtype),
                past.law(rows.to(rates.dtype).softmax(-1)),
            )
            return numerics.posterior_divergence(predicted, true, rates[here], here)

        idle = is_idle(tau.reshape(x0.shape) == 0, mask)
        flat = logits.reshape(-1, self.num_states)
        values = over_positions(self.kernel, rowwise, flat, tau, idle).reshape(x0.shape)
        return spread(self.schedule.beta(noisy.t.double()), values).to(values.dtype) * values

    def draw_counts(
        self,
        noisy: Noisy,  # noqa: ARG002
        u: Time,  # noqa: ARG002
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> None:
        return None

    def _past_and_recent(self, noisy: Noisy, u: Time) -> tuple[Tensor, Tensor, Tensor]:
        """The time u where it is earlier than now; effective time until then and since it, [N]."""
        end = noisy.t.clamp_max(u)
        both = self.schedule.tau(torch.stack([noisy.t, end]))
        now, past = (spread(tau, noisy.x_t).expand(noisy.x_t.shape).reshape(-1) for tau in both)
        return end, past, now - past

    def draw_states(
        self,
        noisy: Noisy,
        logits: Logits,
        u: Time,
        s: Tensor | None,  # noqa: ARG002
        generator: torch.Generator | None = None,
    ) -> Noisy:
        end, past, recent = self._past_and_recent(noisy, u)
        predicted = logits.reshape(-1, self.num_states)
        x = self.draw_before(noisy.x_t.reshape(-1), predicted, past, recent, generator, self.rate)
        return Noisy(x.reshape(noisy.x_t.shape), end)

    def step_divergence(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        u: Time,
        s: Tensor | None,  # noqa: ARG002
        mask: Tensor | None = None,
    ) -> Tensor:
        _, past, recent = self._past_and_recent(noisy, u)
        past, recent = past.reshape(x0.shape), recent.reshape(x0.shape)
        return self.divergence_before(logits, x0, noisy.x_t, past, recent, mask)

    def reverse_log_prob(self, noisy: Noisy, logits: Logits, u: Time, then: Noisy) -> Tensor:
        _, past, recent = self._past_and_recent(noisy, u)
        predicted = logits.reshape(-1, self.num_states)
        before = then.x_t.reshape(-1)
        logs = self.log_prob_before(noisy.x_t.reshape(-1), predicted, past, recent, before)
        return per_example(logs.reshape(noisy.x_t.shape))

    def keep(self, noisy: Noisy, x0: Tensor, known: Tensor) -> Noisy:
        t = spread(noisy.t, known).expand(known.shape).masked_fill(known, 0.0)
        return Noisy(torch.where(known, x0, noisy.x_t), t)

    def information_schedule(self) -> Schedule:
        if isinstance(self.schedule, MutualInformation):
            return self.schedule
        return MutualInformation(self.process, self.p0, 0.0)

    def spec(self) -> dict[str, Any]:
        return {"kind": "classical", "t_max": self.t_max}


@dataclass(frozen=True, kw_only=True)
class ClassicalOptions(DiffusionOptions):
    """Told the time alone."""

    kind: Literal["classical"] = "classical"

    def build(
        self, data: DataView, process: ProcessOptions, schedule: ScheduleOptions
    ) -> Classical:
        """The model of data, with the noise of a process."""
        noise = process.build(data)
        p0 = data.p0()
        return Classical(noise, schedule.build(noise, p0, 0.0), p0=p0, t_max=self.t_max)

"""What every diffusion model of categorical data offers: noising, a bound, a loss, sampling.

The bound, in nats per example, on data x0 of any dimensions:

    -log p(x0) <= E_{t ~ U(0, t_max)} t_max Σ_d h_d(t)      [diffusion term]
                  + Σ_d prior(x0_d)                         [prior term, exact]

`integrand` computes h_d for one draw of the noised state; a model says what it is. Nothing is left
out: t runs from 0, where the noised state is x0 itself, and the prior term holds the information
that remains at t_max. With the ideal denoiser the bound is H(x0) plus only what a factorised prior
cannot know at t_max.

Sampling goes back in time: a step from t to u draws the counts of events at u, where a model has
counts (`draw_counts`), then the states (`draw_states`), every position from the one prediction of
x0. `reverse_log_prob` is the logarithm of the law that such a step draws from.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from scud.diffusion.batches import Noised, check_batch
from scud.diffusion.estimates import Elbo, Losses
from scud.diffusion.objectives import Bound, Draw, Objective, per_example
from scud.diffusion.options import check_t_max
from scud.diffusion.steps import over_steps
from scud.diffusion.times import draw_times
from scud.errors import check_distribution, check_states, fail
from scud.numerics import draw_from, draw_uniform, is_fixed, stratified_uniform
from scud.numerics.logits import Logits
from scud.numerics.transfer import sent
from scud.processes.kernels.base import LARGE
from scud.samplers import Ancestral, Sampler
from scud.samplers.base import check_grid
from scud.schedules import Schedule
from scud.typing import Batch, Conditioning, Denoiser, Given, Noisy, Time

WATCHED = 1 / 64
"""With more than LARGE states, and where the objective does not need the bound's diffusion term,
the term is only monitored: on this share of the positions."""


class Diffusion(nn.Module, ABC):
    """A diffusion model without its network.

    Args:
        num_states: B.
        schedule: tau(t).
        p0: training marginal [B], positive, summing to 1.
        t_max: the largest time, in (0, 1).

    Raises:
        UserError: p0 is no distribution over the states, or t_max lies outside (0, 1).
    """

    p0: Tensor
    prior_nats: Tensor
    forgets_at_once = False
    """Whether one event forgets everything, so that `reconstruction` is `integrand`."""

    def __init__(self, num_states: int, schedule: Schedule, p0: Tensor, t_max: float) -> None:
        super().__init__()
        check_distribution("p0", p0, num_states)
        check_t_max(t_max)
        self.num_states, self.schedule, self.t_max = num_states, schedule, t_max
        self.tau_max = float(schedule.tau(torch.tensor(t_max, dtype=torch.float64)))
        p0 = p0.detach().double().cpu()
        self.register_buffer("p0", p0 / p0.sum(), persistent=False)

    @abstractmethod
    def noise(self, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> Noisy:
        """`corrupt` without its checks: x0 int64, t float64."""

    @abstractmethod
    def condition(self, noisy: Noisy, given: Given = Given()) -> Conditioning:
        """What a denoiser is told about a noised batch, of which some is given."""

    @abstractmethod
    def integrand(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        """h_d(t): nats per position and unit of t, differentiable in the logits.

        Args:
            logits: [batch, *dims, B].
            x0: clean states [batch, *dims].
            noisy: the noised batch.
            mask: [batch, *dims] bool, True at positions that count; all do when None.

        Returns:
            [batch, *dims], 0 where `mask` is False.
        """

    def independent_integrand(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        """`integrand` for the logits log p0 everywhere, to which a model may have a shorter way."""
        return self.integrand(logits, x0, noisy, mask)

    @abstractmethod
    def reconstruction(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        """w(t) times the cross-entropy of x0 given x_t, where there is noise: nats, as `integrand`.

        The predicted law of x0 at a position is ∝ softmax(logits) times what x_t says there.
        """

    @abstractmethod
    def draw_counts(
        self,
        noisy: Noisy,
        u: Time,
        generator: torch.Generator | None = None,
    ) -> Tensor | None:
        """Draw the event counts at an earlier time u given those now: [batch, *dims] int64.

        They depend on no state. None for a model that has no counts.
        """

    @abstractmethod
    def draw_states(
        self,
        noisy: Noisy,
        logits: Logits,
        u: Time,
        s: Tensor | None,
        generator: torch.Generator | None = None,
    ) -> Noisy:
        """Draw the states at an earlier time u given the counts s then, from `draw_counts`."""

    @abstractmethod
    def step_divergence(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        u: Time,
        s: Tensor | None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """KL( q(y | x_t, x0, counts) || predicted law of y ), y the state at an earlier time u.

        Args:
            logits: [batch, *dims, B].
            x0: clean states [batch, *dims].
            noisy: the noised batch.
            u: the earlier time, or those of the examples.
            s: the counts at u, from `draw_counts`.
            mask: [batch, *dims] bool, True at positions that count; all do when None.

        Returns:
            Nats per position [batch, *dims], 0 where `mask` is False.
        """

    @abstractmethod
    def reverse_log_prob(self, noisy: Noisy, logits: Logits, u: Time, then: Noisy) -> Tensor:
        """The log-probability with which `reverse` draws `then`: nats, [batch] float64.

        It is the sum over all positions, counts and states, and differentiable in the logits; -inf
        where a step cannot lead to `then`. Padding should be known, as samplers have it: then it
        adds 0.

        Args:
            noisy: the batch now.
            logits: the prediction of x0 made for it, [batch, *dims, B].
            u: the earlier time.
            then: states and counts at u.
        """

    @abstractmethod
    def keep(self, noisy: Noisy, x0: Tensor, known: Tensor) -> Noisy:
        """Set positions where `known` [batch, *dims] is True to states x0: no step changes them."""

    @abstractmethod
    def informative_time(self, share: Tensor) -> Tensor:
        """When noise has destroyed a share of the information that it destroys by t_max.

        Args:
            share: [n] in (0, 1).

        Returns:
            Times t [n].
        """

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """The registered `kind` and scalar arguments.

        With process, schedule and p0 they are enough to build the model again.
        """

    def is_fixed(self, like: Tensor) -> bool:
        """Whether losses on the device of `like` have fixed shapes (see `numerics.devices`)."""
        return is_fixed(like)

    def prior_term(self, x0: Tensor, counted: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The bound's prior term at the positions that count: nats, [batch, *dims] float64."""
        return self.prior_nats[x0]

    def corrupt(self, x0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Noisy:
        """Draw the noised state of clean states at given times.

        Args:
            x0: integers below B, [batch, *dims].
            t: times in [0, 1), [batch].
            generator: source of all noise.

        Raises:
            UserError: a state outside 0..B-1, or a time outside [0, 1).
        """
        check_states("x0", x0, self.num_states)
        if not bool(((t >= 0) & (t < 1)).all()):
            times = f"a range of {float(t.min()):g} to {float(t.max()):g}"
            raise fail("t", "lie in [0, 1)", times, "0 is data")
        return self.noise(x0.long(), t.double(), generator)

    def start(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Noisy:
        """Draw states of shape (batch, *dims) at t_max: noise on draws from p0."""
        t = torch.full((shape[0],), self.t_max, dtype=torch.float64, device=self.p0.device)
        return self.noise(draw_from(self.p0, shape, generator), t, generator)

    def draw(
        self,
        denoiser: Denoiser,
        batch: Batch | Tensor,
        *,
        generator: torch.Generator | None = None,
        u: Tensor | None = None,
    ) -> Draw:
        """Draw times and noise for a batch, and ask the denoiser.

        Args:
            denoiser: (x_t [batch, *dims], Conditioning) -> logits [batch, *dims, B].
            batch: clean examples; a tensor x0 [batch, *dims] stands for `Batch(x0)`.
            generator: source of all noise.
            u: [batch] in [0, 1), which quantiles of t to use; a stratified sample of the batch by
                default. Pass a slice of a larger sample to stratify over accumulation steps and
                machines.

        Raises:
            UserError: x0 is empty or, on a CPU, holds a state outside 0..B-1; a mask, or `known`,
                that is not bool or has another shape than x0; logits of another shape.
        """
        return self.answered(denoiser, self.noised(batch, generator=generator, u=u))

    def noised(
        self,
        batch: Batch | Tensor,
        *,
        generator: torch.Generator | None = None,
        u: Tensor | None = None,
    ) -> Noised:
        """Draw times and noise for a batch: all of `draw` that needs random numbers."""
        batch, u = self.checked(batch, generator, u)
        t, weight = draw_times(u, self.schedule, self.t_max, self.tau_max)
        noisy = self.noise(batch.x0, t, generator)
        if batch.known is not None:
            noisy = self.keep(noisy, batch.x0, batch.known)
        return Noised(batch, noisy, weight)

    def checked(
        self, batch: Batch | Tensor, generator: torch.Generator | None, u: Tensor | None
    ) -> tuple[Batch, Tensor]:
        """A batch of int64 states that fits the model, and quantiles u [batch] for it, as in `draw`."""
        batch = batch if isinstance(batch, Batch) else Batch(batch)
        check_batch(batch, self.num_states)
        batch = replace(batch, x0=batch.x0.long())
        if u is None:
            u = stratified_uniform(len(batch), generator, batch.x0.device)
        return batch, u

    def answered(self, denoiser: Denoiser, noised: Noised) -> Draw:
        """Ask the denoiser about a noised batch: the rest of `draw`."""
        batch, noisy = noised.batch, noised.noisy
        logits = denoiser(noisy.x_t, self.condition(noisy, batch.given))
        self.check_logits(logits, batch.x0)
        return Draw(self, batch.x0, noisy, logits, noised.weight, batch.counted)

    def elbo(
        self,
        denoiser: Denoiser,
        batch: Batch | Tensor,
        *,
        generator: torch.Generator | None = None,
        u: Tensor | None = None,
        grid: Tensor | None = None,
    ) -> Elbo:
        """One unbiased estimate of the bound for every example, from one draw of time and noise.

        Where a batch has known positions it is the bound on -log p(x0 elsewhere | x0 there): these
        have no noise, and do not count. Arguments and errors as in `draw`.

        Args:
            grid: times t_max = t_0 > … > t_T = 0: the bound of `Ancestral` on that grid, instead of
                the continuous one (see `scud.diffusion.steps`).

        Returns:
            Elbo with diffusion term, prior term and control variate [batch], nats per example.
        """
        # If positions were independent with law p0, the denoiser that returns p0 would be ideal.
        # Its bound equals -log p0(x0): its diffusion term has the mean -log p0(x0) - prior.
        if grid is None:
            draw = self.draw(denoiser, batch, generator=generator, u=u)
            x0, counted, diffusion = draw.x0, draw.counted, draw.diffusion
            alone = self.p0.log().expand(draw.logits.shape)
            values = self.independent_integrand(alone, x0, draw.noisy, counted)
            independent = draw.integral(values)
        else:
            batch, u = self.checked(batch, generator, u)
            x0, counted = batch.x0, batch.counted
            check_grid(grid, self.t_max)
            parts = (batch, sent(grid.double(), x0.device), generator, u)
            diffusion, independent = over_steps(self, denoiser, *parts)
        prior, nats = (
            per_example(part if counted is None else part.masked_fill(~counted, 0))
            for part in (self.prior_term(x0, counted), -self.p0.log()[x0])
        )
        control = independent - (nats - prior)
        return Elbo(diffusion, prior.to(diffusion.dtype), control.to(diffusion.dtype))

    def objective(
        self,
        denoiser: Denoiser,
        batch: Batch | Tensor,
        objective: Objective = Bound(),
        *,
        generator: torch.Generator | None = None,
        u: Tensor | None = None,
    ) -> Losses:
        """What training minimises, from one draw and one call of the denoiser.

        Args:
            objective: makes the loss of a draw, as those of `scud.diffusion.objectives` do.
            denoiser, batch, generator, u: as in `draw`, errors too.
        """
        noised = self.noised(batch, generator=generator, u=u)
        x0 = noised.batch.x0
        return self.losses(denoiser, noised, objective, lambda: draw_uniform(x0, generator))

    def losses(
        self,
        denoiser: Denoiser,
        noised: Noised,
        objective: Objective,
        chance: Callable[[], Tensor],
    ) -> Losses:
        """All of `objective` behind the noise: what `scud.diffusion.compiled` compiles.

        Args:
            denoiser, objective: as in `objective`, errors too.
            noised: the noised batch.
            chance: draws a number in [0, 1) for each position, [batch, *dims], if it is asked.
        """
        draw = self.answered(denoiser, noised)
        loss = objective(self, draw)
        if loss.shape != (len(draw.x0),):
            remedy = "sum over the positions of each example, and do not average"
            rule = f"return nats per example, of shape [{len(draw.x0)}]"
            raise fail("objective", rule, list(loss.shape), remedy)
        diffusion = draw.computed("diffusion")
        if diffusion is None and self.forgets_at_once:
            diffusion = draw.computed("reconstruction")
        if diffusion is None:
            diffusion = self._watched(draw, chance)
        return Losses(loss, diffusion)

    @torch.no_grad()
    def _watched(self, draw: Draw, chance: Callable[[], Tensor]) -> Tensor:
        """The diffusion term of a draw whose loss did not need it, [batch].

        With many states it is estimated from some positions alone.
        """
        logits = draw.logits.detach()
        if self.num_states <= LARGE:
            return draw.integral(self.integrand(logits, draw.x0, draw.noisy, draw.counted))
        counted = chance() < WATCHED
        if draw.counted is not None:
            counted = counted & draw.counted
        return draw.integral(self.integrand(logits, draw.x0, draw.noisy, counted)) / WATCHED

    def loss(
        self,
        denoiser: Denoiser,
        batch: Batch | Tensor,
        *,
        generator: torch.Generator | None = None,
        u: Tensor | None = None,
    ) -> Tensor:
        """The bound's diffusion term in nats per position that counts, a scalar to minimise.

        Arguments and errors as in `draw`.
        """
        draw = self.draw(denoiser, batch, generator=generator, u=u)
        counted = draw.counted
        positions = draw.x0.numel() if counted is None else counted.sum().clamp_min(1)
        return draw.diffusion.sum() / positions

    def check_logits(self, logits: Logits, x: Tensor) -> None:
        """Raise `UserError` unless a denoiser's logits fit states x [batch, *dims]."""
        expected = [*x.shape, self.num_states]
        if list(logits.shape) != expected:
            rule = f"return logits of shape {expected}"
            raise fail("denoiser", rule, list(logits.shape), "put states last")

    def reverse(
        self,
        noisy: Noisy,
        logits: Logits,
        u: Time,
        generator: torch.Generator | None = None,
    ) -> Noisy:
        """Draw the state at an earlier time u given the one now and a prediction of x0.

        At u = 0 all noise is undone.
        """
        s = self.draw_counts(noisy, u, generator)
        return self.draw_states(noisy, logits, u, s, generator)

    def sample(
        self,
        denoiser: Denoiser,
        shape: tuple[int, ...],
        steps: int = 128,
        *,
        given: Given = Given(),
        sampler: Sampler | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw clean states, `shape` = (batch, *dims), int64.

        Args:
            denoiser: (x_t, Conditioning) -> logits.
            shape: (batch, *dims).
            steps: calls of the denoiser; a `sampler` has its own number instead.
            given: what of the examples is given, such as labels or known positions.
            sampler: how to draw; `scud.samplers.Ancestral(steps=steps)` by default.
            generator: source of all noise, on the model's device.

        Raises:
            UserError: as `scud.samplers.Sampler.trajectory` says.
        """
        sampler = Ancestral(steps=steps) if sampler is None else sampler
        return sampler(self, denoiser, shape, given, generator=generator)

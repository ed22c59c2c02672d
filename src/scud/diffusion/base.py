"""What every diffusion model of categorical data offers: noising, a bound on the likelihood, a loss, sampling.

The bound, in nats per example, on data x0 of any dimensions:

    -log p(x0) <= E_{t ~ U(0, t_max)} t_max Σ_d h_d(t)      [diffusion term]
                  + Σ_d prior(x0_d)                         [prior term, exact]

`integrand` computes h_d for one draw of the noised state; a model says what it is. Nothing is left out: t runs from 0,
where the noised state is x0 itself, and the prior term holds what is left at t_max. With the ideal denoiser the bound is
H(x0) plus only what a factorised prior cannot know at t_max.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from scud.diffusion.options import check_t_max
from scud.diffusion.times import draw_times
from scud.errors import check_distribution, check_states, fail
from scud.numerics import draw_from, draw_uniform, stratified_uniform
from scud.numerics.logits import Logits
from scud.processes.kernels.base import LARGE
from scud.samplers import sample
from scud.schedules import Schedule
from scud.typing import Conditioning, Denoiser, Noisy

WATCHED = 1 / 64
"""Share of positions from which the diffusion term is estimated when it is not trained on, of more than LARGE states."""


@dataclass(frozen=True)
class Objective:
    """What training minimises, in nats per example: each [batch].

    Attributes:
        loss: the mixture of the bound's diffusion term and the reconstruction term that was asked for.
        diffusion: an estimate of the bound's diffusion term, without gradient.
    """

    loss: Tensor
    diffusion: Tensor


@dataclass(frozen=True)
class Elbo:
    """One estimate of the bound on -log p(x0), by its terms, in nats per example: each [batch].

    Attributes:
        diffusion: the estimate of the diffusion term.
        prior: the prior term, exact.
        control: the diffusion term of a denoiser that knows p0 alone, on the same noise, less its expectation. Over
            uniform u and all noise its mean is 0 for every x0, so that any multiple of it may be taken off `diffusion`,
            which varies in a like way.
    """

    diffusion: Tensor
    prior: Tensor
    control: Tensor

    @property
    def total(self) -> Tensor:
        """diffusion + prior [batch]."""
        return self.diffusion + self.prior


@dataclass(frozen=True)
class _Drawn:
    """One draw of time and noise and the denoiser's answer; `weight` is one over the density of the times."""

    x0: Tensor
    noisy: Noisy
    logits: Logits
    weight: Tensor
    counted: Tensor | None

    def estimate(self, term: Callable[..., Tensor], logits: Logits) -> Tensor:
        """Of the integral of a term (`integrand` or `reconstruction`) with these logits: nats per example, [batch]."""
        values = per_example(term(logits, self.x0, self.noisy, self.counted))
        return values * self.weight.to(values.dtype)

    def sum(self, nats: Tensor) -> Tensor:
        """Sum of nats [batch, *dims] over the positions that count: [batch]."""
        return per_example(nats if self.counted is None else nats.masked_fill(~self.counted, 0))


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
        p0 = p0.detach().double().cpu()
        self.register_buffer("p0", p0 / p0.sum(), persistent=False)

    @abstractmethod
    def noise(self, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> Noisy:
        """`corrupt` without its checks: x0 int64, t float64."""

    @abstractmethod
    def condition(self, noisy: Noisy, mask: Tensor | None = None, label: Tensor | None = None) -> Conditioning:
        """What a denoiser is told about a noised batch."""

    @abstractmethod
    def integrand(self, logits: Logits, x0: Tensor, noisy: Noisy, mask: Tensor | None = None) -> Tensor:
        """h_d(t): nats per position and unit of t, [batch, *dims], differentiable in logits [batch, *dims, B].

        0 where `mask` is False.
        """

    def independent_integrand(self, logits: Logits, x0: Tensor, noisy: Noisy, mask: Tensor | None = None) -> Tensor:
        """`integrand` for the logits log p0 at every position, which a model may have a shorter way to."""
        return self.integrand(logits, x0, noisy, mask)

    @abstractmethod
    def reconstruction(self, logits: Logits, x0: Tensor, noisy: Noisy, mask: Tensor | None = None) -> Tensor:
        """w(t) times the cross-entropy of x0 given x_t, where there is noise: nats, [batch, *dims], as `integrand` is.

        The predicted law of x0 at a position is softmax(logits) times what x_t says there, normalised.
        """

    @abstractmethod
    def reverse(self, noisy: Noisy, logits: Logits, u: float, generator: torch.Generator | None = None) -> Noisy:
        """Draw the state at an earlier time u given the one now and a prediction of x0. At u = 0 all noise is undone."""

    @abstractmethod
    def keep(self, noisy: Noisy, x0: Tensor, known: Tensor) -> Noisy:
        """Set the positions where `known` [batch, *dims] is True to clean states x0, which no step will change."""

    @abstractmethod
    def informative_time(self, share: Tensor) -> Tensor:
        """When noise has destroyed this share of the information that it destroys by t_max: [n] in (0, 1) -> t [n]."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """The registered `kind` and scalar arguments: enough, with process, schedule and p0, to build the model again."""

    def prior_term(self, x0: Tensor, counted: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """The bound's prior term at each position, or at those that are counted, nats, [batch, *dims] float64."""
        return self.prior_nats[x0]

    def grid(self, steps: int) -> Tensor:
        """Times t_max = t_0 > … > t_steps = 0 between which sampling steps, [steps + 1] float64.

        At t_i noise has destroyed the share cos(pi i / (2 steps)) of the information it destroys by t_max: shorter steps where
        there is most noise. With few calls images lose less by it than by steps even in information (docs/images.md).
        """
        done = torch.arange(1, steps, dtype=torch.float64, device=self.p0.device) / steps
        ends = done.new_tensor([self.t_max, 0.0])
        return torch.cat([ends[:1], self.informative_time((torch.pi / 2 * done).cos()), ends[1:]])

    def corrupt(self, x0: Tensor, t: Tensor, generator: torch.Generator | None = None) -> Noisy:
        """Draw the noised state of clean states x0 [batch, *dims], integers below B, at times t [batch] in [0, 1).

        Raises:
            UserError: a state outside 0..B-1, or a time outside [0, 1).
        """
        check_states("x0", x0, self.num_states)
        if not bool(((t >= 0) & (t < 1)).all()):
            raise fail("t", "lie in [0, 1)", f"a range of {float(t.min()):g} to {float(t.max()):g}", "0 is data")
        return self.noise(x0.long(), t.double(), generator)

    def start(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Noisy:
        """Draw a state at t_max from the factorised prior, `shape` = (batch, *dims): noise on draws from p0."""
        t = torch.full((shape[0],), self.t_max, dtype=torch.float64, device=self.p0.device)
        return self.noise(draw_from(self.p0, shape, generator), t, generator)

    def elbo(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        mask: Tensor | None = None,
        *,
        known: Tensor | None = None,
        label: Tensor | None = None,
        generator: torch.Generator | None = None,
        u: Tensor | None = None,
    ) -> Elbo:
        """One unbiased estimate of the bound for every example, from one draw of t and of the noised state.

        With `known`, of the bound on -log p(x0 elsewhere | x0 at known positions): these have no noise, and do not count.

        Args:
            denoiser: (x_t [batch, *dims], Conditioning) -> logits [batch, *dims, B].
            x0: clean states [batch, *dims], integers below B.
            mask: [batch, *dims], True at real positions; all are when None.
            known: [batch, *dims], True where x0 is given, as in infilling; nowhere when None.
            label: [batch], passed on to the denoiser.
            generator: source of all noise.
            u: [batch] in [0, 1), which quantiles of t to use; a stratified sample of the batch by default. Pass a
                slice of a larger sample to stratify over accumulation steps and machines.

        Returns:
            Elbo with diffusion term, prior term and control variate [batch], nats per example.

        Raises:
            UserError: x0 is empty or holds a state outside 0..B-1.
        """
        drawn = self._draw(denoiser, x0, mask, known, label, generator, u)
        diffusion = drawn.estimate(self.integrand, drawn.logits)
        # Of independent positions p0 is the whole truth: their bound is tight, and holds for every x0 on its own.
        independent = drawn.estimate(self.independent_integrand, self.p0.log().expand(drawn.logits.shape))
        prior, nats = (
            drawn.sum(values) for values in (self.prior_term(drawn.x0, drawn.counted), -self.p0.log()[drawn.x0])
        )
        control = independent - (nats - prior)
        return Elbo(diffusion, prior.to(diffusion.dtype), control.to(diffusion.dtype))

    def objective(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        mask: Tensor | None = None,
        *,
        reconstruction: float = 0.0,
        known: Tensor | None = None,
        label: Tensor | None = None,
        generator: torch.Generator | None = None,
        u: Tensor | None = None,
    ) -> Objective:
        """What training minimises, from one draw and one call of the denoiser: (1 - c) diffusion + c reconstruction.

        Both terms have the ideal denoiser as their minimum. Other arguments and errors as in `elbo`.

        Args:
            reconstruction: c in [0, 1], the share of the cross-entropy of x0 itself (see the method of that name).
        """
        drawn = self._draw(denoiser, x0, mask, known, label, generator, u)
        if reconstruction == 1:
            loss = drawn.estimate(self.reconstruction, drawn.logits)
            return Objective(loss, loss.detach() if self.forgets_at_once else self._watched(drawn, generator))
        loss = diffusion = drawn.estimate(self.integrand, drawn.logits)
        if reconstruction > 0:
            loss = torch.lerp(diffusion, drawn.estimate(self.reconstruction, drawn.logits), reconstruction)
        return Objective(loss, diffusion.detach())

    @torch.no_grad()
    def _watched(self, drawn: _Drawn, generator: torch.Generator | None) -> Tensor:
        """The diffusion term of a batch that is trained on another one, [batch]: of many states, from some positions alone."""
        logits = drawn.logits.detach()
        if self.num_states <= LARGE:
            return drawn.estimate(self.integrand, logits)
        chosen = draw_uniform(drawn.x0, generator) < WATCHED
        counted = chosen if drawn.counted is None else chosen & drawn.counted
        return replace(drawn, counted=counted).estimate(self.integrand, logits) / WATCHED

    def _draw(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        mask: Tensor | None,
        known: Tensor | None,
        label: Tensor | None,
        generator: torch.Generator | None,
        u: Tensor | None,
    ) -> _Drawn:
        check_states("x0", x0, self.num_states)
        x0 = x0.long()
        if u is None:
            u = stratified_uniform(x0.shape[0], generator, x0.device)
        t, weight = draw_times(u, self.schedule, self.t_max)
        noisy = self.noise(x0, t, generator)
        if known is not None:
            noisy = self.keep(noisy, x0, known)
        logits = denoiser(noisy.x_t, self.condition(noisy, mask, label))
        self.check_logits(logits, x0)
        return _Drawn(x0, noisy, logits, weight, counted_positions(mask, known))

    def loss(
        self,
        denoiser: Denoiser,
        x0: Tensor,
        mask: Tensor | None = None,
        *,
        known: Tensor | None = None,
        label: Tensor | None = None,
        generator: torch.Generator | None = None,
        u: Tensor | None = None,
    ) -> Tensor:
        """What training minimises: the bound's diffusion term in nats per position that counts, a scalar.

        Arguments as in `elbo`.
        """
        counted = counted_positions(mask, known)
        positions = x0.numel() if counted is None else counted.sum().clamp_min(1)
        terms = self.objective(denoiser, x0, mask, known=known, label=label, generator=generator, u=u)
        return terms.loss.sum() / positions

    def check_logits(self, logits: Logits, x: Tensor) -> None:
        """Raise `UserError` unless a denoiser's logits fit states x [batch, *dims]."""
        expected = [*x.shape, self.num_states]
        if list(logits.shape) != expected:
            raise fail("denoiser", f"return logits of shape {expected}", list(logits.shape), "put states last")

    def sample(
        self,
        denoiser: Denoiser,
        shape: tuple[int, ...],
        steps: int = 128,
        *,
        known: Tensor | None = None,
        known_mask: Tensor | None = None,
        mask: Tensor | None = None,
        label: Tensor | None = None,
        grid: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw clean states, `shape` = (batch, *dims), with `steps` calls of the denoiser: see `scud.samplers.sample`."""
        options = {"known": known, "known_mask": known_mask, "mask": mask, "label": label, "grid": grid}
        return sample(self, denoiser, shape, steps, **options, generator=generator)


def counted_positions(mask: Tensor | None, known: Tensor | None) -> Tensor | None:
    """The positions that a bound counts: real and not known, [batch, *dims]; None where all are."""
    if known is None:
        return mask
    return ~known if mask is None else mask & ~known


def per_example(values: Tensor) -> Tensor:
    """Sum over all but the first dimension: [batch, *dims] -> [batch]."""
    return values.flatten(1).sum(1)


def spread(per_batch: Tensor, like: Tensor) -> Tensor:
    """Shape [batch] (or already [batch, *dims]) so that it broadcasts against `like` [batch, *dims]."""
    return per_batch if per_batch.ndim == like.ndim else per_batch.reshape(-1, *[1] * (like.ndim - 1))

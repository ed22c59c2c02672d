"""Which times to look at: the bound is an integral over t in [0, t_max], estimated from draws of t.

Under uniform t the estimate's variance is infinite: the integrand's second moment grows like 1/t at small t. Times are drawn
from a mixture of three densities that covers both ends,

    f(t) = a / t_max + b / (2 sqrt(t t_max)) + c beta(t) / tau(t_max),

and weighted by 1 / f: the estimate stays unbiased and its variance is finite. The variance of a trained model's gradient is then
about an eighth above the least possible (`benchmarks.gradient_noise`). One systematic sample u of [0, 1) serves the batch, so
that times cover the mixture evenly.
"""

import math

import torch
from torch import Tensor

from scud.schedules import Schedule

Mixture = tuple[float, float, float]
"""Shares of times drawn uniformly in t, in sqrt(t), and in tau."""

MIXTURE: Mixture = (0.5, 0.4, 0.1)
"""The shares that are used."""


def density(
    t: Tensor, beta: Tensor, t_max: float, tau_max: float, mixture: Mixture = MIXTURE
) -> Tensor:
    """f(t) at times t in (0, t_max) at which the schedule's rate is beta and whose end is tau_max = tau(t_max), float64."""
    a, b, c = mixture
    scale = 4 * t_max / b**2 if b else math.inf
    early = a / t_max + (t * scale).rsqrt()
    return torch.add(early, beta, alpha=c / tau_max)


def draw_times(
    u: Tensor, schedule: Schedule, t_max: float, tau_max: float
) -> tuple[Tensor, Tensor]:
    """Times and weights from u [batch] in [0, 1): t in (0, t_max) and 1 / f(t), both [batch] float64."""
    a, b, c = MIXTURE
    u = u.double()
    root = u - a
    late = schedule.inverse((u - (a + b)) * (tau_max / c))
    early = root * root * (t_max / b**2)
    t = torch.where(u < a, u * (t_max / a), torch.where(u < a + b, early, late))
    t = t.clamp(1e-12, t_max)
    return t, density(t, schedule.beta(t), t_max, tau_max).reciprocal()

"""Which times to look at: the bound is an integral over t in [0, t_max], estimated from draws of t.

Under uniform t the estimate's variance is infinite: the integrand's second moment grows like 1/t at small t. Times are drawn
from a mixture of three densities that covers both ends,

    f(t) = a / t_max + b / (2 sqrt(t t_max)) + c beta(t) / tau(t_max),

and weighted by 1 / f: the estimate stays unbiased and its variance is finite. The variance of a trained model's gradient is then
about an eighth above the least possible (`benchmarks.gradient_noise`). One systematic sample u of [0, 1) serves the batch, so
that times cover the mixture evenly.
"""

import torch
from torch import Tensor

from scud.schedules import Schedule

Mixture = tuple[float, float, float]
"""Shares of times drawn uniformly in t, in sqrt(t), and in tau."""

MIXTURE: Mixture = (0.5, 0.4, 0.1)
"""The shares that are used."""


def density(t: Tensor, schedule: Schedule, t_max: float, mixture: Mixture = MIXTURE) -> Tensor:
    """f(t) at times t in (0, t_max), float64."""
    a, b, c = mixture
    end = schedule.tau(torch.as_tensor(t_max, dtype=torch.float64, device=t.device))
    return a / t_max + b / (2 * (t * t_max).sqrt()) + c * schedule.beta(t) / end


def draw_times(u: Tensor, schedule: Schedule, t_max: float) -> tuple[Tensor, Tensor]:
    """Times and weights from u [batch] in [0, 1): t in (0, t_max) and 1 / f(t), both [batch] float64."""
    a, b, c = MIXTURE
    end = schedule.tau(torch.as_tensor(t_max, dtype=torch.float64, device=u.device))
    u = u.double()
    even, root = u / a, (u - a) / b
    late = schedule.inverse(((u - a - b) / c).clamp(0, 1) * end)
    t = torch.where(u < a, t_max * even, torch.where(u < a + b, t_max * root**2, late)).clamp(
        1e-12, t_max
    )
    return t, 1 / density(t, schedule, t_max)

"""Mutual-information schedule: t is chosen so that information about x0 falls linearly, I(t) / H(p0) = 1 - t.

Event-conditioned (gamma > 0, SCUD): I(t) = Σ_n Poisson(n; lambda) I_n, I_n the information between x0 ~ p0 and K^n.
Time-conditioned (gamma = 0, classical): the information between x0 and exp(tau Q). See `information` for both curves.

For uniform noise at gamma = 1 - 1/B one event forgets everything and lambda = -log(1 - t): masking's linear schedule.
That is why the curve is interpolated as log(amount) against log w, w = -log(1 - t): a straight line there, and a power law
at small t for every process. The interpolant is a cubic Hermite spline with exact slopes, and beta is its derivative.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from scud.errors import check_distribution, check_in_interval, fail
from scud.options import Options
from scud.processes import Process
from scud.processes.kernels.base import check_small
from scud.schedules.base import Schedule
from scud.schedules.information import EventInformation, event_curve, time_curve
from scud.schedules.linear import Linear

SMALLEST_W = 1e-30
NEWTON_STEPS = 3


class MutualInformation(Schedule):
    """The schedule on which information about x0 falls linearly.

    Args:
        process: the noise.
        p0: training marginal [B], positive, summing to 1.
        gamma: in (0, 1] conditions on events, as SCUD with the same gamma; 0 conditions on time, as the classical model.
        curve, error: [3, n] and a number, what `spec` of the same schedule has kept where they are dear to make.

    Attributes:
        error: the largest standard error of the shares of information that the curve is made of; 0 where they are exact, as
            always but for sparse kernels of many states. Any increasing tau(t) gives a bound: an error costs evenness alone.

    Raises:
        UserError: a gamma outside [0, 1] or at which the process is periodic; a p0 that is no distribution over its states.
    """

    knots: Tensor
    values: Tensor
    slopes: Tensor
    _pieces: Tensor

    def __init__(
        self,
        process: Process,
        p0: Tensor,
        gamma: float = 1.0,
        curve: Tensor | None = None,
        error: float = 0.0,
    ) -> None:
        super().__init__()
        check_distribution("p0", p0, process.num_states)
        check_in_interval(
            "gamma", gamma, 0, 1, "use the gamma of the model, or 0 for the classical model"
        )
        self.process, self.gamma, self.p0 = process, gamma, p0.detach().double().cpu()
        self.p0, self.error, self.sampled = self.p0 / self.p0.sum(), error, curve is not None
        if gamma == 0:
            check_small(process.num_states, "the classical model's mutual-information schedule")
        if curve is None:
            curve = self._make_curve()
        check_curve(curve)
        for name, values in zip(("knots", "values", "slopes"), curve.double(), strict=True):
            self.register_buffer(name, values.clone(), persistent=False)
        self.register_buffer("_pieces", _pieces_of(curve.double()), persistent=False)

    def _make_curve(self) -> Tensor:
        """Knots log w, values log tau and slopes d log tau / d log w, [3, n]."""
        if self.gamma == 0:
            amount, w, slope = time_curve(self.process.time(), self.process.generator(), self.p0)
        else:
            kernel = self.process.events(self.gamma)
            share, rate = EventInformation(kernel, self.p0), self.process.rate(self.gamma)
            amount, w, slope = event_curve(share)
            amount, slope = amount / rate, slope * rate
            self.sampled, self.error = kernel.is_sampled, share.error
        keep = torch.cat([torch.ones(1, dtype=torch.bool), w[1:] > w.cummax(0).values[:-1]])
        amount, w, slope = amount[keep], w[keep], slope[keep]
        return torch.stack([w.log(), amount.log(), w / (amount * slope)])

    def tau(self, t: Tensor) -> Tensor:
        return self.at(t)[0]

    def beta(self, t: Tensor) -> Tensor:
        return self.at(t)[1]

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        log_w = (-(-t.double()).log1p()).clamp_min(SMALLEST_W).log()
        inside = log_w.clamp(self.knots[0], self.knots[-1])
        piece = self._pieces[torch.searchsorted(self.knots[1:-1], inside.contiguous())]
        log_tau, slope = _spline(piece, inside)
        log_tau = torch.addcmul(log_tau, slope, log_w - inside)
        tau = torch.where(t > 0, log_tau.exp(), 0.0)
        return tau, slope * (log_tau - log_w).exp() / (1 - t.double())

    def inverse(self, tau: Tensor) -> Tensor:
        target = tau.double().clamp_min(SMALLEST_W).log()
        inside = target.clamp(self.values[0], self.values[-1])
        piece = self._pieces[torch.searchsorted(self.values[1:-1], inside.contiguous())]
        low, high, value, chord = piece[..., 0], piece[..., 1], piece[..., 3], piece[..., 8]
        x = torch.addcmul(low, inside - value, chord)
        slope = chord
        for _ in range(NEWTON_STEPS):
            value, slope = _spline(piece, x)
            x = torch.addcdiv(x, inside - value, slope).clamp(low, high)
        log_w = torch.addcdiv(x, target - inside, slope)
        return torch.where(tau > 0, -(-log_w.exp()).expm1(), 0.0)

    def spec(self) -> dict[str, Any]:
        found = {"kind": "mutual_information", "gamma": self.gamma}
        if not self.sampled:
            return found
        curve = torch.stack([self.knots, self.values, self.slopes]).cpu()
        return {**found, "curve": curve, "error": self.error}


def _pieces_of(curve: Tensor) -> Tensor:
    """The cubics between knots x, of values and slopes at both ends: [3, n] -> [n - 1, 9].

    Each is (x_0, x_1, width, value, slope, curvature, twist, 3 twist, 1 / rise), where with u = (x - x_0) / width:
    value + (x - x_0) (slope + u (curvature + u twist)).
    """
    knots, values, slopes = curve
    width, low = knots.diff(), slopes[:-1]
    rise = values.diff() / width
    curvature, twist = 3 * rise - 2 * low - slopes[1:], low + slopes[1:] - 2 * rise
    parts = (knots[:-1], knots[1:], width, values[:-1], low, curvature, twist, 3 * twist, 1 / rise)
    return torch.stack(parts, 1)


def _spline(piece: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """The Hermite spline and its derivative at x [...], in its piece [..., 9]."""
    start, _, width, value, slope, curvature, twist, triple, _ = piece.unbind(-1)
    beyond = x - start
    u = beyond / width
    inner = torch.addcmul(slope, u, torch.addcmul(curvature, u, twist))
    outer = torch.addcmul(2 * curvature, u, triple)
    return torch.addcmul(value, beyond, inner), torch.addcmul(slope, u, outer)


def check_curve(curve: Tensor) -> None:
    """Raise `UserError` unless knots and values [n] increase, and all [3, n] are finite."""
    right = curve.ndim == 2 and curve.shape[0] == 3 and curve.shape[1] >= 2
    if right and curve.is_floating_point():
        right = bool(curve.isfinite().all()) and bool((curve[:2].diff(dim=1) > 0).all())
    else:
        right = False
    if not right:
        found = f"{curve.dtype} of shape {list(curve.shape)}"
        rule = "be knots and values that increase, and slopes, [3, n]"
        raise fail("curve", rule, found, "leave it out, or give what spec() gave")


@dataclass(frozen=True, kw_only=True)
class MutualInformationOptions(Options):
    """Information about the data falls linearly; for masking that is the linear schedule."""

    kind: Literal["mutual_information"] = "mutual_information"

    def build(self, process: Process | None, p0: Tensor, gamma: float) -> Schedule:
        """The schedule of a process at gamma, 0 for the classical model; of masking, whose process is None, `Linear`."""
        return Linear() if process is None else MutualInformation(process, p0, gamma)

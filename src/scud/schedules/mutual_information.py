"""Mutual-information schedule: t is chosen so that information about x0 falls linearly, I(t) / H(p0) = 1 - t.

Event-conditioned (gamma > 0, SCUD): I(t) = Σ_n Poisson(n; lambda) I_n, I_n the information between x0 ~ p0 and K^n.
Time-conditioned (gamma = 0, classical): the information between x0 and exp(tau Q). See `information` for both curves.

For uniform noise at gamma = 1 - 1/B one event forgets everything and lambda = -log(1 - t): masking's linear schedule.
That is why the curve is interpolated as log(amount) against log w, w = -log(1 - t): a straight line there, and a power law
at small t for every process. The interpolant is a cubic Hermite spline with exact slopes, and beta is its derivative.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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
NEWTON_STEPS = 2


class Last(NamedTuple):
    """Times that were asked for last, which change of them it was, and tau and beta there."""

    t: Tensor
    version: int
    found: tuple[Tensor, Tensor]


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
        self._last: Last | None = None
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
        if torch.compiler.is_compiling():  # the compiler finds by itself what is asked for twice
            return self._made(t)
        last = self._last
        if last is not None and last.t is t and last.version == _version(t):
            return last.found
        found = self._made(t)
        # Noise, weights and loss ask for the same times one after the other.
        if not (t.requires_grad or t.is_inference()):
            self._last = Last(t, _version(t), found)
        return found

    def _made(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """`at`, of times that nothing is known of yet."""
        w = (-(-t.double()).log1p()).clamp_min(SMALLEST_W)
        log_w = w.log()
        piece = self._pieces[torch.searchsorted(self.knots, log_w)]
        log_tau, slope = _spline(piece, log_w - piece[..., 0])
        tau = log_tau.exp()
        beta = slope * tau / ((1 - t.double()) * w)
        return tau.masked_fill(t <= 0, 0), beta

    def inverse(self, tau: Tensor) -> Tensor:
        log_tau = tau.double().clamp_min(SMALLEST_W).log()
        piece = self._pieces[torch.searchsorted(self.values, log_tau)]
        knot, value, *_, first, second, third = piece.unbind(-1)
        risen = log_tau - value
        beyond = risen * torch.addcmul(first, risen, torch.addcmul(second, risen, third))
        for _ in range(NEWTON_STEPS):
            found, slope = _spline(piece, beyond)
            beyond = torch.addcdiv(beyond, log_tau - found, slope)
        return (-(-(knot + beyond).exp()).expm1()).masked_fill(tau <= 0, 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def spec(self) -> dict[str, Any]:
        found = {"kind": "mutual_information", "gamma": self.gamma}
        if not self.sampled:
            return found
        curve = torch.stack([self.knots, self.values, self.slopes]).cpu()
        return {**found, "curve": curve, "error": self.error}


def _version(t: Tensor) -> int:
    """How often times were changed in place; those of inference mode are not kept."""
    return -1 if t.is_inference() else t._version


def _pieces_of(curve: Tensor) -> Tensor:
    """The cubics between knots, from values and slopes at both ends, and lines beyond them: [3, n] -> [n + 1, 10].

    Each is its knot and value, then c_1, c_2, c_3 of value + Σ_k c_k beyondᵏ, beyond = x - knot, then 2 c_2 and 3 c_3 of the
    derivative, and last the cubic's coefficients for the inverse, which is near the cubic in value.
    """
    knots, values, slopes = curve
    forth = _cubic(knots.diff(), values.diff(), slopes)
    back = _cubic(values.diff(), knots.diff(), 1 / slopes)
    inner = torch.cat([curve[:2, :-1].T, forth, forth[:, 1:] * forth.new_tensor([2, 3]), back], 1)
    lines = torch.zeros(2, 10, dtype=curve.dtype)
    for line, end in zip(lines, (0, -1), strict=True):
        line[[0, 1, 2, 7]] = torch.stack([*curve[:, end], 1 / slopes[end]])
    return torch.cat([lines[:1], inner, lines[1:]])


def _cubic(width: Tensor, rise: Tensor, slopes: Tensor) -> Tensor:
    """c_1, c_2, c_3 of the cubics that rise so far over a width [n - 1], with slopes [n] at their ends: [n - 1, 3]."""
    low, high, mean = slopes[:-1], slopes[1:], rise / width
    return torch.stack(
        [low, (3 * mean - 2 * low - high) / width, (low + high - 2 * mean) / width**2], 1
    )


def _spline(piece: Tensor, beyond: Tensor) -> tuple[Tensor, Tensor]:
    """The Hermite spline and its derivative, so far beyond the knot [...] of its piece [..., 10]."""
    value, first, second, third, twice, thrice = piece[..., 1:7].unbind(-1)
    inner = torch.addcmul(first, beyond, torch.addcmul(second, beyond, third))
    slope = torch.addcmul(first, beyond, torch.addcmul(twice, beyond, thrice))
    return torch.addcmul(value, beyond, inner), slope


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

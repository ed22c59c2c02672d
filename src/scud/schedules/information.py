"""How much a noised state knows of the clean one: the information curves behind schedules, priors and step grids.

For one position with x0 ~ p0 and x ~ M(a)[x0, :], the information is I(a) = Σ_b p0_b KL(M(a)[b, :] || p0 M(a)) in nats;
I(0) = H(p0). Conditioned on events, what counts is its average over a Poisson number of them.

Where the sum over b is too dear (sparse kernels of many states), it is estimated from SAMPLE states at even quantiles of p0, rare
states first: a systematic sample, always the same, as a ratio to its own H. Neighbours in it are alike, so that half their mean
squared differences is the variance of one of its terms. States too rare for the sample are left out of both: a p0 whose rarest
states carry much of H (heavier tails than words have) makes the curve uneven.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PchipInterpolator
from torch import Tensor

from scud.errors import fail
from scud.processes.kernels.base import CHUNK_ELEMENTS, Kernel

FORGOTTEN = 1e-8
"""The share of H(p0) at which curves end."""

SAMPLE = 512
"""Quantiles of p0 at which information is estimated."""

LONGEST = 2.0**48
"""How many times its first amount a curve may be long: floating-point numbers do not count much further one by one."""

EXACT = 12
"""Counts below which divergences that are interpolated are exact."""

NODES = 24
"""Larger counts between which they are interpolated."""

NOTHING = 1e-14
"""Nats below which float32 does not tell divergences from 0."""

FEW = 32
"""As many, to find where a curve ends."""


def poisson_rule(mean: Tensor) -> tuple[Tensor, Tensor]:
    """Counts and weights for expectations of smooth functions under Poisson(mean): mean [n] -> two [n, 257] float64.

    All counts within 8 standard deviations where they fit, evenly strided ones beyond a mean of 256 (the trapezoid rule,
    whose error on a bell curve is below rounding).
    """
    mean = mean.double().unsqueeze(-1)
    stride = (mean.sqrt() / 16).ceil().clamp_min(1)
    counts = mean.round() + stride * torch.arange(
        -128, 129, dtype=torch.float64, device=mean.device
    )
    held = counts >= 0
    counts = counts.clamp_min(0)
    weights = torch.where(
        held, (torch.xlogy(counts, mean) - mean - (counts + 1).lgamma()).exp(), 0.0
    )
    return counts, weights / weights.sum(-1, keepdim=True)


def shares(
    kernel: Kernel, p0: Tensor, amounts: Tensor, sample: int = SAMPLE
) -> tuple[Tensor, Tensor]:
    """I(a) / H(p0) for amounts [n], and its standard error, 0 where it is exact: two [n] float64."""
    if not kernel.is_sampled:
        share = kernel.divergences(p0, amounts) @ p0 / torch.special.entr(p0).sum()
        return share, torch.zeros_like(share)
    law, order = p0.sort()
    quantiles = (torch.arange(sample, dtype=torch.float64) + 0.5) / sample
    place = torch.searchsorted(law.cumsum(0), quantiles * law.sum()).clamp_max(len(p0) - 1)
    states, copies = torch.unique_consecutive(order[place], return_inverse=True)
    nats, entropies = kernel.divergences(p0, amounts, states)[:, copies], -p0[states].log()[copies]
    share = nats.mean(-1) / entropies.mean()
    residual = nats - share.unsqueeze(-1) * entropies
    variance = residual.diff(dim=-1).square().mean(-1) / 2
    return share, (variance / sample).sqrt() / entropies.mean()


def smooth_divergences(kernel: Kernel, p0: Tensor, counts: Tensor, states: Tensor) -> Tensor:
    """`Kernel.divergences` for counts [n]: exact at small ones, a monotone interpolation of the logarithm beyond, [n, m]."""
    high = float(counts.max())
    nodes = np.unique(
        np.concatenate([np.arange(EXACT), np.geomspace(EXACT, high + EXACT, NODES).round()])
    )
    at = (
        kernel.divergences(p0, torch.as_tensor(nodes, device=p0.device), states)
        .clamp_min(NOTHING)
        .log()
    )
    return (
        torch.as_tensor(PchipInterpolator(nodes, at.cpu().numpy())(counts.cpu().numpy()))
        .exp()
        .to(p0.device)
    )


def _end(kernel: Kernel, p0: Tensor, start: float) -> float:
    """An amount, doubled from `start`, at which less than FORGOTTEN of H(p0) is left."""
    amount = start
    while not float(shares(kernel, p0, p0.new_tensor([amount]), FEW)[0]) <= FORGOTTEN:
        amount *= 2
        if amount > LONGEST * start:
            rule = "forget the data, and be told from no noise at all"
            found = f"noise that keeps more than {FORGOTTEN:g} of them after {amount:.1g} times its unit"
            remedy = "raise gamma, or use rates that lead from every state to all others faster"
            raise fail("process", rule, found, remedy)
    return amount


class EventInformation:
    """Share of information I_n / H(p0) left after n events, for any n: exact at small n, a spline of its logarithm beyond.

    Attributes:
        error: the largest standard error of a share, 0 where they are exact.
    """

    exact = 32

    def __init__(self, kernel: Kernel, p0: Tensor) -> None:
        self.end = _end(kernel, p0, 2.0 * self.exact)
        beyond = np.unique(
            np.geomspace(
                self.exact, self.end, int(20 * math.log(self.end / self.exact)) + 4
            ).round()
        )
        nodes = np.concatenate([np.arange(self.exact), beyond])
        estimate, error = shares(kernel, p0, torch.as_tensor(nodes))
        share, self.error = estimate.numpy(), float(error.max())
        self.small = share[: self.exact]
        self.small[0] = 1.0
        self.spline = CubicSpline(np.log(nodes[8:]), np.log(share[8:].clip(1e-18)))

    def __call__(self, count: NDArray[np.float64]) -> NDArray[np.float64]:
        clipped = count.clip(self.exact, self.end)
        slope = float(self.spline(math.log(self.end), 1)) / self.end
        beyond = np.exp(self.spline(np.log(clipped)) + min(slope, 0.0) * (count - clipped))
        small = self.small[count.clip(0, self.exact - 1).astype(int)]
        share: NDArray[np.float64] = np.where(count < self.exact, small, beyond)
        return share


def event_curve(share: EventInformation) -> tuple[Tensor, Tensor, Tensor]:
    """The event-conditioned curve at geometric nodes of lambda, the expected number of events.

    Returns:
        lambda, w = -log(I(lambda) / H(p0)) and dw / dlambda, each [n] float64, with I(lambda) = E I_s, s ~ Poisson(lambda).
    """
    mean = torch.as_tensor(np.geomspace(1e-6, share.end, 400))
    counts, weights = poisson_rule(mean)
    now, after = torch.as_tensor(share(counts.numpy())), torch.as_tensor(share(counts.numpy() + 1))
    left, lost = (weights * now).sum(-1), (weights * (1 - now)).sum(-1)
    fall = (weights * (now - after)).sum(-1)
    return mean, torch.where(left < 0.5, -left.log(), -(-lost).log1p()), fall / left


def time_curve(kernel: Kernel, generator: Tensor, p0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The time-conditioned curve at geometric nodes of tau: tau, w = -log(I(tau) / H(p0)) and dw / dtau, each [n] float64."""
    scale = 1 / float(-generator.diagonal().min())
    tau = torch.as_tensor(np.geomspace(1e-6 * scale, _end(kernel, p0, scale), 160))
    entropy = torch.special.entr(p0).sum()
    shares, falls = [], []
    for part in torch.split(tau, max(CHUNK_ELEMENTS // kernel.num_states**2, 1)):
        matrices = kernel.matrices(part)
        tiny = torch.finfo(torch.float64).tiny
        ratio = matrices.clamp_min(tiny).log() - (p0 @ matrices).clamp_min(tiny).log().unsqueeze(1)
        # d I / d tau = Σ_b p0_b Σ_y (Q M)[b, y] log(M[b, y] / (p0 M)[y]).
        shares.append((matrices * ratio).sum(-1) @ p0 / entropy)
        falls.append(-((generator @ matrices) * ratio).sum(-1) @ p0 / entropy)
    share, fall = torch.cat(shares).clamp_min(1e-300), torch.cat(falls)
    return tau, -share.log(), fall / share

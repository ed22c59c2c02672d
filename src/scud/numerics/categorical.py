"""Exact categorical draws and exact logarithms of probabilities.

Draws invert the cumulative distribution in float64: noise truncated in float32 changes the tail and lowers the sampling
temperature (Zheng et al., arXiv 2409.02908).
"""

import torch
from torch import Tensor, nn

from scud.numerics.devices import is_fixed

IMPOSSIBLE = 1e-15
"""Probability of an event below which it is taken for rounding."""


def invert_cdf(cdf: Tensor, row: Tensor, uniform: Tensor) -> Tensor:
    """The first state y with cdf[row, y] > u, by bisection; on a GPU by one search in the rows, laid out one by one.

    Args:
        cdf: [R, B] float64, unnormalised cumulative sums.
        row: [N] which row each draw uses.
        uniform: [N] float64 in [0, 1); scaled by the row's total.

    Returns:
        [N] int64 states. A state of probability 0 is never drawn.
    """
    if is_fixed(cdf):
        return _search_rows(cdf[row], uniform)
    num_states = cdf.shape[1]
    flat, start = cdf.reshape(-1), row * num_states
    # u is kept strictly below the total, so that the answer is never beyond the last state of positive probability.
    target = torch.minimum(
        uniform * flat[start + num_states - 1], flat[start + num_states - 1] * (1 - 2**-53)
    )
    low, high = torch.zeros_like(row), torch.full_like(row, num_states - 1)
    for _ in range((num_states - 1).bit_length()):
        middle = (low + high) // 2
        beyond = flat[start + middle] > target
        high = torch.where(beyond, middle, high)
        low = torch.where(beyond, low, middle + 1).minimum(high)
    return low


def _search_rows(cdf: Tensor, uniform: Tensor) -> Tensor:
    """`invert_cdf` of a row for each draw, [N, B], or of one row for all, [B]: -> the shape of uniform."""
    target = uniform * cdf[..., -1]  # below the total: u <= 1 - 2^-53, and the product rounds down
    if cdf.ndim == 1:
        return torch.searchsorted(cdf, target, right=True)
    return torch.searchsorted(cdf, target.unsqueeze(-1), right=True).squeeze(-1)


def draw_uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform noise in [0, 1), float64, with the shape and device of `like`."""
    return torch.rand(like.shape, dtype=torch.float64, device=like.device, generator=generator)


def draw_categorical(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """One state per row, with probability proportional to weights [..., B] >= 0 of positive sum: -> [...] int64."""
    rows = weights.reshape(-1, weights.shape[-1])
    if is_fixed(rows):
        cdf = rows.cumsum(-1, dtype=torch.float64)
        return _search_rows(cdf, draw_uniform(cdf[:, 0], generator)).reshape(weights.shape[:-1])
    index = torch.arange(rows.shape[0], device=weights.device)
    drawn = invert_cdf(rows.cumsum(-1, dtype=torch.float64), index, draw_uniform(index, generator))
    return drawn.reshape(weights.shape[:-1])


def draw_from(law: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """States drawn from one law [B], in proportion to its entries: -> [*shape] int64."""
    if is_fixed(law):
        uniform = torch.rand(shape, dtype=torch.float64, device=law.device, generator=generator)
        return _search_rows(law.cumsum(0, dtype=torch.float64), uniform)
    row = torch.zeros(shape, dtype=torch.int64, device=law.device).flatten()
    return invert_cdf(
        law.cumsum(0, dtype=torch.float64).unsqueeze(0), row, draw_uniform(row, generator)
    ).reshape(shape)


def stratified_uniform(
    count: int, generator: torch.Generator | None, device: torch.device | None = None
) -> Tensor:
    """One systematic sample of [0, 1): u_i = (U + i / count) mod 1, [count] float64.

    Each u_i is uniform on its own; together they cover [0, 1) evenly.
    """
    offset = torch.rand((), dtype=torch.float64, device=device, generator=generator)
    return (offset + torch.arange(count, dtype=torch.float64, device=device) / count) % 1.0


def log_probability(law: Tensor) -> Tensor:
    """Logarithms of a law's entries [..., B] in float64 or rounded from it; what may be rounding alone is -inf."""
    return law.masked_fill(law < IMPOSSIBLE, 0).log()


def weighted_logits(logits: Tensor, log_weights: Tensor) -> Tensor:
    """Logits of the law ∝ softmax(logits) times weights, [..., B]: exact however sharp the logits are.

    Where all that has weight has a logit of -inf, that law is the weights' own.
    """
    lowest = torch.finfo(logits.dtype).min / 4
    return nn.functional.threshold(logits, lowest, lowest) + log_weights

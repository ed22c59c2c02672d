"""Exact categorical draws, divergences that keep their digits, and row-wise losses in blocks.

Draws invert the cumulative distribution in float64: noise truncated in float32 changes the tail and lowers the sampling
temperature (Zheng et al., arXiv 2409.02908).
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from scud.logits import Logits

IMPOSSIBLE = 1e-15
"""Probability of an event below which it is taken for rounding."""

HELD_ELEMENTS = 2**27
"""Entries of logits made of `LinearLogits` at once; beyond, they are made again for the backward pass."""


def invert_cdf(cdf: Tensor, row: Tensor, uniform: Tensor) -> Tensor:
    """The first state y with cdf[row, y] > u, by bisection.

    Args:
        cdf: [R, B] float64, unnormalised cumulative sums.
        row: [N] which row each draw uses.
        uniform: [N] float64 in [0, 1); scaled by the row's total.

    Returns:
        [N] int64 states. A state of probability 0 is never drawn.
    """
    num_states = cdf.shape[1]
    flat, start = cdf.reshape(-1), row * num_states
    # u is kept strictly below the total, so that the answer is never beyond the last state of positive probability.
    target = torch.minimum(uniform * flat[start + num_states - 1], flat[start + num_states - 1] * (1 - 2**-53))
    low, high = torch.zeros_like(row), torch.full_like(row, num_states - 1)
    for _ in range((num_states - 1).bit_length()):
        middle = (low + high) // 2
        beyond = flat[start + middle] > target
        high = torch.where(beyond, middle, high)
        low = torch.where(beyond, low, middle + 1).minimum(high)
    return low


def draw_uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Uniform noise in [0, 1), float64, with the shape and device of `like`."""
    return torch.rand(like.shape, dtype=torch.float64, device=like.device, generator=generator)


def draw_categorical(weights: Tensor, generator: torch.Generator | None) -> Tensor:
    """One state per row, with probability proportional to weights [..., B] >= 0 of positive sum: -> [...] int64."""
    rows = weights.reshape(-1, weights.shape[-1])
    index = torch.arange(rows.shape[0], device=weights.device)
    drawn = invert_cdf(rows.cumsum(-1, dtype=torch.float64), index, draw_uniform(index, generator))
    return drawn.reshape(weights.shape[:-1])


def draw_from(law: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """States drawn from one law [B], in proportion to its entries: -> [*shape] int64."""
    row = torch.zeros(shape, dtype=torch.int64, device=law.device).flatten()
    return invert_cdf(law.cumsum(0, dtype=torch.float64).unsqueeze(0), row, draw_uniform(row, generator)).reshape(shape)


def stratified_uniform(count: int, generator: torch.Generator | None, device: torch.device | None = None) -> Tensor:
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
    return logits.clamp_min(torch.finfo(logits.dtype).min / 4) + log_weights


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast on the device of `like`: the diffusion computes in float32 whatever the network runs in."""
    return torch.autocast(like.device.type, enabled=False)


def posterior_divergence(predicted: Tensor, true: Tensor, weight: Tensor, at: Tensor | None = None) -> Tensor:
    """Σ_y [q_y - p_y + p_y log(p_y / q_y)] in nats for p = weight true / N(true) and q = weight predicted / N(predicted): [n].

    N(v) = Σ_y weight_y v_y makes posteriors of the two, and the sum is KL(p || q). N(v) = v[at] makes rates of them, and the sum
    is the integrand of the classical bound. It is summed as p (ratio - 1 - log ratio), which is never negative and keeps its
    relative accuracy when the two are close; where p is 0 the term is q. Differentiable once, in `predicted`.

    Args:
        predicted: [n, B], positive where weight true is.
        true: [n, B] >= 0.
        weight: [n, B] >= 0.
        at: state [n] whose entry is the normaliser, or None for the sum.
    """
    return _PosteriorDivergence.apply(predicted, true, weight, at)  # type: ignore[no-any-return, no-untyped-call]


class _PosteriorDivergence(torch.autograd.Function):
    """The gradient is (weight / N) (1 - 1 / ratio), plus (Σ p - Σ q) / N at the state `at`; the values' passes make it too.

    `held` is 1 where `true` is positive and 0 where it is 0 (in between where it is below any float worth the name): a factor
    instead of a mask, which would cost more than all the arithmetic.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, predicted: Tensor, true: Tensor, weight: Tensor, at: Tensor | None
    ) -> Tensor:
        floor, most = torch.finfo(true.dtype).tiny * 1e6, torch.finfo(true.dtype).max
        p, q = weight * true, weight * predicted
        if at is None:
            true_total, total = p.sum(-1, keepdim=True), q.sum(-1, keepdim=True)
        else:
            true_total, total = true.gather(-1, at.unsqueeze(-1)), predicted.gather(-1, at.unsqueeze(-1))
        held = (true / floor).clamp_max_(1)
        ratio = predicted.div(true.clamp_min(floor)).mul_(true_total / total).clamp_max_(most)
        excess = (ratio - 1).sub_(ratio.log()).mul_(p).sum(-1, keepdim=True) / true_total
        values = excess + q.mul_(1 - held).sum(-1, keepdim=True) / total
        if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
            gradient = held.div_(ratio).neg_().add_(1).mul_(weight).div_(total)
            if at is not None:
                surplus = p.sum(-1, keepdim=True) / true_total - (weight * predicted).sum(-1, keepdim=True) / total
                gradient.scatter_add_(-1, at.unsqueeze(-1), surplus / total)
            ctx.save_for_backward(gradient)
        return values.squeeze(-1)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * upstream[0].unsqueeze(-1), None, None, None


def _with_gradient(
    function: Callable[[Tensor, Tensor], Tensor], rows: Tensor, index: Tensor, needed: bool
) -> tuple[Tensor, Tensor | None]:
    """A row-wise function's values [n] and, if it is needed, their gradient in the rows [n, B]."""
    with torch.set_grad_enabled(needed), full_precision(rows):
        rows.requires_grad_(needed)
        values = function(rows, index)
        return values.detach(), torch.autograd.grad(values.sum(), rows)[0] if needed else None


class _Blockwise(torch.autograd.Function):
    """Evaluate a row-wise function block by block, and its gradient at once: no intermediate outlives its block."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        logits: Tensor,
        function: Callable[[Tensor, Tensor], Tensor],
        blocks: Iterable[Tensor],
    ) -> Tensor:
        values = logits.new_zeros(logits.shape[0], dtype=torch.promote_types(logits.dtype, torch.float32))
        gradient = torch.zeros_like(logits) if logits.requires_grad else None
        for index in blocks:
            values[index], slope = _with_gradient(function, logits.detach()[index], index, gradient is not None)
            if gradient is not None and slope is not None:
                gradient[index] = slope
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return values

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * upstream[0].unsqueeze(-1).to(gradient.dtype), None, None


def blockwise(function: Callable[[Tensor, Tensor], Tensor], logits: Logits, blocks: Iterable[Tensor]) -> Tensor:
    """Apply a row-wise function to logits [N, B] in blocks of rows: -> [N], differentiable once in the logits.

    Args:
        function: takes (rows [n, B], index [n]) to values [n], each depending on its own row alone.
        logits: [N, B]; float16 and bfloat16 give float32 values. Of `LinearLogits` only the rows of the blocks are made.
        blocks: disjoint index tensors; rows in none of them get value 0.
    """
    if isinstance(logits, Tensor):
        return _Blockwise.apply(logits, function, blocks)  # type: ignore[no-any-return, no-untyped-call]
    device, dtype = logits.features.device, torch.promote_types(logits.dtype, torch.float32)
    values, none = (
        torch.zeros(logits.shape[0], dtype=dtype, device=device),
        torch.zeros(0, dtype=torch.int64, device=device),
    )
    groups = list(_groups(blocks, max(HELD_ELEMENTS // logits.shape[-1], 1))) or [[]]  # without rows, gradients are 0
    for group in groups:
        index = torch.cat([none, *group])
        parts = logits.features[index], logits.weight, logits.bias, function, group, torch.is_grad_enabled()
        apply = _LinearBlockwise.apply
        done = apply(*parts) if len(groups) == 1 else checkpoint(apply, *parts, use_reentrant=False)  # type: ignore[no-untyped-call]
        values = values.index_copy(0, index, done)
    return values


class _LinearBlockwise(torch.autograd.Function):
    """`_Blockwise` of the rows features weightᵀ + bias, which their gradient takes the place of, block by block.

    Upstream is one number a row, which the features take in the gradient of the weight: nothing else has the size of the rows.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        function: Callable[[Tensor, Tensor], Tensor],
        blocks: list[Tensor],
        learning: bool,
    ) -> Tensor:
        needed = learning and any(ctx.needs_input_grad)  # type: ignore[attr-defined]
        rows, bias = features @ weight.to(features.dtype).T, bias.to(features.dtype)
        values, start = rows.new_zeros(len(rows), dtype=torch.promote_types(rows.dtype, torch.float32)), 0
        for index in blocks:
            place = slice(start, start := start + len(index))
            values[place], slope = _with_gradient(function, rows[place].add_(bias).detach(), index, needed)
            if slope is not None:
                rows[place] = slope
        if needed:
            ctx.save_for_backward(features, weight, rows)
        return values

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        features, weight, gradient = ctx.saved_tensors  # type: ignore[attr-defined]
        scale = upstream[0].unsqueeze(1).to(gradient.dtype)
        to_features = (gradient @ weight.to(gradient.dtype)) * scale
        to_weight, to_bias = gradient.T @ (features.to(gradient.dtype) * scale), (gradient.T @ scale).squeeze(1)
        return to_features.to(features.dtype), to_weight.to(weight.dtype), to_bias.to(weight.dtype), None, None, None


def _groups(blocks: Iterable[Tensor], most: int) -> Iterator[list[Tensor]]:
    """Blocks in order, gathered into groups of at most so many rows, one block at least."""
    group: list[Tensor] = []
    for block in blocks:
        if group and sum(map(len, group)) + len(block) > most:
            yield group
            group = []
        group.append(block)
    if group:
        yield group

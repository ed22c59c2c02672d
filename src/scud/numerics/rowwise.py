"""Row-wise losses in blocks of rows: no intermediate of the size of all logits outlives its block."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from scud.numerics.logits import Logits

HELD_ELEMENTS = 2**27
"""Entries of logits made of `LinearLogits` at once; beyond, they are made again for the backward pass."""


Block = Tensor | slice
"""Some of the rows: their indices, or the stretch from one to another where shapes are fixed."""


class Either(NamedTuple):
    """Values [n] of rows: the first where `first` [n] is True, else the second.

    Both have a finite gradient at every row. It is not taken through the choice, which would cost four operations.
    """

    first: Tensor
    one: Tensor
    other: Tensor


Rowwise = Callable[[Tensor, Any], Tensor | Either]
"""Takes rows [n, B] and which they are, a `Block`, to values [n], each depending on its own row alone."""


def full_precision(like: Tensor) -> torch.autocast:
    """A context without autocast on the device of `like`: the diffusion computes in float32 whatever the network runs in."""
    return torch.autocast(like.device.type, enabled=False)


def _with_gradient(
    function: Rowwise, rows: Tensor, index: Block, needed: bool
) -> tuple[Tensor, Tensor | None]:
    """A row-wise function's values [n] and, if it is needed, their gradient in the rows [n, B]."""
    with torch.set_grad_enabled(needed), full_precision(rows):
        rows.requires_grad_(needed)
        values = function(rows, index)
        if isinstance(values, Either):
            return _chosen(values, rows, needed)
        slope = torch.autograd.grad(values, rows, torch.ones_like(values))[0] if needed else None
        return values.detach(), slope


def _chosen(values: Either, rows: Tensor, needed: bool) -> tuple[Tensor, Tensor | None]:
    """`_with_gradient` of values of which each row has one of two."""
    first, one, other = values
    chosen = torch.where(first, one.detach(), other.detach())
    if not needed:
        return chosen, None
    share = first.to(one.dtype)
    return chosen, torch.autograd.grad((one, other), rows, (share, 1 - share))[0]


def _scaled(ctx: torch.autograd.function.FunctionCtx, upstream: Tensor) -> Tensor:
    """The gradient [N, B] that was made with the values, times that of the values [N]."""
    (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
    scaled: Tensor = gradient * upstream.unsqueeze(-1).to(gradient.dtype)
    return scaled


class _Blockwise(torch.autograd.Function):
    """Evaluate a row-wise function block by block, and its gradient at once: no intermediate outlives its block."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        logits: Tensor,
        function: Rowwise,
        blocks: Iterable[Tensor],
    ) -> Tensor:
        values = logits.new_zeros(
            logits.shape[0], dtype=torch.promote_types(logits.dtype, torch.float32)
        )
        gradient = torch.zeros_like(logits) if logits.requires_grad else None
        for index in blocks:
            values[index], slope = _with_gradient(
                function, logits.detach()[index], index, gradient is not None
            )
            if gradient is not None and slope is not None:
                gradient[index] = slope
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return values

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor
    ) -> tuple[Tensor, None, None]:
        return _scaled(ctx, upstream[0]), None, None


class _Whole(torch.autograd.Function):
    """Evaluate a row-wise function of all rows at once, and its gradient: nothing else is kept for the backward pass."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, logits: Tensor, function: Rowwise, block: slice
    ) -> Tensor:
        values, slope = _with_gradient(function, logits.detach(), block, logits.requires_grad)
        if slope is not None:
            ctx.save_for_backward(slope)
        return values

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor
    ) -> tuple[Tensor, None, None]:
        return _scaled(ctx, upstream[0]), None, None


def stretchwise(function: Rowwise, logits: Logits, stretches: Sequence[slice]) -> Tensor:
    """`blockwise` for all rows, in stretches one after the other: no shape depends on a number.

    Args:
        function: its gradient must be finite at every row.
        logits: [N, B].
        stretches: from the first row to the last.
    """
    if torch.compiler.is_compiling():
        return _compiled(function, logits, stretches)
    sizes = [part.stop - part.start for part in stretches]
    if isinstance(logits, Tensor):
        pieces = zip(torch.split(logits, sizes), stretches, strict=True)
        done = [_Whole.apply(piece, function, part) for piece, part in pieces]  # type: ignore[no-untyped-call]
        return done[0] if len(done) == 1 else torch.cat(done)
    done = []
    for features, part in zip(torch.split(logits.features, sizes), stretches, strict=True):
        learning = torch.is_grad_enabled()
        parts = (features, logits.weight, logits.bias, function, [part], learning)
        apply = _LinearBlockwise.apply
        whole = len(stretches) == 1
        done.append(apply(*parts) if whole else checkpoint(apply, *parts, use_reentrant=False))  # type: ignore[no-untyped-call]
    return torch.cat(done)


def _compiled(function: Rowwise, logits: Logits, stretches: Sequence[slice]) -> Tensor:
    """`stretchwise` for a compiler, which makes the gradient by itself, and chooses what is kept for it."""

    def part_of(rows: Tensor, part: slice) -> Tensor:
        with full_precision(rows):
            values = function(rows, part)
            return torch.where(*values) if isinstance(values, Either) else values

    if len(stretches) == 1:
        return part_of(logits[stretches[0]], stretches[0])
    return torch.cat(
        [
            checkpoint(lambda part: part_of(logits[part], part), part, use_reentrant=False)
            for part in stretches
        ]
    )


def blockwise(function: Rowwise, logits: Logits, blocks: Iterable[Tensor]) -> Tensor:
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
    groups = list(_groups(blocks, max(HELD_ELEMENTS // logits.shape[-1], 1))) or [
        []
    ]  # without rows, gradients are 0
    for group in groups:
        index = torch.cat([none, *group])
        parts = (
            logits.features[index],
            logits.weight,
            logits.bias,
            function,
            group,
            torch.is_grad_enabled(),
        )
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
        function: Rowwise,
        blocks: list[Block],
        learning: bool,
    ) -> Tensor:
        needed = learning and any(ctx.needs_input_grad)  # type: ignore[attr-defined]
        rows, bias = features @ weight.to(features.dtype).T, bias.to(features.dtype)
        values, start = (
            rows.new_zeros(len(rows), dtype=torch.promote_types(rows.dtype, torch.float32)),
            0,
        )
        for index in blocks:
            count = index.stop - index.start if isinstance(index, slice) else len(index)
            place = slice(start, start := start + count)
            values[place], slope = _with_gradient(
                function, rows[place].add_(bias).detach(), index, needed
            )
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
        to_weight, to_bias = (
            gradient.T @ (features.to(gradient.dtype) * scale),
            (gradient.T @ scale).squeeze(1),
        )
        return (
            to_features.to(features.dtype),
            to_weight.to(weight.dtype),
            to_bias.to(weight.dtype),
            None,
            None,
            None,
        )


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

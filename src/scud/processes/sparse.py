"""Sparse kernels with a jump that forgets: K = A + 1 vᵀ over tens of thousands of states, never a [B, B] array.

A >= 0 has few entries and rows that sum to q < 1; v >= 0 has the sum 1 - q. Because A 1 = q 1,

    K^s = A^s + 1 v_sᵀ,      v_s = Σ_{j < s} v Aʲ,

so that a row, a column or a product is a walk of s sparse steps and one vector from a table. All terms are >= 0: nothing cancels,
and entries keep their relative accuracy in float32. Where v > 0, every entry of K^s, s > 0, is positive.

Walks hold their vectors as the columns of [B, n]: a step gathers rows of n numbers that lie together. Tiles have a block's size.
Rows of unequal counts leave their tile when they are done. A walk from a single state is a short list of states at first.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from scud import numerics
from scud.processes.ancestors import SPARSE_SHARE, Ancestors, Edges, leaving, scattered
from scud.processes.kernel import Identity, Kernel, Operator, block_rows, check_small

REMEMBERED = {torch.float32: 1e-8, torch.float64: 1e-12}
"""A^s of less mass is not told apart from A^(s + 1), by the type of the table of v_s."""

DOUBLE_ELEMENTS = 2**20
"""Entries of that table up to which it is in float64; beyond, it is in float32."""


@dataclass(frozen=True)
class _Walk:
    """One way to walk: `leave` lists where a state's mass goes, `into` gathers what comes to each state."""

    leave: Edges
    into: Edges

    def start(self, state: Tensor, steps: int, dtype: torch.dtype) -> tuple[Tensor, int]:
        """Single states [n] after up to `steps` steps, as a list allows: columns [B, n], and how many steps were made."""
        num_states, width = len(self.leave.first) - 1, len(state)
        owner, done = torch.arange(width, device=state.device), 0
        mass = torch.ones(width, dtype=torch.float64, device=state.device)
        while done < steps and self.leave.size(state) <= SPARSE_SHARE * width * num_states:
            which, to, value = self.leave.entries(state)
            owner, state, mass, done = owner[which], to, mass[which] * value, done + 1
        return scattered(num_states, width, state, owner, mass, dtype), done


class SparseKernel(Kernel):
    """K^s for K = A + 1 vᵀ.

    Args:
        row, column, values: the entries of A, each [entries]; values > 0, every row with the same sum q < 1.
        jump: v [B] > 0, float64, of sum 1 - q; 0 < q < 1.
    """

    jump: Tensor
    jumps: Tensor
    cumulative: Tensor
    rounding = (0.0, 0.0)

    def __init__(self, row: Tensor, column: Tensor, values: Tensor, jump: Tensor) -> None:
        num_states = len(jump)
        out, into = Edges(row, column, values, num_states), Edges(column, row, values, num_states)
        self.kept = 1 - float(jump.sum())
        dtype = torch.float64
        if self._steps_to(dtype) * num_states > DOUBLE_ELEMENTS:
            dtype = torch.float32
        self.longest = self._steps_to(dtype)
        jumps, total, step = [torch.zeros_like(jump, dtype=dtype)], torch.zeros_like(jump), jump
        for _ in range(self.longest):
            total = total + step
            step = into.times(step.unsqueeze(1)).squeeze(1)
            jumps.append(total.to(dtype))
        super().__init__(total / total.sum())
        self._last: tuple[tuple[Tensor, Tensor, torch.dtype], Ancestors, Tensor] | None = None
        self.out, self.into = out, into
        self.register_buffer("jump", jump, persistent=False)
        self.register_buffer("jumps", torch.stack(jumps), persistent=False)
        self.register_buffer("cumulative", out.values.cumsum(0), persistent=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_last": None}

    def _steps_to(self, dtype: torch.dtype) -> int:
        """Steps after which A^s has no mass to speak of, for a table of this type."""
        return max(math.ceil(math.log(REMEMBERED[dtype]) / math.log(self.kept)), 1)

    @property
    def forward_walk(self) -> _Walk:
        """From states on: rows of A^s."""
        return _Walk(self.out, self.into)

    @property
    def backward_walk(self) -> _Walk:
        """From states back to where they may have come from: columns of A^s."""
        return _Walk(self.into, self.out)

    def counts(self, amounts: Tensor) -> Tensor:
        """Counts of events that are told apart, int64."""
        return amounts.clamp_max(self.longest).long()

    def matrices(self, amounts: Tensor) -> Tensor:
        check_small(self.num_states, "a dense matrix")
        states = torch.arange(self.num_states, device=amounts.device)
        rows = self.general_operator(amounts.repeat_interleave(self.num_states)).rows(states.repeat(len(amounts)))
        dense = rows.reshape(-1, self.num_states, self.num_states)
        return dense / dense.sum(-1, keepdim=True)

    def operator(self, amounts: Tensor) -> Operator:
        return Identity(self.num_states) if float(amounts.max()) == 0 else self.general_operator(amounts)

    def general_operator(self, amounts: Tensor) -> Operator:
        return SparseOperator(self, self.counts(amounts))

    def event_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        columns = self.jump.to(dtype)[index].unsqueeze(1).repeat(1, self.num_states)
        which, to, value = self.into.entries(index)
        return columns.index_put_((which, to), value.to(dtype), accumulate=True)

    def event_log_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        columns = self.jump.log().to(dtype)[index].unsqueeze(1).repeat(1, self.num_states)
        which, to, value = self.into.entries(index)
        return columns.index_put_((which, to), (value + self.jump[index[which]]).log().to(dtype))

    def ancestors(self, counts: Tensor, states: Tensor, dtype: torch.dtype) -> tuple[Ancestors, Tensor]:
        """A^s[:, x] for counts s and states x [N]: those of the distinct pairs, and which pair each is, [N].

        The last ones are kept: the loss asks for what the evidence has asked for.
        """
        key = (counts, states, dtype)
        if self._last is None or not _same(self._last[0], key):
            pairs, place = torch.unique(counts * self.num_states + states, return_inverse=True)
            found = Ancestors(self, pairs // self.num_states, pairs % self.num_states, dtype)
            self._last = key, found, place
        return self._last[1:]

    def columns_at(self, amounts: Tensor, states: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        counts = self.counts(amounts)
        found, place = self.ancestors(counts, states, dtype)
        jumps = self.jumps[counts, states].to(dtype).unsqueeze(1)
        return lambda index: found.columns(place[index]).add_(jumps[index])

    def pushed(self, law: Tensor, amounts: Tensor) -> Tensor:
        counts, place = torch.unique(self.counts(amounts), return_inverse=True)
        walked = torch.cat(list(self._walked(law.double().unsqueeze(1), counts)), 1).T
        return (walked + law.sum() * self.jumps[counts].double())[place]

    def divergences(self, p0: Tensor, amounts: Tensor, states: Tensor | None = None) -> Tensor:
        # Of a row M and the mixture p0 M the jumps are the same: their difference is exact, and so are small divergences.
        states = torch.arange(self.num_states, device=p0.device) if states is None else states
        counts, place = torch.unique(self.counts(amounts), return_inverse=True)
        means = list(self._walked(p0.double().unsqueeze(1), counts))
        dtype, found = self.jumps.dtype, torch.zeros(len(counts), len(states), dtype=torch.float64, device=p0.device)
        for part in torch.split(torch.arange(len(states), device=p0.device), block_rows(self.num_states, states)):
            columns, _ = self.forward_walk.start(states[part], 0, dtype)
            rows = self._walked(columns, counts)
            for row, mean, jump, values in zip(rows, means, self.jumps[counts], found, strict=True):
                mixture = (mean + jump.double().unsqueeze(1)).to(dtype)
                excess = ((row - mean) / mixture).to(dtype).clamp_min_(-1)
                values[part] = (mixture.T @ torch.special.xlog1py(1 + excess, excess).sub_(excess)).squeeze(0).double()
        return found[place].clamp_min_(0)

    def _walked(self, columns: Tensor, counts: Tensor) -> Iterator[Tensor]:
        """The columns [B, n] after ascending counts [m] of steps along the edges."""
        done = 0
        for count in counts.tolist():
            for _ in range(count - done):
                columns = self.into.times(columns)
            done = count
            yield columns

    def draw(self, index: Tensor, amounts: Tensor, generator: torch.Generator | None) -> Tensor:
        """Since the last jump by v, if there was one, a state has walked by A / q alone: how many steps is geometric in q."""
        states, left = index.reshape(-1), self.counts(amounts.reshape(-1))
        since = numerics.draw_uniform(states, generator).neg().log1p() / math.log(self.kept)
        jumped = numerics.draw_from(self.jump, states.shape, generator)
        states = torch.where(since < left, jumped, states)
        left = torch.minimum(since.floor().long(), left)
        ends = F.pad(self.cumulative, (1, 0))[self.out.first.long()]
        while int(left.max()):
            moving = left.nonzero().squeeze(-1)
            low, high = ends[states[moving]], ends[states[moving] + 1]
            target = low + numerics.draw_uniform(low, generator) * (high - low)
            place = torch.searchsorted(self.cumulative, target, right=True)
            first, end = self.out.first[states[moving]].long(), self.out.first[states[moving] + 1].long()
            states = states.index_copy(0, moving, self.out.index[place.clamp(first, end - 1)].long())
            left = left.index_add(0, moving, torch.full_like(moving, -1))
        return states.reshape(index.shape)


class SparseOperator(Operator):
    """K^s for rows of counts s [N]."""

    rounding = (0.0, 0.0)

    def __init__(self, kernel: SparseKernel, counts: Tensor) -> None:
        self.kernel, self.counts = kernel, counts

    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        walked = self._from_states(index, self.kernel.forward_walk, dtype)
        return walked.add_(self.kernel.jumps[self.counts].to(dtype))

    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        walked = self._from_states(index, self.kernel.backward_walk, dtype)
        return walked.add_(self.kernel.jumps[self.counts, index].to(dtype).unsqueeze(1))

    def apply(self, vectors: Tensor) -> Tensor:
        return _Push.apply(vectors, self)  # type: ignore[no-any-return, no-untyped-call]

    def law(self, p: Tensor) -> Tensor:
        return self.apply(p)  # positive as it is

    def walk(self, vectors: Tensor, walk: _Walk) -> Tensor:
        """vectors_n A^s_n, or A^s_n vectors_n, by the way of walking: [N, B] -> [N, B]."""
        walked = torch.empty_like(vectors)
        for tile in self._tiles():
            columns = vectors[tile].T.contiguous()
            self._put(walked, tile, leaving(walk.into, columns, 0, self.counts[tile]))
        return walked

    def _from_states(self, index: Tensor, walk: _Walk, dtype: torch.dtype) -> Tensor:
        walked = torch.empty(len(index), self.kernel.num_states, dtype=dtype, device=index.device)
        for tile in self._tiles():
            columns, done = walk.start(index[tile], int(self.counts[tile[0]]), dtype)
            self._put(walked, tile, leaving(walk.into, columns, done, self.counts[tile]))
        return walked

    def _tiles(self) -> Sequence[Tensor]:
        """Rows of like counts, in ascending order."""
        return torch.split(self.counts.argsort(stable=True), block_rows(self.kernel.num_states, self.counts))

    @staticmethod
    def _put(walked: Tensor, tile: Tensor, parts: Iterator[Tensor]) -> None:
        """Columns that leave a tile, as the rows of `walked` that they belong to."""
        start = 0
        for columns in parts:
            walked[tile[start : start + columns.shape[1]]] = columns.T
            start += columns.shape[1]


class _Push(torch.autograd.Function):
    """vectors K^s; the gradient walks the other way."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, vectors: Tensor, operator: SparseOperator) -> Tensor:
        ctx.operator = operator  # type: ignore[attr-defined]
        jumps = operator.kernel.jumps[operator.counts].to(vectors.dtype)
        return operator.walk(vectors, operator.kernel.forward_walk).addcmul_(vectors.sum(-1, keepdim=True), jumps)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor) -> tuple[Tensor, None]:
        operator: SparseOperator = ctx.operator  # type: ignore[attr-defined]
        jumps = operator.kernel.jumps[operator.counts].to(upstream[0].dtype)
        walked = operator.walk(upstream[0], operator.kernel.backward_walk)
        return walked.add_((upstream[0] * jumps).sum(-1, keepdim=True)), None


def _same(key: tuple[Tensor, Tensor, torch.dtype], other: tuple[Tensor, Tensor, torch.dtype]) -> bool:
    """Whether two keys of `ancestors` ask for the same."""
    return key[2] == other[2] and all(
        ours.device == theirs.device and torch.equal(ours, theirs)
        for ours, theirs in zip(key[:2], other[:2], strict=True)
    )

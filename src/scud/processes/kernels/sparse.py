"""Sparse kernels with a jump that forgets: K = A + 1 vᵀ over tens of thousands of states, never a [B, B] array.

A >= 0 has few entries and rows that sum to q < 1; v >= 0 has the sum 1 - q. Because A 1 = q 1,

    K^s = A^s + 1 v_sᵀ,      v_s = Σ_{j < s} v Aʲ,

so that a row, a column or a product is a walk of s sparse steps and one vector from a table. All terms are >= 0: nothing cancels,
and entries keep their relative accuracy in float32. Where v > 0, every entry of K^s, s > 0, is positive.

Walks hold their vectors as the columns of [B, n]: a step gathers rows of n numbers that lie together. Tiles have a block's size.
Rows of unequal counts leave their tile a few at a time. A walk from a single state is a short list of states at first.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor
from torch.nn import functional as F

from scud import numerics
from scud.numerics.memory import check_memory
from scud.processes.kernels.ancestors import AncestorSource
from scud.processes.kernels.base import LARGE, Kernel, block_rows, check_small
from scud.processes.kernels.operator import Identity, Operator
from scud.processes.kernels.walks import Graph, Walked

REMEMBERED = {torch.float32: 1e-8, torch.float64: 1e-12}
"""A^s of less mass is not told apart from A^(s + 1), by the type of the table of v_s."""

DOUBLE_ELEMENTS = 2**20
"""Entries of that table up to which it is in float64; beyond, it is in float32."""

KEPT_ELEMENTS = 2**26
"""Entries of the columns kept from one use to the next, at most (256 MB)."""


class SparseKernel(Kernel):
    """K^s for K = A + 1 vᵀ.

    Args:
        row, column, values: the entries of A, each [entries], no place twice; values > 0, every row of the same sum q < 1.
        jump: v [B] > 0, float64, of sum 1 - q; 0 < q < 1.
    """

    jump: Tensor
    jumps: Tensor
    cumulative: Tensor
    rounding = (0.0, 0.0)

    def __init__(self, row: Tensor, column: Tensor, values: Tensor, jump: Tensor) -> None:
        num_states = len(jump)
        order = _near(row, column, num_states)
        out, into = (Graph(*ends, values, order) for ends in ((row, column), (column, row)))
        self.kept = 1 - float(jump.sum())
        dtype = torch.float64
        if self._steps_to(dtype) * num_states > DOUBLE_ELEMENTS:
            dtype = torch.float32
        self.longest = self._steps_to(dtype)
        size = 2 * (self.longest + 1) * num_states * dtype.itemsize
        found = f"{self.longest:,} events of {num_states:,} states"
        remedy = "raise the rate of jumps (process.marginal_rate), or gamma"
        check_memory("the noise", size, found, remedy)
        jumps, total, step = [torch.zeros_like(jump, dtype=dtype)], torch.zeros_like(jump), jump
        for _ in range(self.longest):
            total = total + step
            step = into.times(step.unsqueeze(1)).squeeze(1)
            jumps.append(total.to(dtype))
        super().__init__(total / total.sum())
        self._last: tuple[tuple[Tensor, Tensor, torch.dtype], Walked, Tensor] | None = None
        self.out, self.into = out, into
        self.register_buffer("jump", jump, persistent=False)
        self.register_buffer("jumps", torch.stack(jumps), persistent=False)
        self.register_buffer("cumulative", out.values.cumsum(0), persistent=False)

    @property
    def is_sampled(self) -> bool:
        return self.num_states > LARGE

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_last": None}

    def is_fixed(self, amounts: Tensor) -> bool:  # noqa: ARG002
        """Never: walks are as long as the counts that occur, and their lists as the states that they reach."""
        return False

    def _steps_to(self, dtype: torch.dtype) -> int:
        """Steps after which A^s has no mass to speak of, for a table of this type."""
        return max(math.ceil(math.log(REMEMBERED[dtype]) / math.log(self.kept)), 1)

    def counts(self, amounts: Tensor) -> Tensor:
        """Counts of events that are told apart, int64."""
        return amounts.clamp_max(self.longest).long()

    def matrices(self, amounts: Tensor) -> Tensor:
        check_small(self.num_states, "a dense matrix")
        states = torch.arange(self.num_states, device=amounts.device)
        rows = SparseOperator(self, self.counts(amounts.repeat_interleave(self.num_states))).rows(
            states.repeat(len(amounts))
        )
        dense = rows.reshape(-1, self.num_states, self.num_states)
        return dense / dense.sum(-1, keepdim=True)

    def operator(self, amounts: Tensor) -> Operator:
        if float(amounts.max()) == 0:
            return Identity(self.num_states)
        return SparseOperator(self, self.counts(amounts))

    def event_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        columns = self.jump.to(dtype)[index].unsqueeze(1).repeat(1, self.num_states)
        which, to, value = self.into.entries(index)
        columns.view(-1).index_add_(0, which * self.num_states + to, value.to(dtype))
        return columns

    def event_log_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        columns = self.jump.log().to(dtype)[index].unsqueeze(1).repeat(1, self.num_states)
        which, to, value = self.into.entries(index)
        columns.view(-1)[which * self.num_states + to] = (
            (value + self.jump[index[which]]).log().to(dtype)
        )
        return columns

    def ancestors(
        self, counts: Tensor, states: Tensor, dtype: torch.dtype
    ) -> tuple[Walked, Tensor]:
        """A^s[:, x] for counts s and states x [N]: those of the distinct pairs, and which pair each is, [N].

        The last ones are kept, if they are not too many: the loss asks for what the evidence has asked for.
        """
        key = (counts, states, dtype)
        if self._last is not None and _same(self._last[0], key):
            return self._last[1:]
        with torch.inference_mode(False):  # what is kept may be needed in training
            counts, states = counts.clone(), states.clone()
            pairs, place = torch.unique(counts * self.num_states + states, return_inverse=True)
            found = Walked(
                self.into, self.out, pairs // self.num_states, pairs % self.num_states, dtype
            )
        kept = found.dense.numel() <= KEPT_ELEMENTS
        self._last = ((counts, states, dtype), found, place) if kept else None
        return found, place

    def columns_at(
        self, amounts: Tensor, states: Tensor, dtype: torch.dtype
    ) -> Callable[[Tensor], Tensor]:
        counts = self.counts(amounts)
        found, place = self.ancestors(counts, states, dtype)
        jumps = self.jumps[counts, states].to(dtype)
        return lambda index: found.vectors(place[index], jumps[index])

    def push_forward(self, law: Tensor, amounts: Tensor) -> Tensor:
        counts, place = torch.unique(self.counts(amounts), return_inverse=True)
        walked = torch.cat(list(self.into.powers(law.double().unsqueeze(1), counts)), 1).T
        return (walked + law.sum() * self.jumps[counts].double())[place]

    def divergences(self, p0: Tensor, amounts: Tensor, states: Tensor | None = None) -> Tensor:
        # Of a row M and the mixture p0 M the jumps are the same and cancel: small divergences keep their digits.
        states = torch.arange(self.num_states, device=p0.device) if states is None else states
        counts, place = torch.unique(self.counts(amounts), return_inverse=True)
        means = list(self.into.powers(p0.double().unsqueeze(1), counts))
        dtype, found = (
            self.jumps.dtype,
            torch.zeros(len(counts), len(states), dtype=torch.float64, device=p0.device),
        )
        for part in torch.split(
            torch.arange(len(states), device=p0.device), block_rows(self.num_states, states)
        ):
            rows = self.into.powers(F.one_hot(states[part], self.num_states).T.to(dtype), counts)
            for row, mean, jump, values in zip(rows, means, self.jumps[counts], found, strict=True):
                mixture = (mean + jump.double().unsqueeze(1)).to(dtype)
                excess = ((row - mean) / mixture).to(dtype).clamp_min_(-1)
                values[part] = (
                    (mixture.T @ torch.special.xlog1py(1 + excess, excess).sub_(excess))
                    .squeeze(0)
                    .double()
                )
        return found[place].clamp_min_(0)

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
            first, end = (
                self.out.first[states[moving]].long(),
                self.out.first[states[moving] + 1].long(),
            )
            states = states.index_copy(
                0, moving, self.out.index[place.clamp(first, end - 1)].long()
            )
            left = left.index_add(0, moving, torch.full_like(moving, -1))
        return states.reshape(index.shape)

    def evidence(
        self,
        p0: Tensor,
        start: float,  # noqa: ARG002
        end: float,  # noqa: ARG002
        counts: bool,  # noqa: ARG002
    ) -> AncestorSource:
        totals = self.push_forward(p0, torch.arange(self.longest + 1, dtype=torch.float64))
        return AncestorSource(self, p0, totals.to(self.jumps.dtype))


class SparseOperator(Operator):
    """K^s for rows of counts s [N]."""

    rounding = (0.0, 0.0)

    def __init__(self, kernel: SparseKernel, counts: Tensor) -> None:
        self.kernel = kernel
        self.order: Tensor | None = (
            None if bool((counts.diff() >= 0).all()) else counts.argsort(stable=True)
        )
        self.counts, self.ascending = counts, self._sorted(counts)

    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        walked = self._walked_from(index, self.kernel.out, self.kernel.into, dtype)
        places = torch.arange(len(index), device=index.device)
        found = walked.vectors(places, places.new_zeros(len(index), dtype=dtype))
        return self._unsorted(found).add_(self.kernel.jumps[self.counts].to(dtype))

    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        walked = self._walked_from(index, self.kernel.into, self.kernel.out, dtype)
        places = torch.arange(len(index), device=index.device)
        return self._unsorted(
            walked.vectors(places, self.kernel.jumps[self.ascending, self._sorted(index)].to(dtype))
        )

    def apply(self, vectors: Tensor) -> Tensor:
        return _Push.apply(vectors, self)  # type: ignore[no-any-return, no-untyped-call]

    def law(self, p: Tensor) -> Tensor:
        return self.apply(p)  # positive as it is

    def walk(self, vectors: Tensor, edges: Graph) -> Tensor:
        """vectors_n A^s_n, or A^s_n vectors_n, by the edges that gather: [N, B] -> [N, B]."""
        begun, walked = self._sorted(vectors), torch.empty_like(vectors)
        tiles = (
            torch.split(rows, block_rows(self.kernel.num_states, vectors))
            for rows in (begun, walked, self.ascending)
        )
        for before, after, counts in zip(*tiles, strict=True):
            edges.write(edges.walk(before.T.index_select(0, edges.order), counts), after)
        return self._unsorted(walked)

    def _walked_from(self, index: Tensor, leave: Graph, into: Graph, dtype: torch.dtype) -> Walked:
        """Single states [N] after their counts of steps, in ascending order of these."""
        return Walked(leave, into, self.ascending, self._sorted(index), dtype)

    def _sorted(self, rows: Tensor) -> Tensor:
        """Rows [N, ...] in the order of their counts."""
        return rows if self.order is None else rows[self.order]

    def _unsorted(self, rows: Tensor) -> Tensor:
        """Rows [N, ...] from the order of their counts back to their own."""
        return rows if self.order is None else rows[self.order.argsort()]


class _Push(torch.autograd.Function):
    """vectors K^s; the gradient walks the other way."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, vectors: Tensor, operator: SparseOperator
    ) -> Tensor:
        ctx.operator = operator  # type: ignore[attr-defined]
        jumps = operator.kernel.jumps[operator.counts].to(vectors.dtype)
        return operator.walk(vectors, operator.kernel.into).addcmul_(
            vectors.sum(-1, keepdim=True), jumps
        )

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor
    ) -> tuple[Tensor, None]:
        operator: SparseOperator = ctx.operator  # type: ignore[attr-defined]
        jumps = operator.kernel.jumps[operator.counts].to(upstream[0].dtype)
        walked = operator.walk(upstream[0], operator.kernel.out)
        return walked.add_((upstream[0] * jumps).sum(-1, keepdim=True)), None


def _near(row: Tensor, column: Tensor, num_states: int) -> Tensor:
    """States in an order in which those that share an entry lie together, [B]."""
    matrix = coo_array(
        (np.ones(len(row)), (row.cpu().numpy(), column.cpu().numpy())),
        shape=(num_states, num_states),
    )
    order = reverse_cuthill_mckee((matrix + matrix.T).tocsr(), symmetric_mode=True)
    return torch.from_numpy(order.astype(np.int64)).to(row.device)


def _same(
    key: tuple[Tensor, Tensor, torch.dtype], other: tuple[Tensor, Tensor, torch.dtype]
) -> bool:
    """Whether two keys of `ancestors` ask for the same."""
    return key[2] == other[2] and all(
        ours.device == theirs.device and torch.equal(ours, theirs)
        for ours, theirs in zip(key[:2], other[:2], strict=True)
    )

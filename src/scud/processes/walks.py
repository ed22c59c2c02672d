"""Where single states are after some steps along the edges of a graph: lists while these are short.

After s steps a state has come to (or from) one of a few states, then hundreds, thousands, all. So the vectors of small counts are
rows of one sparse matrix, and only the others are walked on as dense ones.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scud.processes.kernel import block_rows

SPARSE_SHARE = 1 / 16
"""The share of their entries up to which vectors are kept as lists."""


PIECE = 2048
"""Entries of each column that are transposed at once."""


class Edges(nn.Module):
    """A sparse matrix [n, B] by rows: `values` at columns `index`, the row i between first[i] and first[i + 1]."""

    first: Tensor
    index: Tensor
    values: Tensor

    def __init__(self, row: Tensor, column: Tensor, values: Tensor, rows: int) -> None:
        """Entries with row, column and value, [entries] each, the rows ascending."""
        super().__init__()
        counts = torch.bincount(row, minlength=rows)
        first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.register_buffer("first", first.int(), persistent=False)
        self.register_buffer("index", column.int(), persistent=False)
        self.register_buffer("values", values.double(), persistent=False)

    def times(self, columns: Tensor) -> Tensor:
        """The matrix times columns [B, d]: -> [n, d], differentiable in the columns."""
        return self.step(columns.dtype)(columns)

    def step(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """`times` for columns of one type."""
        values = self.values.to(dtype)
        return lambda columns: F.embedding_bag(
            self.index, columns, self.first[:-1], mode="sum", per_sample_weights=values
        )

    def transposed(self, columns: int) -> "Edges":
        """The transpose [B, n] of the matrix, B its number of columns."""
        rows = torch.arange(len(self.first) - 1, device=self.first.device).repeat_interleave(self.first.diff())
        order = self.index.argsort(stable=True)
        return Edges(self.index[order], rows[order], self.values[order], columns)

    def size(self, row: Tensor) -> int:
        """Entries in rows [m], together."""
        return int((self.first[row + 1] - self.first[row]).sum())

    def entries(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All entries in rows [m]: which of the m, the column, the value, each [entries]."""
        start, count = self.first[row].long(), (self.first[row + 1] - self.first[row]).long()
        which = torch.arange(len(row), device=row.device).repeat_interleave(count)
        place = torch.arange(len(which), device=row.device) + (start - (count.cumsum(0) - count))[which]
        return which, self.index[place].long(), self.values[place]


class Walked:
    """States after ascending counts of steps.

    Args:
        leave: where a step leads from a state.
        into: the transpose, by which dense vectors walk on.
        counts: steps [n] int64, ascending.
        states: where each begins, [n] int64.
        dtype: of the vectors that are not lists.
    """

    def __init__(self, leave: Edges, into: Edges, counts: Tensor, states: Tensor, dtype: torch.dtype) -> None:
        self.num_states = len(leave.first) - 1
        owner = torch.arange(len(counts), device=counts.device)
        state, mass = states, torch.ones(len(counts), dtype=torch.float64, device=counts.device)
        done, lists = 0, []
        while len(owner):
            ready = counts[owner] == done
            lists.append((owner[ready], state[ready], mass[ready]))
            owner, state, mass = owner[~ready], state[~ready], mass[~ready]
            if leave.size(state) > SPARSE_SHARE * int((counts > done).sum()) * self.num_states:
                break
            which, to, value = leave.entries(state)
            owner, state, mass, done = owner[which], to, mass[which] * value, done + 1
        self.listed = int((counts <= done).sum()) if len(owner) else len(counts)
        whose, which, masses = (torch.cat(parts) for parts in zip(*lists, strict=True))
        self.lists = Edges(whose, which, masses, self.listed)
        self.dense = torch.empty(len(counts) - self.listed, self.num_states, dtype=dtype, device=counts.device)
        if len(self.dense):
            begun = Edges(owner - self.listed, state, mass, len(self.dense))
            self._walk_on(begun, into, counts[self.listed :] - done)

    def _walk_on(self, begun: Edges, into: Edges, left: Tensor) -> None:
        """Fill `dense` with the vectors that have ascending counts of steps left, from what they are so far."""
        for tile in torch.split(torch.arange(len(left), device=left.device), block_rows(self.num_states, left)):
            which, state, mass = begun.entries(tile)
            columns = torch.zeros(self.num_states, len(tile), dtype=self.dense.dtype, device=left.device)
            columns.view(-1).index_add_(0, state * len(tile) + which, mass.to(columns.dtype))
            start = int(tile[0])
            for part in leaving(into, columns, left[tile]):
                transpose_to(self.dense[start : start + part.shape[1]], part)
                start += part.shape[1]

    def times(self, weight: Tensor) -> Tensor:
        """The vectors times a weight [B, d] of the type given: -> [n, d], differentiable in it."""
        return _Times.apply(weight, self)  # type: ignore[no-any-return, no-untyped-call]

    def vectors(self, place: Tensor, added: Tensor) -> Tensor:
        """Some of the vectors, of those at `place` [m], plus a number for each, [m]: -> [m, B]."""
        long, added = place >= self.listed, added.unsqueeze(1)
        if bool(long.all()):
            return self.dense[place - self.listed].add_(added)
        found = added.repeat(1, self.num_states)
        (listed,) = (~long).nonzero(as_tuple=True)
        which, state, mass = self.lists.entries(place[listed])
        found.view(-1).index_add_(0, listed[which] * self.num_states + state, mass.to(found.dtype))
        found[long] += self.dense[place[long] - self.listed]
        return found


class _Times(torch.autograd.Function):
    """Walked vectors times a weight. Its gradient is made in one array of its size: three cost more than the sums in them."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, weight: Tensor, walked: Walked) -> Tensor:
        ctx.walked = walked  # type: ignore[attr-defined]
        return torch.cat([walked.lists.times(weight), walked.dense @ weight])

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor) -> tuple[Tensor, None]:
        walked: Walked = ctx.walked  # type: ignore[attr-defined]
        short, long = upstream[0][: walked.listed], upstream[0][walked.listed :]
        return walked.lists.transposed(walked.num_states).times(short).addmm_(walked.dense.T, long), None


def transpose_to(rows: Tensor, columns: Tensor) -> None:
    """Write columns [B, n] to rows [n, B], a few at a time: at once it takes three times as long."""
    for part, entries in zip(torch.split(rows, PIECE, 1), torch.split(columns, PIECE), strict=True):
        part.copy_(entries.T)


def leaving(edges: Edges, columns: Tensor, counts: Tensor) -> Iterator[Tensor]:
    """Walk columns [B, n] by edges that gather: each part of them when its count of steps [n], ascending, is reached."""
    values, sizes = torch.unique_consecutive(counts, return_counts=True)
    step, done = edges.step(columns.dtype), 0
    for count, size in zip(values.tolist(), sizes.tolist(), strict=True):
        for _ in range(count - done):
            columns = step(columns)
        done = count
        yield columns[:, :size]
        columns = columns[:, size:].contiguous()

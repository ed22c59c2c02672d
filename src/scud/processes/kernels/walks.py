"""Where single states are after some steps along the edges of a graph: lists while these are short.

After s steps a state has come to (or from) one of a few states, then hundreds, thousands, all. So the vectors of small counts are
rows of one sparse matrix, and only the others are walked on as dense ones.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scud.processes.kernels.base import block_rows

SPARSE_SHARE = 1 / 16
"""The share of their entries up to which vectors are kept as lists."""

PIECE = 2048
"""Entries of each column that are transposed at once: all of them at once take three times as long."""

LEAVING = 8
"""Columns that leave a walk together: until then, those that are done walk on for nothing."""


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
        """The matrix times columns [B, d]: -> [n, d]."""
        values = self.values.to(columns.dtype)
        return F.embedding_bag(
            self.index, columns, self.first[:-1], mode="sum", per_sample_weights=values
        )

    def transposed(self, columns: int) -> "Edges":
        """The transpose [B, n] of the matrix, B its number of columns."""
        rows = torch.arange(len(self.first) - 1, device=self.first.device).repeat_interleave(
            self.first.diff()
        )
        order = self.index.argsort(stable=True)
        return Edges(self.index[order], rows[order], self.values[order], columns)

    def size(self, row: Tensor) -> int:
        """Entries in rows [m], together."""
        return int((self.first[row + 1] - self.first[row]).sum())

    def entries(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All entries in rows [m]: which of the m, the column, the value, each [entries]."""
        start, count = self.first[row].long(), (self.first[row + 1] - self.first[row]).long()
        which = torch.arange(len(row), device=row.device).repeat_interleave(count)
        place = (start - (count.cumsum(0) - count)).index_select(0, which)
        place += torch.arange(len(which), device=row.device)
        return which, self.index.index_select(0, place).long(), self.values.index_select(0, place)


class Graph(Edges):
    """Edges between B states, along which dense columns walk with the states in another order, in which neighbours lie together.

    A step gathers rows from all over the columns, which takes half as long if these are near each other. In that order, `near`
    are the columns of the entries, `begin` the first entry of each row; `entry` says which of the values are theirs.
    """

    order: Tensor
    place: Tensor
    near: Tensor
    entry: Tensor
    begin: Tensor

    def __init__(self, row: Tensor, column: Tensor, values: Tensor, order: Tensor) -> None:
        """Entries in any order, no place twice; order [B], the state at each place of the other order."""
        by_row = row.argsort(stable=True)
        super().__init__(row[by_row], column[by_row], values[by_row], len(order))
        place = order.argsort()
        entry = place[row[by_row]].argsort(stable=True)
        lengths = self.first.diff()[order]
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("near", place[column[by_row]][entry].int(), persistent=False)
        self.register_buffer("entry", entry.int(), persistent=False)
        self.register_buffer("begin", (lengths.cumsum(0) - lengths).int(), persistent=False)

    def powers(self, columns: Tensor, counts: Tensor) -> Iterator[Tensor]:
        """Columns [B, n] after each of ascending counts [m] of steps."""
        step, columns, done = self._step(columns.dtype), columns.index_select(0, self.order), 0
        for count in counts.tolist():
            for _ in range(count - done):
                columns = step(columns)
            done = count
            yield columns.index_select(0, self.place)

    def walk(self, columns: Tensor, counts: Tensor) -> Tensor:
        """Columns [B, n] of states in the other order, each after its own count of steps; counts [n] ascend."""
        step, found = self._step(columns.dtype), torch.empty_like(columns)
        values, sizes = torch.unique_consecutive(counts, return_counts=True)
        done = left = begin = 0
        for count, end in zip(values.tolist(), sizes.cumsum(0).tolist(), strict=True):
            for _ in range(count - done):
                columns = step(columns)
            found[:, begin:end] = columns[:, begin - left : end - left]
            if end - left >= LEAVING:
                columns, left = columns[:, end - left :].contiguous(), end
            done, begin = count, end
        return found

    def write(self, columns: Tensor, rows: Tensor) -> None:
        """Write columns [B, n] of states in the other order to rows [n, B] of states."""
        for part, place in zip(
            torch.split(rows, PIECE, 1), torch.split(self.place, PIECE), strict=True
        ):
            part.copy_(columns.index_select(0, place).T)

    def _step(self, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
        """The matrix times columns [B, n] of this type, states in the other order."""
        weights = self.values.index_select(0, self.entry).to(dtype)
        return lambda columns: F.embedding_bag(
            self.near, columns, self.begin, mode="sum", per_sample_weights=weights
        )


class Walked:
    """States after ascending counts of steps.

    Args:
        leave: where a step leads from a state.
        into: the transpose, by which dense vectors walk on.
        counts: steps [n] int64, ascending.
        states: where each begins, [n] int64.
        dtype: of the vectors that are not lists.
    """

    def __init__(
        self, leave: Edges, into: Graph, counts: Tensor, states: Tensor, dtype: torch.dtype
    ) -> None:
        self.num_states = len(leave.first) - 1
        owner = torch.arange(len(counts), device=counts.device)
        state, mass = states, torch.ones(len(counts), dtype=torch.float64, device=counts.device)
        done, lists = 0, []
        while True:
            self.listed = int((counts <= done).sum())
            ready = int((owner < self.listed).sum())
            lists.append((owner[:ready], state[:ready], mass[:ready]))
            owner, state, mass = owner[ready:], state[ready:], mass[ready:]
            if leave.size(state) > SPARSE_SHARE * (
                len(counts) - self.listed
            ) * self.num_states or not len(owner):
                break
            which, state, value = leave.entries(state)
            owner, mass, done = (
                owner.index_select(0, which),
                mass.index_select(0, which) * value,
                done + 1,
            )
        if not len(owner):
            self.listed = len(counts)
        whose, which, masses = (torch.cat(parts) for parts in zip(*lists, strict=True))
        self.lists = Edges(whose, which, masses, self.listed)
        self.dense = torch.empty(
            len(counts) - self.listed, self.num_states, dtype=dtype, device=counts.device
        )
        if len(self.dense):
            begun = Edges(owner - self.listed, state, mass, len(self.dense))
            self._walk_on(begun, into, counts[self.listed :] - done)

    def _walk_on(self, begun: Edges, into: Graph, left: Tensor) -> None:
        """Fill `dense` with the vectors that have ascending counts of steps left, from what they are so far."""
        for tile in torch.split(
            torch.arange(len(left), device=left.device), block_rows(self.num_states, left)
        ):
            which, state, mass = begun.entries(tile)
            columns = torch.zeros(
                self.num_states, len(tile), dtype=self.dense.dtype, device=left.device
            )
            columns.view(-1).index_add_(
                0, into.place[state] * len(tile) + which, mass.to(columns.dtype)
            )
            into.write(into.walk(columns, left[tile]), self.dense[tile[0] : tile[-1] + 1])

    def times(self, weight: Tensor) -> Tensor:
        """The vectors times a weight [B, d] of the type given: -> [n, d]."""
        return torch.cat([self.lists.times(weight), self.dense @ weight])

    def vectors(self, place: Tensor, added: Tensor) -> Tensor:
        """Some of the vectors, of those at `place` [m], plus a number for each, [m]: -> [m, B]."""
        long, added = place >= self.listed, added.unsqueeze(1)
        if bool(long.all()):
            return self.dense.index_select(0, place - self.listed).add_(added)
        found = added.repeat(1, self.num_states)
        (listed,) = (~long).nonzero(as_tuple=True)
        which, state, mass = self.lists.entries(place[listed])
        found.view(-1).index_add_(0, listed[which] * self.num_states + state, mass.to(found.dtype))
        found[long] += self.dense[place[long] - self.listed]
        return found

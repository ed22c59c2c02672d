"""Where a state may have come from: columns of A^s for many pairs of a count and a state, lists while these are short.

After s steps back along the edges a state has come from one of a few states, then hundreds, thousands, all. So the columns of
small counts are rows of one sparse matrix, and only the others are walked on as dense vectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scud.processes.kernel import block_rows

if TYPE_CHECKING:
    from scud.processes.sparse import SparseKernel

SPARSE_SHARE = 1 / 16
"""The share of their entries up to which vectors are kept as lists."""


class Edges(nn.Module):
    """A sparse matrix [n, B] by rows: `values` at columns `index`, the row i between first[i] and first[i + 1]."""

    first: Tensor
    index: Tensor
    values: Tensor

    def __init__(self, row: Tensor, column: Tensor, values: Tensor, rows: int) -> None:
        """Entries with row, column and value, [entries] each, in any order."""
        super().__init__()
        order = row.argsort(stable=True)
        counts = torch.bincount(row, minlength=rows)
        first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        self.register_buffer("first", first.int(), persistent=False)
        self.register_buffer("index", column[order].int(), persistent=False)
        self.register_buffer("values", values[order].double(), persistent=False)

    def times(self, columns: Tensor) -> Tensor:
        """The matrix times columns [B, d]: -> [n, d], differentiable in the columns."""
        values = self.values.to(columns.dtype)
        return F.embedding_bag(self.index, columns, self.first[:-1], mode="sum", per_sample_weights=values)

    def size(self, row: Tensor) -> int:
        """Entries in rows [m], together."""
        return int((self.first[row + 1] - self.first[row]).sum())

    def entries(self, row: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All entries in rows [m]: which of the m, the column, the value, each [entries]."""
        start, count = self.first[row].long(), (self.first[row + 1] - self.first[row]).long()
        which = torch.arange(len(row), device=row.device).repeat_interleave(count)
        place = torch.arange(len(which), device=row.device) + (start - (count.cumsum(0) - count))[which]
        return which, self.index[place].long(), self.values[place]


class Ancestors:
    """A^s[:, x] for pairs of ascending counts s and states x [n].

    Args:
        kernel: K = A + 1 vᵀ.
        counts: [n] int64, ascending.
        states: [n] int64.
        dtype: of the vectors that are not lists.
    """

    def __init__(self, kernel: SparseKernel, counts: Tensor, states: Tensor, dtype: torch.dtype) -> None:
        self.num_states, self.width = kernel.num_states, len(counts)
        owner = torch.arange(len(counts), device=counts.device)
        state, mass = states, torch.ones(len(counts), dtype=torch.float64, device=counts.device)
        done, lists = 0, []
        while len(owner):
            ready = counts[owner] == done
            lists.append((owner[ready], state[ready], mass[ready]))
            owner, state, mass = owner[~ready], state[~ready], mass[~ready]
            left = len(counts) - int((counts <= done).sum())
            if kernel.into.size(state) > SPARSE_SHARE * left * kernel.num_states:
                break
            which, to, value = kernel.into.entries(state)
            owner, state, mass, done = owner[which], to, mass[which] * value, done + 1
        self.listed = int((counts <= done).sum()) if len(owner) else len(counts)
        whose, which, masses = (torch.cat(parts) for parts in zip(*lists, strict=True))
        self.lists = Edges(whose, which, masses, self.listed)
        self.dense = torch.empty(len(counts) - self.listed, kernel.num_states, dtype=dtype, device=counts.device)
        if len(self.dense):
            self._walk(kernel, counts[self.listed :], done, (owner - self.listed, state, mass))

    def _walk(self, kernel: SparseKernel, counts: Tensor, done: int, entries: tuple[Tensor, Tensor, Tensor]) -> None:
        """Fill `dense` with the vectors of ascending counts [m], from what they are after `done` steps."""
        begun = Edges(*entries, len(counts))
        for tile in torch.split(torch.arange(len(counts), device=counts.device), block_rows(kernel.num_states, counts)):
            which, state, mass = begun.entries(tile)
            columns = scattered(kernel.num_states, len(tile), state, which, mass, self.dense.dtype)
            start = int(tile[0])
            for part in leaving(kernel.out, columns, done, counts[tile]):
                self.dense[start : start + part.shape[1]] = part.T
                start += part.shape[1]

    def times(self, weight: Tensor) -> Tensor:
        """(A^s[:, x])ᵀ weight for weight [B, d] of the type given: -> [n, d], differentiable in it."""
        return torch.cat([self.lists.times(weight), self.dense @ weight])

    def columns(self, place: Tensor) -> Tensor:
        """A^s[:, x] for some of the pairs [m]: -> [m, B]."""
        found = self.dense.new_zeros(len(place), self.num_states)
        short = (place < self.listed).nonzero().squeeze(-1)
        which, state, mass = self.lists.entries(place[short])
        found.index_put_((short[which], state), mass.to(found.dtype), accumulate=True)
        long = (place >= self.listed).nonzero().squeeze(-1)
        return found.index_copy_(0, long, self.dense[place[long] - self.listed])


def scattered(rows: int, columns: int, row: Tensor, column: Tensor, mass: Tensor, dtype: torch.dtype) -> Tensor:
    """Entries of mass [entries] added up in a dense matrix [rows, columns]."""
    dense = torch.zeros(rows, columns, dtype=dtype, device=row.device)
    dense.view(-1).index_add_(0, row * columns + column, mass.to(dtype))
    return dense


def leaving(edges: Edges, columns: Tensor, done: int, counts: Tensor) -> Iterator[Tensor]:
    """Walk columns [B, n] on from `done` steps, by edges that gather: each part when its count [n], ascending, is reached."""
    values, sizes = torch.unique_consecutive(counts, return_counts=True)
    for count, size in zip(values.tolist(), sizes.tolist(), strict=True):
        for _ in range(count - done):
            columns = edges.times(columns)
        done = count
        yield columns[:, :size]
        columns = columns[:, size:].contiguous()

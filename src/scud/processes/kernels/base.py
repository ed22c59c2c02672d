"""Kernels: transition matrices M(a), one per amount of noise a, and what a model asks of them.

Conditioned on events, M(s) = K^s with s an integer count; in time, M(tau) = exp(tau Q). Both
satisfy M(0) = I and M(a) M(b) = M(a + b), and a diffusion model needs no more than this, so every
model runs on either.

Everything is defined by what the dense matrices would do (`Kernel.matrices`), and tested against
them. A structure says how it is done: `DenseKernel` from the matrices themselves (spectral,
powers), `RankOneKernel` in closed form, `SparseKernel` by walks. Amounts differ from position to
position, so an `Operator` holds one amount per row. Rows are handed over in blocks of like amounts
(`blocks`): a block of one amount is one dense product, and a block of large amounts has low rank.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn

from scud.errors import fail, shown
from scud.numerics import is_fixed
from scud.numerics.memory import in_bytes
from scud.processes.kernels.operator import EXACT, Operator, floor_of
from scud.typing import Evidence

BLOCK_ELEMENTS = 2**18
"""Entries of a block of rows on a CPU, whose cache holds a few such arrays."""

GPU_BLOCK_ELEMENTS = 2**26
"""Entries of a block of rows on a GPU, where starting an operation costs more than memory."""

LARGE = 2048
"""States beyond which no dense matrix is made."""

FEWEST = 64
"""Rows of a block, at least."""

CHUNK_ELEMENTS = 2**22
"""Entries of a stack of matrices that is made at once (32 MB)."""

RUN = 256
"""Rows of equal amounts from which a block of their own, with one dense product, is cheaper."""


class EvidenceSource(Protocol):
    """What makes the evidence of noised batches, for one kernel and p0."""

    def at(self, x_t: Tensor, amounts: Tensor) -> Evidence:
        """The evidence of states x_t [batch, *dims] after amounts that broadcast to this shape."""
        ...

    def push_forward(self, amounts: Tensor) -> Tensor | None:
        """p0 M(a) for amounts [n], if it stands in a table: -> [n, B]; else None."""
        ...


class Kernel(nn.Module, ABC):
    """The family M(a). Amounts are float64 tensors, whole numbers where they count events.

    Attributes:
        num_states: B.
        stationary: [B] float64, the limit of every row as the amount grows.
        rounding: of its operators.
        rounds_to_stationary: whether `rounding` is spread as the stationary law, not evenly.
    """

    stationary: Tensor
    rounding: tuple[float, float] = EXACT
    rounds_to_stationary: bool = False

    def __init__(self, stationary: Tensor) -> None:
        super().__init__()
        self.num_states = stationary.shape[0]
        self.register_buffer("stationary", stationary, persistent=False)

    @property
    def floor(self) -> Tensor | None:
        """How `rounding` is spread over states (see `Operator`): [B], or None for evenly."""
        return self.stationary if self.rounds_to_stationary else None

    def floor_in(self, p: Tensor) -> Tensor:
        """`floor` in the type of predictions p [..., B]: [B], or [1] where it is uniform."""
        return floor_of(self.floor, p)

    @property
    def is_sampled(self) -> bool:
        """Whether information is estimated from a sample of states: all would take too long."""
        return False

    @abstractmethod
    def matrices(self, amounts: Tensor) -> Tensor:
        """M(a) for amounts [n]: -> [n, B, B] float64, never negative, rows summing to 1.

        Raises:
            UserError: more than LARGE states.
        """

    @abstractmethod
    def operator(self, amounts: Tensor) -> Operator:
        """The operator for a block of rows of amounts [N], N >= 1; the identity where all are 0."""

    @abstractmethod
    def event_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """M(1)[:, index] for states [N]: -> [N, B]."""

    @abstractmethod
    def event_log_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """log M(1)[:, index] for states [N], -inf where it may be rounding alone: -> [N, B]."""

    @abstractmethod
    def columns_at(
        self,
        amounts: Tensor,
        states: Tensor,
        dtype: torch.dtype,
    ) -> Callable[[Tensor], Tensor]:
        """M(a)[:, states] for amounts and states [N]: index [n] -> those columns, [n, B].

        They are asked for in blocks of like amounts, and may be of another type than `dtype`, in
        which they will be used.
        """

    @abstractmethod
    def push_forward(self, law: Tensor, amounts: Tensor) -> Tensor:
        """law M(a) for one law [B] and amounts [n]: -> [n, B] float64."""

    @abstractmethod
    def divergences(self, p0: Tensor, amounts: Tensor, states: Tensor | None = None) -> Tensor:
        """KL(M(a)[b, :] || p0 M(a)) in nats.

        Args:
            p0: a law [B].
            amounts: a [n].
            states: b [m]; all of them by default.

        Returns:
            [n, m] float64.
        """

    @abstractmethod
    def draw(self, index: Tensor, amounts: Tensor, generator: torch.Generator | None) -> Tensor:
        """A state from M(a)[index, :] for index and amounts of one shape [...]: -> [...] int64."""

    @abstractmethod
    def evidence(self, p0: Tensor, start: float, end: float, counts: bool) -> EvidenceSource:
        """What makes the evidence of noised batches.

        Args:
            p0: training marginal [B] float64.
            start: amounts up to about this one are told apart well: counts one by one.
            end: the largest amount that matters; larger ones may be read as this one.
            counts: whether amounts are whole numbers.
        """

    def is_fixed(self, amounts: Tensor) -> bool:
        """Whether rows of these amounts are taken together whatever they are (see `numerics.devices`)."""
        return is_fixed(amounts)

    def stretches(self, count: int) -> list[slice]:
        """All rows 0..count-1, as many at once as a GPU's memory holds well."""
        return stretches(count, max(GPU_BLOCK_ELEMENTS // self.num_states, FEWEST))

    def blocks(self, amounts: Tensor) -> list[Tensor]:
        """Split rows 0..N-1 into blocks of like amounts: index tensors that cover amounts [N] once.

        Rows of amount 0 stand alone, as does any run of equal amounts that fills a block; the rest
        are grouped in order.
        """
        size = block_rows(self.num_states, amounts)
        ordered, order = amounts.sort()
        values, lengths = torch.unique_consecutive(ordered, return_counts=True)
        ends = lengths.cumsum(0)
        alone = (lengths >= max(RUN, 2 * self.num_states)) | (values == 0)
        borders = torch.cat([ends[alone] - lengths[alone], ends[alone]]).tolist()
        blocks: list[Tensor] = []
        for start, end in pairwise(sorted({0, *borders, amounts.shape[0]})):
            blocks.extend(order[start:end].chunk(-(-(end - start) // size)))
        return blocks

    def entries(self, start: Tensor, end: Tensor, amounts: Tensor) -> Tensor:
        """M(a)[start, end] for states and amounts [N]: -> [N] float64."""
        values = torch.empty_like(amounts)
        for block in self.blocks(amounts):
            values[block] = self.operator(amounts[block]).entries(start[block], end[block])
        return values


def stretches(count: int, size: int) -> list[slice]:
    """Rows 0..count-1 in stretches of at most `size`."""
    if count <= size:  # a compiler need not know how many
        return [slice(0, count)]
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def block_rows(num_states: int, like: Tensor) -> int:
    """Rows of a block on the device of `like`."""
    return max((GPU_BLOCK_ELEMENTS if is_fixed(like) else BLOCK_ELEMENTS) // num_states, FEWEST)


def draw_in_blocks(
    kernel: Kernel,
    index: Tensor,
    amounts: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    """`Kernel.draw` by the operators of blocks."""
    states, flat = index.reshape(-1), amounts.reshape(-1)
    if kernel.is_fixed(flat):
        drawn = [
            kernel.operator(flat[part]).draw(states[part], generator)
            for part in kernel.stretches(len(flat))
        ]
        found = drawn[0] if len(drawn) == 1 else torch.cat(drawn)
        return torch.where(flat > 0, found, states).reshape(index.shape)
    states = states.clone()
    for block in kernel.blocks(flat):
        states[block] = kernel.operator(flat[block]).draw(states[block], generator)
    return states.reshape(index.shape)


def columns_in_blocks(
    kernel: Kernel,
    amounts: Tensor,
    states: Tensor,
) -> Callable[[Tensor], Tensor]:
    """`Kernel.columns_at` by the operators of blocks."""
    return lambda index: kernel.operator(amounts[index]).columns(states[index])


def check_small(num_states: int, what: str) -> None:
    """Raise `UserError` where dense matrices would be too large."""
    if num_states > LARGE:
        rule = f"be at most {LARGE} for {what}, which takes dense matrices"
        remedy = "use SCUD or Masking with noise that needs none: Uniform or NeighbourGraph"
        found = f"{shown(num_states)}, for which each takes {in_bytes(8 * num_states**2)}"
        raise fail("num_states", rule, found, remedy)

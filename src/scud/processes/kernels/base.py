"""Kernels: a family of transition matrices M(a), one per amount of noise a, and the few things a model asks of it.

Conditioned on events, M(s) = K^s with s an integer count; in time, M(tau) = exp(tau Q). Both satisfy M(0) = I and
M(a) M(b) = M(a + b), and a diffusion model needs no more than this, so every model runs on either.

A structure (rank-one, spectral, …) implements `Kernel.operator` and `Kernel.matrices`; everything is defined by what the
dense matrices would do, and tested against them. Amounts differ from position to position, so an `Operator` holds one
amount per row. Rows are handed over in blocks of like amounts (`blocks`): a block of one amount is one dense product,
and a block of large amounts has low rank.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from scud import numerics
from scud.errors import fail

BLOCK_ELEMENTS = 2**18
"""Entries of a block of rows on a CPU, whose cache holds a few such arrays."""

GPU_BLOCK_ELEMENTS = 2**26
"""Entries of a block of rows on a GPU, where starting an operation costs more than memory."""


EXACT = (1e-15, 1e-30)
"""`Operator.rounding` of products in which nothing cancels, in float32 and float64."""

CANCELLING = (1e-6, 1e-13)
"""`Operator.rounding` of sums with terms of both signs."""


KEPT_ELEMENTS = 2**20
"""Entries of the dense matrices kept from one use to the next (16 MB, with what they are in float32); one is kept in any case."""

LARGE = 2048
"""States beyond which no dense matrix is made."""

FEWEST = 64
"""Rows of a block, at least."""

CHUNK_ELEMENTS = 2**22
"""Entries of the stack of matrices held at once (32 MB)."""

RUN = 256
"""Rows of equal amounts from which a block of their own, with one dense product, is cheaper than a mixed one."""


class Operator(ABC):
    """M(a_n) for every row n of one block.

    Attributes:
        rounding: mass that `law` mixes in, in float32 and float64, so that nothing stays at 0 that `apply` rounded there. It
            depends on the kernel and on whether a is 0, never on the block.
        floor: the law [B] of that mass: pi where it may matter, which noise does not change, so that the sampler's law, with
            the mass mixed into p, is the loss's; None is uniform.
    """

    rounding: tuple[float, float] = EXACT
    floor: Tensor | None = None

    @abstractmethod
    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """M(a_n)[index_n, :] for states index [N]: -> [N, B], never negative; computed in float64, then of this dtype."""

    @abstractmethod
    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """M(a_n)[:, index_n] for states index [N]: -> [N, B], as `rows`."""

    def entries(self, start: Tensor, end: Tensor) -> Tensor:
        """M(a_n)[start_n, end_n] for states [N]: -> [N] float64, never negative."""
        return self.rows(start).gather(-1, end.unsqueeze(-1)).squeeze(-1)

    @abstractmethod
    def apply(self, vectors: Tensor) -> Tensor:
        """vectors_n M(a_n) for row vectors [N, B]: -> [N, B] in their dtype, differentiable; may round below 0."""

    def law(self, p: Tensor) -> Tensor:
        """p M(a_n) for distributions p [N, B], made strictly positive: -> [N, B], up to a factor near 1.

        Rounding below 0 is cut away and `rounding` in all is mixed in: any prediction is then a valid law.
        """
        return self.apply(p).clamp_min(0) + self.rounding[p.dtype == torch.float64] * floor_of(self.floor, p)

    def draw(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """A state from M(a_n)[index_n, :]: -> [N]."""
        return numerics.draw_categorical(self.rows(index), generator)


def floor_of(floor: Tensor | None, p: Tensor) -> Tensor:
    """`Operator.floor` in the type of predictions p [..., B]: [B], or [1] where it is uniform."""
    return p.new_full((1,), 1 / p.shape[-1]) if floor is None else floor.to(p.dtype)


class Identity(Operator):
    """M(0): nothing has happened."""

    def __init__(self, num_states: int) -> None:
        self.num_states = num_states

    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        return nn.functional.one_hot(index, self.num_states).to(dtype)

    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        return self.rows(index, dtype)

    def apply(self, vectors: Tensor) -> Tensor:
        return vectors

    def draw(self, index: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        return index


class DenseOperator(Operator):
    """One amount for the whole block: the matrix itself, [B, B] float64, and what it is in other types."""

    def __init__(self, matrix: Tensor, rounding: tuple[float, float], floor: Tensor | None = None) -> None:
        self.matrix, self.rounding, self.floor = matrix, rounding, floor
        self._made: dict[tuple[torch.dtype, str], Tensor] = {}

    def _as(self, dtype: torch.dtype, form: str = "plain") -> Tensor:
        """The matrix, its transpose, or the logarithm of that, in a type, made once."""
        if dtype == torch.float64 and form == "plain":
            return self.matrix
        if (dtype, form) not in self._made:
            with torch.inference_mode(False):
                matrix = self.matrix if form == "plain" else self.matrix.T
                matrix = numerics.log_probability(matrix) if form == "log" else matrix
                self._made[dtype, form] = matrix.to(dtype).contiguous()
        return self._made[dtype, form]

    def tables(self) -> list[Tensor]:
        """The matrices it holds."""
        return [self.matrix, *self._made.values()]

    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        return self._as(dtype)[index]

    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        return self.matrix.T[index] if dtype == torch.float64 else self._as(dtype, "transposed")[index]

    def log_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Logarithms of `columns`, -inf where they may be rounding alone."""
        return self._as(dtype, "log")[index]

    def entries(self, start: Tensor, end: Tensor) -> Tensor:
        return self.matrix[start, end]

    def apply(self, vectors: Tensor) -> Tensor:
        return vectors @ self._as(vectors.dtype)

    def draw(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        return numerics.invert_cdf(self.matrix.cumsum(-1), index, numerics.draw_uniform(index, generator))


class Kernel(nn.Module, ABC):
    """The family M(a). Amounts are float64 tensors, whole numbers where they count events.

    Attributes:
        num_states: B.
        stationary: [B] float64, the limit of every row as the amount grows.
        rounding, floor: of its operators.
    """

    stationary: Tensor
    rounding: tuple[float, float] = EXACT

    @property
    def floor(self) -> Tensor | None:
        return None

    def __init__(self, stationary: Tensor) -> None:
        super().__init__()
        self.num_states = stationary.shape[0]
        self._recent: dict[tuple[float, torch.device], DenseOperator] = {}
        self._event: tuple[torch.device, DenseOperator] | None = None
        self.register_buffer("stationary", stationary, persistent=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recent": {}, "_event": None}

    @abstractmethod
    def matrices(self, amounts: Tensor) -> Tensor:
        """M(a) for amounts [n]: -> [n, B, B] float64, never negative, rows summing to 1."""

    @abstractmethod
    def general_operator(self, amounts: Tensor) -> Operator:
        """The operator for rows of any amounts [N]."""

    def operator(self, amounts: Tensor) -> Operator:
        """The operator for a block of rows of amounts [N] (N >= 1), cheapest where all are equal."""
        low, high = float(amounts.min()), float(amounts.max())
        if high == 0:
            return Identity(self.num_states)
        if low == high and amounts.shape[0] >= self.num_states:
            return self._dense(amounts[:1])
        return self.general_operator(amounts)

    def _dense(self, amount: Tensor) -> DenseOperator:
        """The operator of one amount [1]. The last few are kept: noise, loss and the next step ask for the same."""
        key = float(amount), amount.device
        self._recent[key] = self._recent.pop(key) if key in self._recent else self._make_dense(amount)
        if len(self._recent) > max(KEPT_ELEMENTS // self.num_states**2, 1):
            del self._recent[next(iter(self._recent))]
        return self._recent[key]

    def _make_dense(self, amount: Tensor) -> DenseOperator:
        with torch.inference_mode(False):  # what is kept may be needed in training
            return DenseOperator(self.matrices(amount.clone())[0], self.rounding, self.floor)

    def _one_event(self, like: Tensor) -> DenseOperator:
        """The operator of one unit of noise, on the device of `like`."""
        if self._event is None or self._event[0] != like.device:
            self._event = like.device, self._make_dense(torch.ones(1, dtype=torch.float64, device=like.device))
        return self._event[1]

    def event_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """M(1)[:, index] for states [N]: -> [N, B]."""
        return self._one_event(index).columns(index, dtype)

    def event_log_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """log M(1)[:, index] for states [N], -inf where it may be rounding alone: -> [N, B]."""
        return self._one_event(index).log_columns(index, dtype)

    def columns_at(self, amounts: Tensor, states: Tensor, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:  # noqa: ARG002
        """M(a)[:, states] for amounts and states [N]: index [n] -> those columns, [n, B], asked for in blocks of like amounts."""
        return lambda index: self.operator(amounts[index]).columns(states[index])

    def pushed(self, law: Tensor, amounts: Tensor) -> Tensor:
        """law M(a) for one law [B] and amounts [n]: -> [n, B] float64."""
        return torch.cat([law @ self.matrices(amount.unsqueeze(0)) for amount in amounts])

    def divergences(self, p0: Tensor, amounts: Tensor, states: Tensor | None = None) -> Tensor:
        """KL(M(a)[b, :] || p0 M(a)) in nats for amounts [n] and states b [m], all by default: -> [n, m] float64."""
        size = max(CHUNK_ELEMENTS // self.num_states**2, 1)
        found = torch.cat([_divergences(self.matrices(part), p0) for part in torch.split(amounts, size)])
        return found if states is None else found[:, states]

    def blocks(self, amounts: Tensor) -> list[Tensor]:
        """Split rows 0..N-1 into blocks of like amounts: index tensors that cover amounts [N] once.

        Rows of amount 0 stand alone, as does any run of equal amounts that fills a block; the rest are grouped in order.
        """
        size = block_rows(self.num_states, amounts)
        ordered, order = amounts.sort()
        values, lengths = torch.unique_consecutive(ordered, return_counts=True)
        ends = lengths.cumsum(0)
        alone = (lengths >= max(RUN, 2 * self.num_states)) | (values == 0)
        cuts = torch.cat([ends[alone] - lengths[alone], ends[alone]]).tolist()
        cuts = sorted({0, *cuts, amounts.shape[0]})
        return [block for start, end in pairwise(cuts) for block in order[start:end].chunk(-(-(end - start) // size))]

    def draw(self, index: Tensor, amounts: Tensor, generator: torch.Generator | None) -> Tensor:
        """A state from M(a)[index, :] for index and amounts of one shape [...]: -> [...] int64."""
        states, flat = index.reshape(-1).clone(), amounts.reshape(-1)
        for block in self.blocks(flat):
            states[block] = self.operator(flat[block]).draw(states[block], generator)
        return states.reshape(index.shape)

    def entries(self, start: Tensor, end: Tensor, amounts: Tensor) -> Tensor:
        """M(a)[start, end] for states and amounts [N]: -> [N] float64."""
        values = torch.empty_like(amounts)
        for block in self.blocks(amounts):
            values[block] = self.operator(amounts[block]).entries(start[block], end[block])
        return values

    def transport(self, amounts: Tensor) -> "Transport":
        """weight [B, d] -> M(a)ᵀ weight for each of these amounts [n], built once for many weights."""
        return Transport(self, amounts)


def block_rows(num_states: int, like: Tensor) -> int:
    """Rows of a block on the device of `like`."""
    return max((GPU_BLOCK_ELEMENTS if like.is_cuda else BLOCK_ELEMENTS) // num_states, FEWEST)


def _divergences(matrices: Tensor, p0: Tensor) -> Tensor:
    """KL(rows || p0 M) for matrices M [n, B, B]: -> [n, B]."""
    entropies = torch.special.entr(matrices).sum(-1)
    log_mixture = (p0 @ matrices).clamp_min(torch.finfo(torch.float64).tiny).log()
    found: Tensor = -entropies - (matrices @ log_mixture.unsqueeze(-1)).squeeze(-1)
    return found.clamp_min(0)


def check_small(num_states: int, what: str) -> None:
    """Raise `UserError` where dense matrices would be too large."""
    if num_states > LARGE:
        remedy = "use SCUD or Masking with noise that needs none: Uniform or NeighbourGraph"
        raise fail("num_states", f"be at most {LARGE} for {what}, which takes dense matrices", num_states, remedy)


class Transport(nn.Module):
    """weight [B, d] -> M(a)ᵀ weight [n, B, d] for fixed amounts a [n], differentiable in the weight."""

    amounts: Tensor

    def __init__(self, kernel: Kernel, amounts: Tensor) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("amounts", amounts, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        count, width = self.amounts.shape[0], weight.shape[1]
        operator = self.kernel.general_operator(self.amounts.repeat_interleave(width))
        return operator.apply(weight.T.repeat(count, 1)).reshape(count, width, -1).transpose(1, 2)

"""Operators: M(a_n) for every row n of a block of rows, each with its own amount of noise."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from scud import numerics

EXACT = (1e-15, 1e-30)
"""`Operator.rounding` of products in which nothing cancels, in float32 and float64."""

CANCELLING = (1e-6, 1e-13)
"""`Operator.rounding` of sums with terms of both signs."""


class Operator(ABC):
    """M(a_n) for every row n of one block.

    Products in floating point can round below 0, or to 0 where a probability is small. `law` clips
    them and adds a little probability, `rounding` in all, spread as `floor` says. A sampler adds
    the same to its prediction, so that loss and sampler describe one model.

    Attributes:
        rounding: the probability that `law` adds, in float32 and float64. It depends on the kernel
            and on whether a is 0, never on the block.
        floor: how it is spread over states, [B]: as pi where the amount may matter, which noise
            does not change; evenly when None.
        is_identity: whether every amount is 0.
    """

    rounding: tuple[float, float] = EXACT
    floor: Tensor | None = None
    is_identity: bool = False

    @abstractmethod
    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """M(a_n)[index_n, :] for states index [N]: -> [N, B], never negative.

        It is computed in float64 and returned in this dtype.
        """

    @abstractmethod
    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        """M(a_n)[:, index_n] for states index [N]: -> [N, B], as `rows`."""

    def entries(self, start: Tensor, end: Tensor) -> Tensor:
        """M(a_n)[start_n, end_n] for states [N]: -> [N] float64, never negative."""
        return self.rows(start).gather(-1, end.unsqueeze(-1)).squeeze(-1)

    @abstractmethod
    def apply(self, vectors: Tensor) -> Tensor:
        """vectors_n M(a_n) for row vectors [N, B]: -> [N, B] in their dtype, differentiable.

        It may round below 0.
        """

    def law(self, p: Tensor) -> Tensor:
        """p M(a_n) for distributions p [N, B]: -> [N, B] > 0, up to a factor near 1."""
        rounding = self.rounding[p.dtype == torch.float64]
        return torch.add(self.apply(p).relu(), self.floor_in(p), alpha=rounding)

    def floor_in(self, p: Tensor) -> Tensor:
        """`floor` in the type of predictions p [..., B]: [B], or [1] where it is uniform."""
        return floor_of(self.floor, p)

    def draw(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        """A state from M(a_n)[index_n, :]: -> [N]."""
        return numerics.draw_categorical(self.rows(index), generator)


def floor_of(floor: Tensor | None, p: Tensor) -> Tensor:
    """`Operator.floor` in the type of predictions p [..., B]: [B], or [1] where it is uniform."""
    return p.new_full((1,), 1 / p.shape[-1]) if floor is None else floor.to(p.dtype)


class Identity(Operator):
    """M(0): nothing has happened."""

    is_identity = True

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
    """One amount for the whole block: its matrix [B, B] float64, and forms of it in other types."""

    def __init__(
        self,
        matrix: Tensor,
        rounding: tuple[float, float],
        floor: Tensor | None = None,
    ) -> None:
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
        if dtype == torch.float64:
            return self.matrix.T[index]
        return self._as(dtype, "transposed")[index]

    def log_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Logarithms of `columns`, -inf where they may be rounding alone."""
        return self._as(dtype, "log")[index]

    def entries(self, start: Tensor, end: Tensor) -> Tensor:
        return self.matrix[start, end]

    def apply(self, vectors: Tensor) -> Tensor:
        return vectors @ self._as(vectors.dtype)

    def draw(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        uniform = numerics.draw_uniform(index, generator)
        return numerics.invert_cdf(self.matrix.cumsum(-1), index, uniform)

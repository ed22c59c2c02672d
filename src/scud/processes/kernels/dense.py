"""Kernels that can make their matrices: what a model asks of a kernel, done with these.

The matrix of one amount serves a whole block of rows of that amount, and a few are remembered:
noise, loss and the next step ask for the same. Rows of different amounts take the structure's own
operator.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from scud.processes.kernels.base import CHUNK_ELEMENTS, Kernel, columns_in_blocks, draw_in_blocks
from scud.processes.kernels.operator import DenseOperator, Identity, Operator
from scud.processes.kernels.table import EvidenceTable, table_amounts

REMEMBERED_ELEMENTS = 2**20
"""Entries of the dense matrices that are remembered, but one is in any case (16 MB with their forms
in float32)."""


class DenseKernel(Kernel):
    """A kernel by its matrices: a structure says how to make them, and its general operator."""

    def __init__(self, stationary: Tensor) -> None:
        super().__init__(stationary)
        self._recent: dict[tuple[float, torch.device], DenseOperator] = {}
        self._event: tuple[torch.device, DenseOperator] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_recent": {}, "_event": None}

    @abstractmethod
    def general_operator(self, amounts: Tensor) -> Operator:
        """The operator for rows of any amounts [N]."""

    def transport(self, amounts: Tensor) -> nn.Module:
        """weight [B, d] -> M(a)ᵀ weight [n, B, d] for these amounts [n], made for many weights."""
        return Transport(self, amounts)

    def operator(self, amounts: Tensor) -> Operator:
        if self.is_fixed(amounts):
            return self.general_operator(amounts)
        low, high = float(amounts.min()), float(amounts.max())
        if high == 0:
            return Identity(self.num_states)
        if low == high and amounts.shape[0] >= self.num_states:
            return self._remembered(amounts[:1])
        return self.general_operator(amounts)

    def _remembered(self, amount: Tensor) -> DenseOperator:
        """The operator of one amount [1]. The last few are remembered."""
        key = float(amount), amount.device
        known = self._recent.pop(key) if key in self._recent else self._make_dense(amount)
        self._recent[key] = known
        if len(self._recent) > max(REMEMBERED_ELEMENTS // self.num_states**2, 1):
            del self._recent[next(iter(self._recent))]
        return known

    def _make_dense(self, amount: Tensor) -> DenseOperator:
        with torch.inference_mode(False):  # what is remembered may be needed in training
            return DenseOperator(self.matrices(amount.clone())[0], self.rounding, self.floor)

    def _one_event(self, like: Tensor) -> DenseOperator:
        """The operator of one unit of noise, on the device of `like`."""
        if self._event is None or self._event[0] != like.device:
            one = torch.ones(1, dtype=torch.float64, device=like.device)
            self._event = like.device, self._make_dense(one)
        return self._event[1]

    def event_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return self._one_event(index).columns(index, dtype)

    def event_log_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return self._one_event(index).log_columns(index, dtype)

    def columns_at(
        self,
        amounts: Tensor,
        states: Tensor,
        dtype: torch.dtype,  # noqa: ARG002
    ) -> Callable[[Tensor], Tensor]:
        return columns_in_blocks(self, amounts, states)

    def push_forward(self, law: Tensor, amounts: Tensor) -> Tensor:
        return torch.cat([law @ self.matrices(amount.unsqueeze(0)) for amount in amounts])

    def divergences(self, p0: Tensor, amounts: Tensor, states: Tensor | None = None) -> Tensor:
        size = max(CHUNK_ELEMENTS // self.num_states**2, 1)
        parts = [_divergences(self.matrices(part), p0) for part in torch.split(amounts, size)]
        nats = torch.cat(parts)
        return nats if states is None else nats[:, states]

    def draw(self, index: Tensor, amounts: Tensor, generator: torch.Generator | None) -> Tensor:
        return draw_in_blocks(self, index, amounts, generator)

    def evidence(self, p0: Tensor, start: float, end: float, counts: bool) -> EvidenceTable:
        nodes, amounts = table_amounts(start, end, counts)
        totals = self.push_forward(p0, amounts)
        return EvidenceTable(self.transport(amounts), totals, p0, nodes, counts)


def _divergences(matrices: Tensor, p0: Tensor) -> Tensor:
    """KL(rows || p0 M) for matrices M [n, B, B]: -> [n, B]."""
    entropies = torch.special.entr(matrices).sum(-1)
    log_mixture = (p0 @ matrices).clamp_min(torch.finfo(torch.float64).tiny).log()
    nats: Tensor = -entropies - (matrices @ log_mixture.unsqueeze(-1)).squeeze(-1)
    return nats.clamp_min(0)


class Transport(nn.Module):
    """weight [B, d] -> M(a)ᵀ weight [n, B, d] for fixed amounts a [n], differentiable."""

    amounts: Tensor

    def __init__(self, kernel: DenseKernel, amounts: Tensor) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("amounts", amounts, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        count, width = self.amounts.shape[0], weight.shape[1]
        operator = self.kernel.general_operator(self.amounts.repeat_interleave(width))
        product = operator.apply(weight.T.repeat(count, 1))
        return product.reshape(count, width, -1).transpose(1, 2)

"""Spectral kernels of reversible generators: Q = V diag(q) V⁻¹ with real q, so M(a) = V diag(f^a) V⁻¹.

With pi_i Q_ij = pi_j Q_ji the matrix sqrt(pi_i) Q_ij / sqrt(pi_j) is symmetric; its orthonormal eigenvectors U give
V = diag(pi)^(-1/2) U and V⁻¹ = Uᵀ diag(pi)^(1/2). Per unit of noise a mode is scaled by f = 1 + q / r (one event) or
f = exp(q) (time). Modes are kept in order of |f|: for large amounts only the first few differ from 0 (low rank).
"""

import torch
from torch import Tensor, nn

from scud.numerics import Block
from scud.processes.kernels.dense import DenseKernel
from scud.processes.kernels.operator import CANCELLING, Operator

NEGLIGIBLE = 1e-12
"""A mode whose weight falls below this is left out of a product."""


class SpectralOperator(Operator):
    """Products with V_r diag(w_n) V⁻¹_r, r the modes that matter for the smallest amount in the block.

    Args:
        kernel: has V and V⁻¹.
        weights: w of each level, [levels, r] float64.
        level: of each row, [N]; all in order where there is one for each row.
    """

    rounding = CANCELLING

    def __init__(self, kernel: "SpectralKernel", weights: Tensor, level: Block) -> None:
        self.kernel, self.weights, self.level = kernel, weights, level

    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        basis, inverse = self._modes(torch.float64)
        return ((basis[index] * self.weights[self.level]) @ inverse).clamp_min_(0).to(dtype)

    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        basis, inverse = self._modes(torch.float64)
        return ((inverse.T[index] * self.weights[self.level]) @ basis.T).clamp_min_(0).to(dtype)

    def entries(self, start: Tensor, end: Tensor) -> Tensor:
        basis, inverse = self._modes(torch.float64)
        parts = basis[start] * self.weights[self.level] * inverse.T[end]
        return parts.sum(-1).clamp_min_(0)

    def apply(self, vectors: Tensor) -> Tensor:
        basis, inverse = self._modes(vectors.dtype)
        return (vectors @ basis * self.weights.to(vectors.dtype)[self.level]) @ inverse

    def floor_in(self, p: Tensor) -> Tensor:
        return self.kernel.floor_in(p)

    def _modes(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """V_r [B, r] and V⁻¹_r [r, B]."""
        rank, kernel = self.weights.shape[-1], self.kernel
        if dtype == torch.float32:
            return kernel.single_basis[:, :rank], kernel.single_inverse[:rank]
        return kernel.basis[:, :rank].to(dtype), kernel.inverse[:rank].to(dtype)


class SpectralKernel(DenseKernel):
    """M(a) = V diag(f^a) V⁻¹.

    Args:
        factor: f [B] float64, the first of them 1 (the stationary mode).
        basis: V [B, B] float64; its first column is 1.
        inverse: V⁻¹ [B, B] float64; its first row is pi.
    """

    factor: Tensor
    basis: Tensor
    inverse: Tensor
    single_basis: Tensor
    single_inverse: Tensor
    rounding = CANCELLING
    rounds_to_stationary = True

    def __init__(self, factor: Tensor, basis: Tensor, inverse: Tensor) -> None:
        super().__init__(inverse[0])
        order = factor.abs().argsort(descending=True, stable=True)
        self.register_buffer("factor", factor[order], persistent=False)
        self.register_buffer("basis", basis[:, order].contiguous(), persistent=False)
        self.register_buffer("inverse", inverse[order].contiguous(), persistent=False)
        self.register_buffer("single_basis", self.basis.float(), persistent=False)
        self.register_buffer("single_inverse", self.inverse.float(), persistent=False)

    def floor_in(self, p: Tensor) -> Tensor:
        return self.single_inverse[0] if p.dtype == torch.float32 else super().floor_in(p)

    def rank(self, amount: Tensor) -> int:
        """How many modes matter after an amount of noise."""
        return int((self.factor.abs() ** amount > NEGLIGIBLE).sum())

    def matrices(self, amounts: Tensor) -> Tensor:
        rank = self.rank(amounts.min())
        weights = self.factor[:rank] ** amounts.double().unsqueeze(-1)
        dense = (self.basis[:, :rank] * weights.unsqueeze(1)) @ self.inverse[:rank]
        identity = torch.eye(self.num_states, dtype=torch.float64, device=amounts.device)
        dense = torch.where((amounts == 0)[:, None, None], identity, dense.clamp_min_(0))
        return dense / dense.sum(-1, keepdim=True)

    def general_operator(self, amounts: Tensor) -> Operator:
        if self.is_fixed(amounts):
            weights = self.factor ** amounts.double().unsqueeze(-1)
            return SpectralOperator(self, weights, slice(None))
        levels, level = torch.unique(amounts.double(), return_inverse=True)
        rank = self.rank(levels[0])
        weights = self.factor[:rank] ** levels.unsqueeze(-1)
        return SpectralOperator(self, weights, level)

    def transport(self, amounts: Tensor) -> nn.Module:
        return SpectralTransport(self, amounts)


class SpectralTransport(nn.Module):
    """weight [B, d] -> M(a)ᵀ weight = V⁻ᵀ diag(f^a) Vᵀ weight [n, B, d]; amounts of like rank share one product."""

    scale: Tensor
    place: Tensor

    def __init__(self, kernel: SpectralKernel, amounts: Tensor) -> None:
        super().__init__()
        self.kernel = kernel
        ranks = torch.tensor([kernel.rank(amount) for amount in amounts])
        classes, order = ranks.double().log2().ceil().sort(stable=True)
        self.sizes: list[int] = torch.unique_consecutive(classes, return_counts=True)[1].tolist()
        self.ranks = [int(part.max()) for part in torch.split(ranks[order], self.sizes)]
        self.register_buffer(
            "scale", kernel.factor ** amounts[order].unsqueeze(-1), persistent=False
        )
        self.register_buffer("place", order.argsort(), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        basis, inverse = self.kernel.basis.to(weight.dtype), self.kernel.inverse.to(weight.dtype)
        modes, done = basis.T @ weight, []
        for scale, rank in zip(
            torch.split(self.scale.to(weight.dtype), self.sizes), self.ranks, strict=True
        ):
            done.append(inverse[:rank].T @ (scale[:, :rank, None] * modes[:rank]))
        return torch.cat(done)[self.place]


def reversible_basis(generator: Tensor, stationary: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(q [B], V [B, B], V⁻¹ [B, B]) of a reversible generator [B, B]; the first mode is exactly (0, 1, pi)."""
    root = stationary.sqrt()
    symmetric = root.unsqueeze(1) * generator / root
    values, vectors = torch.linalg.eigh((symmetric + symmetric.T) / 2)
    values, vectors = values.flip(0).clamp_max(0), vectors.flip(1)
    basis, inverse = vectors / root.unsqueeze(1), vectors.T * root
    values[0], basis[:, 0], inverse[0] = 0.0, 1.0, stationary
    return values, basis, inverse

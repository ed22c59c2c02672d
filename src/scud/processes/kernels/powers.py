"""Kernels of any generator, by binary powers: M(a) is a product of the few M(unit 2^j) whose bit is set in a / unit.

No eigenvectors, which may be ill-conditioned or missing when the chain is not reversible: every factor is a matrix of
probabilities, so nothing cancels and each entry keeps its relative accuracy. In time, what remains below one unit is the
uniformisation series exp(delta Q) = Σ_k Poisson(k; r delta) (I + Q / r)^k, a few terms.
"""

import torch
from torch import Tensor, nn

from scud.numerics import is_fixed
from scud.processes.kernels.dense import DenseKernel
from scud.processes.kernels.operator import Operator

SERIES_TERMS = 8
"""Terms of the series for less than one unit of time (r unit = 1/64): the remainder is below 1e-18."""

TIME_UNITS = 64.0


class PowersOperator(Operator):
    """Products with the binary factors of each row, then with the series of what is left."""

    def __init__(
        self, bits: Tensor, factors: Tensor, step: Tensor | None, terms: Tensor | None
    ) -> None:
        self.bits, self.factors, self.step, self.terms = bits, factors, step, terms

    def _walk(self, vectors: Tensor, transpose: bool) -> Tensor:
        for bit, matrix in enumerate(self.factors.to(vectors.dtype)):
            matrix = matrix.T if transpose else matrix
            if is_fixed(vectors):
                chosen = (self.bits >> bit & 1).bool().unsqueeze(-1)
                vectors = torch.where(chosen, vectors @ matrix, vectors)
                continue
            chosen = (self.bits >> bit & 1).nonzero().squeeze(-1)
            if chosen.numel():
                vectors = vectors.index_copy(0, chosen, vectors[chosen] @ matrix)
        if self.step is None or self.terms is None:
            return vectors
        step, terms = self.step.to(vectors.dtype), self.terms.to(vectors.dtype)
        total, power = vectors * terms[:, :1], vectors
        for k in range(1, SERIES_TERMS):
            power = power @ (step.T if transpose else step)
            total = total + power * terms[:, k : k + 1]
        return total

    def _one_hot(self, index: Tensor) -> Tensor:
        return nn.functional.one_hot(index, self.factors.shape[-1]).double()

    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        return self._walk(self._one_hot(index), transpose=False).to(dtype)

    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        return self._walk(self._one_hot(index), transpose=True).to(dtype)

    def apply(self, vectors: Tensor) -> Tensor:
        return self._walk(vectors, transpose=False)


class PowersKernel(DenseKernel):
    """M(a) from the binary digits of a / unit.

    Args:
        step: a jump kernel [B, B] float64: K itself for events; I + Q / r* for time.
        stationary: pi [B].
        rate: None for events (the amount is a count of steps); r* for time.
    """

    factors: Tensor
    step: Tensor | None

    def __init__(self, step: Tensor, stationary: Tensor, rate: float | None = None) -> None:
        super().__init__(stationary)
        self.units = None if rate is None else rate * TIME_UNITS
        self.register_buffer("step", None if rate is None else step, persistent=False)
        factor = step
        if rate is not None:
            eye = torch.eye(self.num_states, dtype=torch.float64)
            powers = [eye]
            for _ in range(SERIES_TERMS - 1):
                powers.append(powers[-1] @ step)
            factor = torch.einsum(
                "k,kij->ij", _poisson_terms(torch.tensor([1 / TIME_UNITS]))[0], torch.stack(powers)
            )
        self.register_buffer("factors", _doublings(factor, stationary), persistent=False)

    def general_operator(self, amounts: Tensor) -> Operator:
        amounts = amounts.double()
        most = 2 ** self.factors.shape[0] - 1
        if self.units is None:
            return PowersOperator(amounts.clamp_max(most).long(), self.factors, None, None)
        whole = (amounts * self.units).floor()
        terms = _poisson_terms((amounts * self.units - whole) / TIME_UNITS)
        return PowersOperator(whole.clamp_max(most).long(), self.factors, self.step, terms)

    def matrices(self, amounts: Tensor) -> Tensor:
        states = torch.arange(self.num_states, device=amounts.device)
        operator = self.general_operator(amounts.repeat_interleave(self.num_states))
        dense = operator.rows(states.repeat(amounts.shape[0])).reshape(
            -1, self.num_states, self.num_states
        )
        return dense / dense.sum(-1, keepdim=True)


def _poisson_terms(mean: Tensor) -> Tensor:
    """Poisson(k; mean) for k < SERIES_TERMS, normalised: mean [n] -> [n, SERIES_TERMS] float64."""
    k = torch.arange(SERIES_TERMS, dtype=torch.float64, device=mean.device)
    terms = mean.double().unsqueeze(-1) ** k / torch.lgamma(k + 1).exp()
    return terms / terms.sum(-1, keepdim=True)


def _doublings(factor: Tensor, stationary: Tensor) -> Tensor:
    """factor^(2^j) for j = 0, 1, …, until a power has reached 1 piᵀ (or 2^40): [J, B, B]. Rows are kept summing to 1."""
    powers = [factor / factor.sum(-1, keepdim=True)]
    while (powers[-1] - stationary).abs().max() > 1e-14 and len(powers) < 41:
        square = powers[-1] @ powers[-1]
        powers.append(square / square.sum(-1, keepdim=True))
    return torch.stack(powers)

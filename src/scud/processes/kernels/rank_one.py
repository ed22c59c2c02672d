"""Rank-one kernels: M(a) = c(a) I + (1 - c(a)) 1 piᵀ.

With probability 1 - c one event forgets everything.

Q = rho (1 piᵀ - I). Counting events at rate r: K = c I + (1 - c) 1 piᵀ with c = 1 - rho / r, and
c(n) = c^n; in time, c(tau) = exp(-rho tau). c is negative where an event rarely leaves the state as
it is; M(a) is then applied as a sum over the state itself and the others, of terms of one sign.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from scud import numerics
from scud.numerics import full_precision
from scud.processes.kernels.base import Kernel, columns_in_blocks, draw_in_blocks
from scud.processes.kernels.operator import Identity, Operator


class RankOneOperator(Operator):
    """c_n I + (1 - c_n) 1 piᵀ for every row n.

    Args:
        c: shares that are not forgotten, [N] float64.
        stationary: pi [B] float64.
        alternating: whether c may be negative, so that products must be sums of terms of one sign.
    """

    def __init__(self, c: Tensor, stationary: Tensor, alternating: bool) -> None:
        self.c = c.unsqueeze(-1)
        self.stationary, self.alternating = stationary, alternating

    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        one_hot = nn.functional.one_hot(index, self.stationary.shape[0])
        return (self.c * one_hot + (1 - self.c) * self.stationary).clamp_min(0).to(dtype)

    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        one_hot = nn.functional.one_hot(index, self.stationary.shape[0])
        others = (1 - self.c) * self.stationary[index].unsqueeze(-1)
        return (self.c * one_hot + others).clamp_min(0).to(dtype)

    def apply(self, vectors: Tensor) -> Tensor:
        c = self.c.to(vectors.dtype)
        if self.alternating:
            stays = (self.c + (1 - self.c) * self.stationary).clamp_min(0).to(vectors.dtype)
            moves = ((1 - self.c) * self.stationary).to(vectors.dtype)
            return stays * vectors + moves * sum_of_others(vectors)
        forgotten = (1 - c) * vectors.sum(-1, keepdim=True)
        return c * vectors + forgotten * self.stationary.to(vectors.dtype)

    def draw(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        c, share = self.c.squeeze(-1), self.stationary[index]
        stays = numerics.draw_uniform(index, generator) < (c + (1 - c) * share)
        # A state that moves is drawn from pi without the state it leaves: that state's stretch of
        # the unit interval is skipped.
        target = numerics.draw_uniform(index, generator) * (1 - share)
        before = self.stationary.cumsum(0) - self.stationary
        target = target + torch.where(target >= before[index], share, 0.0)
        moved = torch.searchsorted(before, target, right=True) - 1
        return torch.where(stays, index, moved)


def sum_of_others(vectors: Tensor) -> Tensor:
    """Σ_{b ≠ y} v_b for every y of vectors [N, B] >= 0.

    Nothing cancels: the largest entry is never subtracted.
    """
    largest = nn.functional.one_hot(vectors.argmax(-1), vectors.shape[-1]).bool()
    rest = vectors.masked_fill(largest, 0).sum(-1, keepdim=True)
    return torch.where(largest, rest, vectors.sum(-1, keepdim=True) - vectors)


class RankOneKernel(Kernel):
    """M(a) = c(a) I + (1 - c(a)) 1 piᵀ, with c(a) = base^a.

    Args:
        base: c(1): 1 - rho / r for events (may be negative), exp(-rho) for time.
        stationary: pi [B].
    """

    def __init__(self, base: float, stationary: Tensor) -> None:
        super().__init__(stationary)
        self.base = base

    def coefficient(self, amounts: Tensor) -> Tensor:
        """c(a) for amounts of any shape, float64."""
        return torch.pow(self.base, amounts.double())

    def matrices(self, amounts: Tensor) -> Tensor:
        states = torch.arange(self.num_states, device=amounts.device)
        c = self.coefficient(amounts).repeat_interleave(self.num_states)
        operator = RankOneOperator(c, self.stationary, self.base < 0)
        rows = operator.rows(states.repeat(amounts.shape[0]))
        return rows.reshape(-1, self.num_states, self.num_states)

    def operator(self, amounts: Tensor) -> Operator:
        if not self.is_fixed(amounts) and float(amounts.max()) == 0:
            return Identity(self.num_states)
        return self._operator(amounts)  # the closed form is cheaper than any dense product

    def _operator(self, amounts: Tensor) -> Operator:
        return RankOneOperator(self.coefficient(amounts), self.stationary, self.base < 0)

    def event_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        return self._operator(torch.ones(1, device=index.device)).columns(index, dtype)

    def event_log_columns(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        columns = self._operator(torch.ones(1, device=index.device)).columns(index)
        return numerics.log_probability(columns).to(dtype)

    def columns_at(
        self,
        amounts: Tensor,
        states: Tensor,
        dtype: torch.dtype,  # noqa: ARG002
    ) -> Callable[[Tensor], Tensor]:
        return columns_in_blocks(self, amounts, states)

    def push_forward(self, law: Tensor, amounts: Tensor) -> Tensor:
        c = self.coefficient(amounts).unsqueeze(-1)
        return c * law + (1 - c) * law.sum() * self.stationary

    def divergences(self, p0: Tensor, amounts: Tensor, states: Tensor | None = None) -> Tensor:
        # Away from b all rows are the same; where they are 0, b holds all.
        c, mixture = self.coefficient(amounts).unsqueeze(-1), self.push_forward(p0, amounts)
        moved = ((1 - c) * self.stationary).clamp_min(0)
        own = (c + moved).clamp_min(0)
        of_own = torch.special.xlogy(own, own / mixture)
        of_others = torch.special.xlogy(moved, moved / mixture)
        nats: Tensor = (of_others.sum(-1, keepdim=True) - of_others + of_own).clamp_min(0)
        return nats if states is None else nats[:, states]

    def draw(self, index: Tensor, amounts: Tensor, generator: torch.Generator | None) -> Tensor:
        return draw_in_blocks(self, index, amounts, generator)

    def evidence(
        self,
        p0: Tensor,
        start: float,  # noqa: ARG002
        end: float,  # noqa: ARG002
        counts: bool,  # noqa: ARG002
    ) -> "RankOneSource":
        return RankOneSource(self, p0)


class RankOneSource(nn.Module):
    """The `EvidenceSource` of M(a) = c I + (1 - c) 1 piᵀ.

    The evidence is the state itself at the share c p0_x / (c p0_x + (1 - c) pi_x), and else p0.
    """

    p0: Tensor

    def __init__(self, kernel: RankOneKernel, p0: Tensor) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("p0", p0, persistent=False)

    def at(self, x_t: Tensor, amounts: Tensor) -> "RankOneEvidence":
        """The evidence of states x_t [batch, *dims] after amounts that broadcast to this shape."""
        c = self.kernel.coefficient(amounts.expand(x_t.shape))
        own = c * self.p0[x_t]
        return RankOneEvidence(self.p0, x_t, own / (own + (1 - c) * self.kernel.stationary[x_t]))

    def push_forward(self, amounts: Tensor) -> Tensor | None:  # noqa: ARG002
        """None: there is no table."""
        return None


class RankOneEvidence:
    """Implements `scud.typing.Evidence`; own [batch, *dims] is the share of the state itself."""

    def __init__(self, p0: Tensor, x_t: Tensor, own: Tensor) -> None:
        self.p0, self.x_t, self.own = p0, x_t, own

    def embed(self, weight: Tensor) -> Tensor:
        with full_precision(weight):
            dtype = torch.promote_types(weight.dtype, torch.float32)
            unseen = self.p0.to(dtype) @ weight.to(dtype)
            seen = nn.functional.embedding(self.x_t, weight).to(dtype)
            share = self.own.to(dtype).unsqueeze(-1)
            return torch.lerp(unseen.expand_as(seen), seen, share).to(weight.dtype)

    def probs(self) -> Tensor:
        return self.embed(torch.eye(self.p0.shape[0], device=self.x_t.device))

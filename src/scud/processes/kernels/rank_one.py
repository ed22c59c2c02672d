"""Rank-one kernels: one event forgets everything with probability 1 - c, so M(a) = c(a) I + (1 - c(a)) 1 piᵀ.

Q = rho (1 piᵀ - I). Counting events at rate r: K = c I + (1 - c) 1 piᵀ with c = 1 - rho / r, and c(n) = c^n; in time,
c(tau) = exp(-rho tau). c is negative where an event rarely leaves the state as it is; M(a) is then applied as a sum over
the state itself and the others, of terms of one sign.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from scud import numerics
from scud.numerics import full_precision
from scud.processes.kernels.base import Kernel, columns_in_blocks, draw_in_blocks
from scud.processes.kernels.operator import Identity, Operator


class RankOneOperator(Operator):
    def __init__(self, kept: Tensor, stationary: Tensor, alternating: bool) -> None:
        self.kept = kept.unsqueeze(-1)
        self.stationary, self.alternating = stationary, alternating

    def rows(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        one_hot = nn.functional.one_hot(index, self.stationary.shape[0])
        return (self.kept * one_hot + (1 - self.kept) * self.stationary).clamp_min(0).to(dtype)

    def columns(self, index: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
        one_hot = nn.functional.one_hot(index, self.stationary.shape[0])
        return (self.kept * one_hot + (1 - self.kept) * self.stationary[index].unsqueeze(-1)).clamp_min(0).to(dtype)

    def apply(self, vectors: Tensor) -> Tensor:
        kept = self.kept.to(vectors.dtype)
        if self.alternating:
            stays = (self.kept + (1 - self.kept) * self.stationary).clamp_min(0).to(vectors.dtype)
            moves = ((1 - self.kept) * self.stationary).to(vectors.dtype)
            return stays * vectors + moves * sum_of_others(vectors)
        return kept * vectors + ((1 - kept) * vectors.sum(-1, keepdim=True)) * self.stationary.to(vectors.dtype)

    def draw(self, index: Tensor, generator: torch.Generator | None) -> Tensor:
        kept, share = self.kept.squeeze(-1), self.stationary[index]
        stays = numerics.draw_uniform(index, generator) < (kept + (1 - kept) * share)
        # A state that moves is drawn from pi without the state it leaves: skip that state's stretch of the unit interval.
        target = numerics.draw_uniform(index, generator) * (1 - share)
        before = self.stationary.cumsum(0) - self.stationary
        target = target + torch.where(target >= before[index], share, 0.0)
        moved = torch.searchsorted(before, target, right=True) - 1
        return torch.where(stays, index, moved)


def sum_of_others(vectors: Tensor) -> Tensor:
    """Σ_{b ≠ y} v_b for every y of vectors [N, B] >= 0, without cancellation: the largest entry is never subtracted."""
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

    def kept(self, amounts: Tensor) -> Tensor:
        """c(a) for amounts of any shape, float64."""
        return torch.pow(torch.tensor(self.base, dtype=torch.float64, device=amounts.device), amounts.double())

    def matrices(self, amounts: Tensor) -> Tensor:
        states = torch.arange(self.num_states, device=amounts.device)
        kept = self.kept(amounts).repeat_interleave(self.num_states)
        rows = RankOneOperator(kept, self.stationary, self.base < 0).rows(states.repeat(amounts.shape[0]))
        return rows.reshape(-1, self.num_states, self.num_states)

    def operator(self, amounts: Tensor) -> Operator:
        if float(amounts.max()) == 0:
            return Identity(self.num_states)
        return self._operator(amounts)  # the closed form is cheaper than any dense product

    def _operator(self, amounts: Tensor) -> Operator:
        return RankOneOperator(self.kept(amounts), self.stationary, self.base < 0)

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
        kept = self.kept(amounts).unsqueeze(-1)
        return kept * law + (1 - kept) * law.sum() * self.stationary

    def divergences(self, p0: Tensor, amounts: Tensor, states: Tensor | None = None) -> Tensor:
        # Away from b all rows are the same; where they are 0, b holds all.
        kept, mixture = self.kept(amounts).unsqueeze(-1), self.push_forward(p0, amounts)
        moved = ((1 - kept) * self.stationary).clamp_min(0)
        own = (kept + moved).clamp_min(0)
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
    """Evidence of M(a) = c I + (1 - c) 1 piᵀ: the state itself at the share c p0_x / (c p0_x + (1 - c) pi_x), else p0."""

    p0: Tensor

    def __init__(self, kernel: RankOneKernel, p0: Tensor) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("p0", p0, persistent=False)

    def at(self, x_t: Tensor, amounts: Tensor) -> "RankOneEvidence":
        """The evidence of states x_t [batch, *dims] after amounts that broadcast to the same shape."""
        kept = self.kernel.kept(amounts.expand(x_t.shape))
        own = kept * self.p0[x_t]
        return RankOneEvidence(self.p0, x_t, own / (own + (1 - kept) * self.kernel.stationary[x_t]))

    def push_forward(self, amounts: Tensor) -> Tensor | None:  # noqa: ARG002
        """None: there is no table."""
        return None


class RankOneEvidence:
    """Implements `scud.typing.Evidence` for one noised batch; own [batch, *dims] is the share of the state itself."""

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

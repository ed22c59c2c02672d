"""Evidence of sparse kernels: what a noised state says of the clean one.

With K^s = A^s + 1 v_sᵀ (see `sparse`) it is e = (p0 ∘ A^s[:, x] + v_s[x] p0) / (p0 K^s)[x].

A table over tens of thousands of states would be larger than the network. Instead the columns
A^s[:, x], the ancestors of x, are walked for the pairs of count and state that occur.
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from scud.numerics import full_precision
from scud.processes.kernels.walks import Edges, Walked


class Ancestry(Protocol):
    """What the evidence asks of a sparse kernel.

    Attributes:
        jumps: v_s for all counts s that are told apart, [longest + 1, B].
    """

    jumps: Tensor

    def counts(self, amounts: Tensor) -> Tensor:
        """Counts of events that are told apart, int64, of the shape of amounts."""
        ...

    def ancestors(
        self,
        counts: Tensor,
        states: Tensor,
        dtype: torch.dtype,
    ) -> tuple[Walked, Tensor]:
        """A^s[:, x] of the distinct pairs of s and x, both [N], and which pair each is, [N]."""
        ...


class AncestorSource(nn.Module):
    """The `EvidenceSource` of a sparse kernel.

    Args:
        kernel: the kernel, a module.
        p0: training marginal [B] float64.
        totals: p0 K^s for all counts s that are told apart, [longest + 1, B].
    """

    kernel: Ancestry
    p0: Tensor
    totals: Tensor

    def __init__(self, kernel: Ancestry, p0: Tensor, totals: Tensor) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("p0", p0, persistent=False)
        self.register_buffer("totals", totals, persistent=False)

    def at(self, x_t: Tensor, amounts: Tensor) -> "AncestorEvidence":
        """The evidence of states x_t [batch, *dims] after amounts that broadcast to this shape."""
        return AncestorEvidence(self, x_t, amounts.expand(x_t.shape))

    def push_forward(self, amounts: Tensor) -> Tensor | None:
        """p0 K^s for amounts s [n]: -> [n, B]."""
        return self.totals[self.kernel.counts(amounts)]


class AncestorEvidence:
    """Implements `scud.typing.Evidence` for one noised batch."""

    def __init__(self, source: AncestorSource, x_t: Tensor, amounts: Tensor) -> None:
        self.source, self.x_t = source, x_t
        self.counts = source.kernel.counts(amounts)

    def embed(self, weight: Tensor) -> Tensor:
        with full_precision(weight):
            wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
            rows: Tensor = _Ancestral.apply(wide, self)  # type: ignore[no-untyped-call]
            return rows.reshape(*self.x_t.shape, -1).to(weight.dtype)

    def probs(self) -> Tensor:
        return self.embed(torch.eye(self.source.p0.shape[0], device=self.x_t.device))


class _Ancestral(torch.autograd.Function):
    """Evidence e of N positions times a weight: [B, d] -> [N, d].

    The gradient is made in one array of the weight's size.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        weight: Tensor,
        evidence: AncestorEvidence,
    ) -> Tensor:
        source, counts, states = evidence.source, evidence.counts.flatten(), evidence.x_t.flatten()
        walked, place = source.kernel.ancestors(counts, states, weight.dtype)
        p0 = source.p0.to(weight.dtype).unsqueeze(1)
        jump = source.kernel.jumps[counts, states].to(weight.dtype).unsqueeze(1)
        total = source.totals[counts, states].to(weight.dtype).unsqueeze(1)
        ctx.lists = walked.lists  # type: ignore[attr-defined]
        ctx.save_for_backward(walked.dense, place, p0, jump, total)
        joint = p0 * weight
        rows = walked.times(joint).index_select(0, place)
        return rows.addcmul_(jump, joint.sum(0)).div_(total)

    @staticmethod
    def backward(
        ctx: torch.autograd.function.FunctionCtx,
        *upstream: Tensor,
    ) -> tuple[Tensor, None]:
        lists: Edges = ctx.lists  # type: ignore[attr-defined]
        dense, place, p0, jump, total = ctx.saved_tensors  # type: ignore[attr-defined]
        rows, listed = upstream[0] / total, len(lists.first) - 1
        merged = rows.new_zeros(listed + len(dense), rows.shape[1]).index_add_(0, place, rows)
        walked = lists.transposed(len(p0)).times(merged[:listed]).addmm_(dense.T, merged[listed:])
        return walked.add_((jump * rows).sum(0)).mul_(p0), None

"""Evidence: what the noised state at a position says of the clean one there, in the form networks take it.

e_b = p0_b M(a)[b, x_t] / (p0 M(a))[x_t], embedded as e @ E = [M(a)ᵀ (p0 ∘ E)][x_t] / (p0 M(a))[x_t]. The products are
taken once per step for the amounts that serve as nodes (every count up to 16, then 12% apart), not once per position;
between nodes the embedding is interpolated linearly in the amount. Odd counts are interpolated between odd nodes and even
ones between even nodes: a kernel that rarely stays where it is alternates. It is an input of the network, the same in training,
evaluation and sampling, so the interpolation costs the bound nothing.

Two kernels need no such table. Where one event forgets all but a share c(a) of the state, the evidence is that state and p0, in
closed form. Of sparse kernels over tens of thousands of states, a table would be larger than the network: the columns of M(a) are
walked for the pairs (a, x_t) that occur.
"""

import math
from typing import Protocol

import torch
from torch import Tensor, nn

from scud.numerics import full_precision
from scud.processes import Kernel
from scud.processes.kernels.rank_one import RankOneKernel
from scud.processes.kernels.sparse import SparseKernel
from scud.processes.kernels.walks import Edges
from scud.typing import Evidence

SPACING = 1.12


class EvidenceSource(Protocol):
    """What makes the evidence of noised batches, for one kernel and p0."""

    def at(self, x_t: Tensor, amounts: Tensor) -> Evidence:
        """The evidence of states x_t [batch, *dims] after amounts that broadcast to the same shape."""
        ...


def evidence_source(
    kernel: Kernel, p0: Tensor, start: float, end: float, counts: bool
) -> "RankOneSource | AncestorSource | EvidenceTable":
    """The `EvidenceSource` that suits a kernel; arguments as of `EvidenceTable`."""
    if isinstance(kernel, RankOneKernel):
        return RankOneSource(kernel, p0)
    if isinstance(kernel, SparseKernel):
        return AncestorSource(kernel, p0)
    return EvidenceTable(kernel, p0, start, end, counts)


class EvidenceTable(nn.Module):
    """The nodes for one kernel and p0.

    Args:
        kernel: M(a).
        p0: training marginal [B] float64.
        start: the first node of the geometric grid; even for counts, which are told apart one by one up to it.
        end: the largest amount that matters; larger ones are read as this one.
        counts: whether amounts are whole numbers.
    """

    nodes: Tensor
    p0: Tensor
    totals: Tensor

    def __init__(self, kernel: Kernel, p0: Tensor, start: float, end: float, counts: bool) -> None:
        super().__init__()
        self.counts = counts
        steps = max(math.ceil(math.log(end / start) / math.log(SPACING)) + 1, 2)
        beyond = start * SPACING ** torch.arange(steps, dtype=torch.float64)
        nodes = torch.cat([torch.zeros(1, dtype=torch.float64), beyond])
        if counts:
            nodes = torch.cat([torch.arange(0, start, 2, dtype=torch.float64), torch.unique((beyond / 2).round() * 2)])
        amounts = torch.cat([nodes, nodes + 1]) if counts else nodes
        self.register_buffer("nodes", nodes, persistent=False)
        self.transport = kernel.transport(amounts)
        self.register_buffer("p0", p0, persistent=False)
        totals = torch.cat([p0 @ kernel.matrices(amount.unsqueeze(0)) for amount in amounts])
        self.register_buffer("totals", totals.clamp_min(torch.finfo(torch.float64).tiny), persistent=False)

    def at(self, x_t: Tensor, amounts: Tensor) -> "KernelEvidence":
        """The evidence of states x_t [batch, *dims] after amounts that broadcast to the same shape."""
        return KernelEvidence(self, x_t, amounts.expand(x_t.shape).double())


class KernelEvidence:
    """Implements `scud.typing.Evidence` for one noised batch."""

    def __init__(self, table: EvidenceTable, x_t: Tensor, amounts: Tensor) -> None:
        self.table, self.x_t, self.amounts = table, x_t, amounts

    def embed(self, weight: Tensor) -> Tensor:
        table, nodes = self.table, self.table.nodes
        odd = self.amounts % 2 if table.counts else torch.zeros_like(self.amounts)
        even = (self.amounts - odd).clamp_max(nodes[-1])
        right = torch.searchsorted(nodes, even)
        left = (right - 1).clamp_min(0)
        width = (nodes[right] - nodes[left]).clamp_min(torch.finfo(torch.float64).tiny)
        share = ((even - nodes[left]) / width).unsqueeze(-1)
        with full_precision(weight):
            dtype = torch.promote_types(weight.dtype, torch.float32)
            sums = table.transport(table.p0.to(dtype).unsqueeze(1) * weight.to(dtype))
            rows = (sums / table.totals.to(dtype).unsqueeze(-1)).flatten(0, 1)
            ends = ((at + len(nodes) * odd.long()) * weight.shape[0] + self.x_t for at in (left, right))
            low, high = (nn.functional.embedding(index, rows) for index in ends)
            return torch.lerp(low, high, share.to(dtype)).to(weight.dtype)

    def probs(self) -> Tensor:
        return self.embed(torch.eye(self.table.p0.shape[0], device=self.x_t.device))


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


class RankOneEvidence:
    """Implements `scud.typing.Evidence` for one noised batch; own [batch, *dims] is the share of the state itself."""

    def __init__(self, p0: Tensor, x_t: Tensor, own: Tensor) -> None:
        self.p0, self.x_t, self.own = p0, x_t, own

    def embed(self, weight: Tensor) -> Tensor:
        with full_precision(weight):
            dtype = torch.promote_types(weight.dtype, torch.float32)
            unseen, seen = self.p0.to(dtype) @ weight.to(dtype), nn.functional.embedding(self.x_t, weight).to(dtype)
            return torch.lerp(unseen.expand_as(seen), seen, self.own.to(dtype).unsqueeze(-1)).to(weight.dtype)

    def probs(self) -> Tensor:
        return self.embed(torch.eye(self.p0.shape[0], device=self.x_t.device))


class AncestorSource(nn.Module):
    """Evidence of sparse kernels, K^s = A^s + 1 v_sᵀ: e = (p0 ∘ A^s[:, x] + v_s[x] p0) / (p0 K^s)[x]."""

    p0: Tensor
    totals: Tensor

    def __init__(self, kernel: SparseKernel, p0: Tensor) -> None:
        super().__init__()
        self.kernel = kernel
        self.register_buffer("p0", p0, persistent=False)
        totals = kernel.pushed(p0, torch.arange(kernel.longest + 1, dtype=torch.float64))
        self.register_buffer("totals", totals.to(kernel.jumps.dtype), persistent=False)

    def at(self, x_t: Tensor, amounts: Tensor) -> "AncestorEvidence":
        """The evidence of states x_t [batch, *dims] after amounts that broadcast to the same shape."""
        return AncestorEvidence(self, x_t, amounts.expand(x_t.shape))


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
    """Evidence e of N positions times a weight: [B, d] -> [N, d]. The gradient is made in one array of the weight's size."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, weight: Tensor, evidence: AncestorEvidence) -> Tensor:
        source, counts, states = evidence.source, evidence.counts.flatten(), evidence.x_t.flatten()
        walked, place = source.kernel.ancestors(counts, states, weight.dtype)
        p0 = source.p0.to(weight.dtype).unsqueeze(1)
        jump, total = (
            table[counts, states].to(weight.dtype).unsqueeze(1) for table in (source.kernel.jumps, source.totals)
        )
        ctx.lists = walked.lists  # type: ignore[attr-defined]
        ctx.save_for_backward(walked.dense, place, p0, jump, total)
        joint = p0 * weight
        return walked.times(joint).index_select(0, place).addcmul_(jump, joint.sum(0)).div_(total)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *upstream: Tensor) -> tuple[Tensor, None]:
        lists: Edges = ctx.lists  # type: ignore[attr-defined]
        dense, place, p0, jump, total = ctx.saved_tensors  # type: ignore[attr-defined]
        rows, listed = upstream[0] / total, len(lists.first) - 1
        merged = rows.new_zeros(listed + len(dense), rows.shape[1]).index_add_(0, place, rows)
        walked = lists.transposed(len(p0)).times(merged[:listed]).addmm_(dense.T, merged[listed:])
        return walked.add_((jump * rows).sum(0)).mul_(p0), None


class MaskEvidence:
    """Evidence under masking: one-hot at a state that is seen, p0 where it is masked (x_t = B)."""

    def __init__(self, p0: Tensor, x_t: Tensor) -> None:
        self.p0, self.x_t = p0, x_t

    def embed(self, weight: Tensor) -> Tensor:
        with full_precision(weight):
            dtype = torch.promote_types(weight.dtype, torch.float32)
            unseen = self.p0.to(dtype) @ weight.to(dtype)
            rows = torch.cat([weight, unseen.unsqueeze(0).to(weight.dtype)])
            return nn.functional.embedding(self.x_t, rows)

    def probs(self) -> Tensor:
        return self.embed(torch.eye(self.p0.shape[0], device=self.x_t.device))

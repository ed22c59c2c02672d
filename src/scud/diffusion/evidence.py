"""Evidence: what the noised state at a position says of the clean one there, in the form networks take it.

e_b = p0_b M(a)[b, x_t] / (p0 M(a))[x_t], embedded as e @ E = [M(a)ᵀ (p0 ∘ E)][x_t] / (p0 M(a))[x_t]. The products are
taken once per step for the amounts that serve as nodes (every count up to 16, then 12% apart), not once per position;
between nodes the embedding is interpolated linearly in the amount. Odd counts are interpolated between odd nodes and even
ones between even nodes: a kernel that rarely stays where it is alternates. It is an input of the network, the same in training,
evaluation and sampling, so the interpolation costs the bound nothing.
"""

import math

import torch
from torch import Tensor, nn

from scud.numerics import full_precision
from scud.processes import Kernel

SPACING = 1.12


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

"""Evidence by a table: what a noised state says of the clean one, from a kernel's matrices.

e_b = p0_b M(a)[b, x_t] / (p0 M(a))[x_t], embedded as

    e @ E = [M(a)ᵀ (p0 ∘ E)][x_t] / (p0 M(a))[x_t].

The products are taken once per step for the amounts that serve as nodes (every count up to `start`,
then 12% apart), not once per position; between nodes the embedding is interpolated linearly in the
amount. Odd counts are interpolated between odd nodes and even ones between even nodes: a kernel
that rarely stays where it is alternates. The evidence is an input of the network, the same in
training, evaluation and sampling, so the interpolation costs the bound nothing.
"""

import math

import torch
from torch import Tensor, nn

from scud.numerics import full_precision

SPACING = 1.12
"""The ratio of neighbouring nodes beyond the first."""


def table_amounts(start: float, end: float, counts: bool) -> tuple[Tensor, Tensor]:
    """The nodes [n] of a table, and all amounts [n or 2n] in it: odd counts beside even ones.

    Args:
        start: the first node of the geometric grid; even for counts, which are told apart one by
            one up to it.
        end: the largest amount that matters.
        counts: whether amounts are whole numbers.
    """
    steps = max(math.ceil(math.log(end / start) / math.log(SPACING)) + 1, 2)
    beyond = start * SPACING ** torch.arange(steps, dtype=torch.float64)
    if not counts:
        nodes = torch.cat([torch.zeros(1, dtype=torch.float64), beyond])
        return nodes, nodes
    even = torch.unique((beyond / 2).round() * 2)
    nodes = torch.cat([torch.arange(0, start, 2, dtype=torch.float64), even])
    return nodes, torch.cat([nodes, nodes + 1])


class EvidenceTable(nn.Module):
    """The `EvidenceSource` of one kernel and p0; amounts beyond the last node are read as it.

    Args:
        transport: weight [B, d] -> M(a)ᵀ weight [m, B, d] for all amounts of the table.
        totals: p0 M(a) for these, [m, B] float64.
        p0: training marginal [B] float64.
        nodes: [n] float64, ascending from 0; even numbers for counts.
        counts: whether amounts are whole numbers; the table then holds nodes and nodes + 1, m = 2n.
    """

    nodes: Tensor
    p0: Tensor
    totals: Tensor

    def __init__(
        self,
        transport: nn.Module,
        totals: Tensor,
        p0: Tensor,
        nodes: Tensor,
        counts: bool,
    ) -> None:
        super().__init__()
        self.counts = counts
        self.transport = transport
        self.register_buffer("nodes", nodes, persistent=False)
        self.register_buffer("p0", p0, persistent=False)
        tiny = torch.finfo(torch.float64).tiny
        self.register_buffer("totals", totals.clamp_min(tiny), persistent=False)

    def at(self, x_t: Tensor, amounts: Tensor) -> "TableEvidence":
        """The evidence of states x_t [batch, *dims] after amounts that broadcast to this shape."""
        return TableEvidence(self, x_t, amounts.expand(x_t.shape).double())

    def push_forward(self, amounts: Tensor) -> Tensor | None:  # noqa: ARG002
        """None: the table has p0 M(a) at its nodes only."""
        return None

    def around(self, amounts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where in the table the amounts next below and above are, and how far it is between them.

        Returns:
            low, high: places in 0..m-1, int64, of the shape of amounts.
            share: in [0, 1], float64, of that shape.
        """
        odd = amounts % 2 if self.counts else torch.zeros_like(amounts)
        even = (amounts - odd).clamp_max(self.nodes[-1])
        right = torch.searchsorted(self.nodes, even)
        left = (right - 1).clamp_min(0)
        tiny = torch.finfo(torch.float64).tiny
        width = (self.nodes[right] - self.nodes[left]).clamp_min(tiny)
        share = (even - self.nodes[left]) / width
        offset = len(self.nodes) * odd.long()
        return left + offset, right + offset, share

    def embed_all(self, weight: Tensor) -> Tensor:
        """The evidence of every amount and state times a weight [B, d]: -> [m, B, d]."""
        sums: Tensor = self.transport(self.p0.to(weight.dtype).unsqueeze(1) * weight)
        return sums / self.totals.to(weight.dtype).unsqueeze(-1)


class TableEvidence:
    """Implements `scud.typing.Evidence` for one noised batch."""

    def __init__(self, table: EvidenceTable, x_t: Tensor, amounts: Tensor) -> None:
        self.table, self.x_t, self.amounts = table, x_t, amounts

    def embed(self, weight: Tensor) -> Tensor:
        low, high, share = self.table.around(self.amounts)
        with full_precision(weight):
            dtype = torch.promote_types(weight.dtype, torch.float32)
            rows = self.table.embed_all(weight.to(dtype)).flatten(0, 1)
            num_states = weight.shape[0]
            below = nn.functional.embedding(low * num_states + self.x_t, rows)
            above = nn.functional.embedding(high * num_states + self.x_t, rows)
            return torch.lerp(below, above, share.unsqueeze(-1).to(dtype)).to(weight.dtype)

    def probs(self) -> Tensor:
        return self.embed(torch.eye(self.table.p0.shape[0], device=self.x_t.device))

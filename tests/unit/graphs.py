"""Graphs to test with."""

import torch
from torch import Tensor


def random_graph(
    num_states: int, width: int, seed: int, connected: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Neighbours and rates [B, k] of a directed graph, in two parts or one, some states with fewer than k; and a marginal [B]."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(num_states, num_states, generator=generator)
    half = torch.arange(num_states) < num_states // 2
    scores = scores if connected else scores.masked_fill(half.unsqueeze(1) != half, -1)
    scores.fill_diagonal_(-2)
    neighbours = scores.topk(width, dim=1).indices
    missing = torch.rand(num_states, width, generator=generator) < 0.2
    rates = torch.rand(num_states, width, generator=generator, dtype=torch.float64) + 0.1
    marginal = torch.rand(num_states, generator=generator, dtype=torch.float64) ** 4 + 1e-3
    return neighbours.masked_fill(missing & (neighbours > 0), -1), rates, marginal / marginal.sum()

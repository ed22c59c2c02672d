"""An exponential moving average of a network's weights."""

from copy import deepcopy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema(nn.Module):
    """The average, as a network of its own in float32 and evaluation mode.

    After each optimiser step: average <- d average + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)) after n
    earlier updates, so that the first weights are soon forgotten. Buffers are copied.

    Args:
        network: what to average; the average starts as a copy of it.
        decay: in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.network = deepcopy(network).float().eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, updates: int) -> None:
        """Move towards the weights of `network`, `updates` being the number of updates before this one."""
        decay = min(self.decay, (1 + updates) / (10 + updates))
        averages = list(self.network.parameters())
        weights = [weight.to(averages[0].dtype) for weight in network.parameters()]
        get_ema_multi_avg_fn(decay)(averages, weights, None)  # type: ignore[no-untyped-call]
        for copied, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            copied.copy_(buffer)

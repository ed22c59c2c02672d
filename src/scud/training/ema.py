"""An exponential moving average of a network's weights."""

from copy import deepcopy
from itertools import zip_longest

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from scud.errors import check_in_interval, check_number, fail
from scud.training.shards import local


class Ema(nn.Module):
    """The average, as a network of its own in float32 and evaluation mode.

    After each optimiser step: average <- d average + (1 - d) weights, with d = min(decay, (1 + n) / (10 + n)) after n
    earlier updates, so that the first weights are soon forgotten. Buffers are copied. Of weights that are shared out over
    processes, each averages its own.

    Args:
        network: what to average; the average starts as a copy of it.
        decay: in [0, 1).

    Raises:
        UserError: a decay outside of [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        remedy = "0.999 is usual"
        check_number("decay", decay, remedy)
        check_in_interval("decay", decay, 0, 1, remedy, open_high=True)
        self.decay = decay
        self.network = deepcopy(network).float().eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, updates: int) -> None:
        """Move towards the weights of `network`, after `updates` earlier updates.

        Raises:
            UserError: the weights have other shapes than those that are averaged.
        """
        ours, theirs = _shapes(self.network), _shapes(network)
        if ours != theirs:
            pairs = zip_longest(ours, theirs)
            one, other = next(pair for pair in pairs if pair[0] != pair[1])
            one, other = ("none" if shape is None else list(shape) for shape in (one, other))
            rule = f"have the weights that are averaged, here {one}"
            raise fail("network", rule, other, "make a new Ema for another network")
        decay = min(self.decay, (1 + updates) / (10 + updates))
        averages = [local(average) for average in self.network.parameters()]
        weights = [local(weight).to(averages[0].dtype) for weight in network.parameters()]
        get_ema_multi_avg_fn(decay)(averages, weights, None)  # type: ignore[no-untyped-call]
        for copied, buffer in zip(self.network.buffers(), network.buffers(), strict=True):
            copied.copy_(buffer)


def _shapes(network: nn.Module) -> list[torch.Size]:
    """Shapes of a network's weights and buffers, in order."""
    parts = [*network.parameters(), *network.buffers()]
    return [part.shape for part in parts]

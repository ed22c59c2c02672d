"""The numbers that a network keeps its weights in while it trains."""

import torch
from torch import nn


def keep_weights_in(dtype: torch.dtype, network: nn.Module) -> None:
    """Convert a network's weights in place; buffers, such as tables of frequencies, stay as they are."""
    for weight in network.parameters():
        if weight.is_floating_point():
            weight.data = weight.data.to(dtype)

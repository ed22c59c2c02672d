"""Changes of training images that leave them likely images."""

import torch
from torch import Generator, Tensor


def mirror_half(x0: Tensor, generator: Generator) -> Tensor:
    """Images [batch, channels, height, width], each mirrored left to right with probability 1/2."""
    mirrored = torch.rand(len(x0), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)

"""Tensors on their way to a device."""

import torch
from torch import Tensor

AT_ONCE = ("cpu", "mps")
"""Kinds of devices on which numbers must be there before anybody looks: a CPU, and Apple's GPUs, whose memory is the host's."""


def waits(device: torch.device | str) -> bool:
    """Whether the host must wait until what it sends to a device is there."""
    return torch.device(device).type in AT_ONCE


def sent(part: Tensor, device: torch.device | str) -> Tensor:
    """A tensor on a device; where it goes to a GPU, the host goes on before it is there."""
    return part.to(device, non_blocking=not waits(device))

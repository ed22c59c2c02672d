"""Denoisers: networks that read the evidence and the noise level and return logits over the clean state."""

from collections.abc import Callable

from torch import nn

from scud.networks.bytenet import ByteNet
from scud.networks.dit import DiT
from scud.networks.unet import UNet

NETWORKS: dict[str, Callable[..., nn.Module]] = {"bytenet": ByteNet, "dit": DiT, "unet": UNet}
"""Networks by the `kind` of their spec."""

__all__ = ["NETWORKS", "ByteNet", "DiT", "UNet"]

"""Denoisers: networks that read the evidence and the noise level and return logits over the clean state."""

from typing import Any

from scud.networks.bytenet import ByteNet, ByteNetOptions
from scud.networks.dit import DiT, DiTOptions
from scud.networks.labels import reads_labels
from scud.networks.unet import UNet, UNetOptions
from scud.options import by_kind

NetworkOptions = UNetOptions | ByteNetOptions | DiTOptions
"""Options of a network, of one `kind` or another."""

NETWORKS: dict[str, Any] = by_kind(NetworkOptions)
"""Options of networks by `kind`; `.network` is the class that a spec of this kind builds."""

__all__ = [
    "NETWORKS",
    "ByteNet",
    "ByteNetOptions",
    "DiT",
    "DiTOptions",
    "NetworkOptions",
    "UNet",
    "UNetOptions",
    "reads_labels",
]

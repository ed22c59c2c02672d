"""How networks are told the noise level: features of event counts, or of time, one vector per position.

Counts are unbounded, so they are embedded through z = log(1 + s) as sines and cosines of geometric frequencies: neighbouring
small counts differ in every component, and s = 3 and s = 3,000 in the slow ones. Time enters the same way through t.
A network is wired by what its conditioning holds: counts where the model has them (SCUD, masking), else the time.
"""

import math

import torch
from torch import Tensor, nn

from scud.typing import Conditioning


class NoiseLevel(nn.Module):
    """Features of the noise level at every position.

    Args:
        width: length of a feature vector.
        frequencies: number of sines, and of cosines.
    """

    angles: Tensor

    def __init__(self, width: int, frequencies: int = 8) -> None:
        super().__init__()
        self.register_buffer(
            "angles", 0.25 * math.pi * 2 ** (torch.arange(frequencies) / 2), persistent=False
        )
        self.mix = nn.Sequential(
            nn.Linear(2 * frequencies + 2, width), nn.SiLU(), nn.Linear(width, width)
        )

    def forward(self, conditioning: Conditioning, like: Tensor) -> Tensor:
        """Features [batch, *dims, width] for a noised state `like` [batch, *dims]."""
        dtype = torch.promote_types(
            self.angles.dtype, torch.float32
        )  # bfloat16 does not tell large counts apart
        if conditioning.s is not None:
            z = conditioning.s.to(dtype).log1p()
        else:
            t = conditioning.t.to(dtype)
            z = t.reshape(*t.shape, *[1] * (like.ndim - t.ndim)).expand(like.shape) * 8
        angle = z.unsqueeze(-1) * self.angles
        features = torch.cat(
            [angle.sin(), angle.cos(), z.unsqueeze(-1) / 8, (z == 0).unsqueeze(-1)], dim=-1
        )
        mixed: Tensor = self.mix(features.to(self.angles.dtype))
        return mixed

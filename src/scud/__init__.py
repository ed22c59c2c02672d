"""scud: discrete diffusion models of categorical data, conditioned on the jump schedule."""

from scud.diffusion import SCUD, Classical, Diffusion, Elbo, Masking, Noisy
from scud.typing import Conditioning, Denoiser

__version__ = "0.1.0"

__all__ = ["SCUD", "Classical", "Conditioning", "Denoiser", "Diffusion", "Elbo", "Masking", "Noisy"]

"""The bound and the posterior: SCUD, masking and classical diffusion."""

from scud.diffusion.base import Diffusion, Elbo
from scud.diffusion.classical import Classical
from scud.diffusion.masking import Masking
from scud.diffusion.scud import SCUD
from scud.typing import Noisy

__all__ = ["SCUD", "Classical", "Diffusion", "Elbo", "Masking", "Noisy"]

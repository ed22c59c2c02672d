"""The bound and the posterior: SCUD, masking and classical diffusion."""

from scud.diffusion.base import Diffusion, Elbo, Losses
from scud.diffusion.classical import Classical
from scud.diffusion.masking import Masking
from scud.diffusion.objectives import (
    OBJECTIVES,
    Bound,
    Draw,
    Objective,
    ObjectiveOptions,
    Reconstruction,
)
from scud.diffusion.scud import SCUD
from scud.typing import Noisy

__all__ = [
    "OBJECTIVES",
    "SCUD",
    "Bound",
    "Classical",
    "Diffusion",
    "Draw",
    "Elbo",
    "Losses",
    "Masking",
    "Noisy",
    "Objective",
    "ObjectiveOptions",
    "Reconstruction",
]

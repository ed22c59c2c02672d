"""The bound and the posterior: SCUD, masking and classical diffusion."""

from scud.diffusion.base import Diffusion
from scud.diffusion.classical import Classical, ClassicalOptions
from scud.diffusion.estimates import Elbo, Losses
from scud.diffusion.masking import Masking, MaskingOptions
from scud.diffusion.objectives import (
    OBJECTIVES,
    Bound,
    Draw,
    Objective,
    ObjectiveOptions,
    Reconstruction,
)
from scud.diffusion.scud import SCUD, SCUDOptions
from scud.typing import Noisy

__all__ = [
    "OBJECTIVES",
    "SCUD",
    "Bound",
    "Classical",
    "ClassicalOptions",
    "Diffusion",
    "Draw",
    "Elbo",
    "Losses",
    "Masking",
    "MaskingOptions",
    "Noisy",
    "Objective",
    "ObjectiveOptions",
    "Reconstruction",
    "SCUDOptions",
]

"""Arrays to pictures and figures, and those to files."""

from scud.plots.curves import distance_curves, gamma_curve, save_figure, training_curves
from scud.plots.pictures import (
    denoising_animation,
    sample_grid,
    save_animation,
    save_image,
    to_pixels,
)
from scud.plots.scans import heat_map

__all__ = [
    "denoising_animation",
    "distance_curves",
    "gamma_curve",
    "heat_map",
    "sample_grid",
    "save_animation",
    "save_figure",
    "save_image",
    "to_pixels",
    "training_curves",
]

"""Exact draws, divergences that keep their digits, row-wise losses in blocks, and logits made where they are asked for."""

from scud.numerics.categorical import (
    draw_categorical,
    draw_from,
    draw_uniform,
    invert_cdf,
    log_probability,
    stratified_uniform,
    weighted_logits,
)
from scud.numerics.divergence import posterior_divergence
from scud.numerics.logits import LinearLogits, Logits, all_finite
from scud.numerics.rowwise import blockwise, full_precision

__all__ = [
    "LinearLogits",
    "Logits",
    "all_finite",
    "blockwise",
    "draw_categorical",
    "draw_from",
    "draw_uniform",
    "full_precision",
    "invert_cdf",
    "log_probability",
    "posterior_divergence",
    "stratified_uniform",
    "weighted_logits",
]

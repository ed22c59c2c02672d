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
from scud.numerics.devices import fixed_shapes, is_fixed
from scud.numerics.divergence import posterior_divergence
from scud.numerics.logits import LinearLogits, Logits, all_finite
from scud.numerics.rowwise import Block, Either, Rowwise, blockwise, full_precision, stretchwise

__all__ = [
    "Block",
    "Either",
    "LinearLogits",
    "Logits",
    "Rowwise",
    "all_finite",
    "blockwise",
    "draw_categorical",
    "draw_from",
    "draw_uniform",
    "fixed_shapes",
    "full_precision",
    "invert_cdf",
    "is_fixed",
    "log_probability",
    "posterior_divergence",
    "stratified_uniform",
    "stretchwise",
    "weighted_logits",
]

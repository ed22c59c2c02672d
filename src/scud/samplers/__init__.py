"""From noise to data: samplers, one file each."""

from typing import Any

from scud.options import by_kind
from scud.samplers.ancestral import Ancestral
from scud.samplers.base import GridSampler, Sampler
from scud.samplers.batched import Samples, check_number, draw
from scud.samplers.spool import Some, Spool

SamplerOptions = Ancestral
"""The options of any sampler: a sampler is its own options."""

SAMPLERS: dict[str, Any] = by_kind(SamplerOptions)
"""Samplers by the `kind` of their options."""

__all__ = [
    "SAMPLERS",
    "Ancestral",
    "GridSampler",
    "Sampler",
    "SamplerOptions",
    "Samples",
    "Some",
    "Spool",
    "check_number",
    "draw",
]

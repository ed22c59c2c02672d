"""From noise to data."""

from scud.samplers.ancestral import sample, trajectory

__all__ = ["sample", "trajectory"]

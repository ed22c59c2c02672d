"""From noise to data."""

from scud.samplers.ancestral import sample, trajectory
from scud.samplers.sequences import draw_lengths, sample_sequences

__all__ = ["draw_lengths", "sample", "sample_sequences", "trajectory"]

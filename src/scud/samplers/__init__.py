"""From noise to data."""

from scud.samplers.ancestral import sample, trajectory
from scud.samplers.batched import draw_lengths, infill_sequences, sample_sequences

__all__ = ["draw_lengths", "infill_sequences", "sample", "sample_sequences", "trajectory"]

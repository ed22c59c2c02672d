"""Proteins, or other sequences, from a FASTA file: give it by --data.train, and perhaps --data.valid and --data.alphabet."""

from scud.config import Config
from scud.data import SequencesOptions
from scud.diffusion.objectives import Reconstruction
from scud.networks import ByteNetOptions
from scud.processes import Blosum62Options
from scud.training.options import ByPositions


def proteins() -> Config:
    """SCUD with evolutionary noise, and a ByteNet of a million parameters."""
    return Config(
        data=SequencesOptions(),
        process=Blosum62Options(),
        network=ByteNetOptions.preset("1M"),
        objective=Reconstruction(),
        training=ByPositions(steps=1200, batch_tokens=2048, weight_decay=0.01, validate_every=300),
    )

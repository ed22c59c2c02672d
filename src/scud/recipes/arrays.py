"""Tensors of your own: an integer .npy or .npz file, by --data.train, of any dimensions."""

from scud.config import Config
from scud.data import ArraysOptions
from scud.diffusion.objectives import Reconstruction
from scud.networks import DiTOptions
from scud.training.options import ByExamples


def arrays() -> Config:
    """SCUD with uniform noise, and a transformer of a million parameters over the flattened positions."""
    return Config(
        data=ArraysOptions(),
        network=DiTOptions.preset("tiny", dropout=0.0),
        objective=Reconstruction(),
        training=ByExamples(steps=2000, weight_decay=0.01, validation_examples=500),
    )

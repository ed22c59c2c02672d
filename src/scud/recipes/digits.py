"""Handwritten digits of 8x8 pixels and 17 levels: some minutes on two cores."""

from scud.config import Config
from scud.data import DigitsOptions
from scud.networks import UNetOptions
from scud.processes import GaussianOptions
from scud.training.options import ByExamples


def digits() -> Config:
    """SCUD with Gaussian noise on scikit-learn's digits."""
    return Config(
        data=DigitsOptions(),
        process=GaussianOptions(),
        network=UNetOptions(width=32, head="mixed"),
        training=ByExamples(
            steps=2000, warmup=50, weight_decay=0.01, ema_decay=0.995, validate_every=500
        ),
    )

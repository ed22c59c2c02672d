"""Text files on two cores: give it by --data.train, and perhaps --data.valid, --data.tokens and --data.length."""

from scud.config import Config
from scud.data import TextOptions
from scud.diffusion.objectives import Reconstruction
from scud.networks import DiTOptions
from scud.training.options import ByRows


def text() -> Config:
    """SCUD with uniform noise over the bytes of UTF-8, and a transformer of a million parameters."""
    return Config(
        data=TextOptions(tokens="bytes", length=128),
        network=DiTOptions.preset("tiny", dropout=0.0),
        objective=Reconstruction(),
        training=ByRows(
            steps=2000,
            batch_size=32,
            weight_decay=0.01,
            validation_examples=500,
            validation_repeats=1,
        ),
    )

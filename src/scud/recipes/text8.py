"""text8 at the paper's scale: 27 characters, 256 at once. Give its file by --data.train, or --data.hub text8."""

from scud.config import Config
from scud.data import TextOptions
from scud.diffusion.objectives import Reconstruction
from scud.networks import DiTOptions
from scud.training.options import ByRows


def text8() -> Config:
    """SCUD with uniform noise and the paper's transformer; for a GPU."""
    return Config(
        data=TextOptions(),
        network=DiTOptions.preset("paper"),
        objective=Reconstruction(),
        training=ByRows(
            steps=1_000_000,
            batch_size=512,
            accumulate=4,
            learning_rate=3e-4,
            warmup=2500,
            decay="constant",
            ema_decay=0.9999,
            precision="bfloat16",
            validate_every=10_000,
        ),
    )

"""Images: give a file or a folder by --data.train or a hub's name by --data.hub, and a number of levels by --data.num-states."""

from scud.config import Config
from scud.data import ImagesOptions
from scud.networks import UNetOptions
from scud.processes import GaussianOptions
from scud.training.options import ByExamples


def images() -> Config:
    """SCUD with the Gaussian noise of the paper's image models, a mixed head and a U-Net of 4 million parameters."""
    return Config(
        data=ImagesOptions(),
        process=GaussianOptions(),
        network=UNetOptions.preset("4M", head="mixed"),
        training=ByExamples(
            steps=50_000, learning_rate=2e-4, warmup=1000, ema_decay=0.9999, validate_every=1000
        ),
    )

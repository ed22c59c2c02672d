"""CIFAR-10 as in the paper: 256 levels, the U-Net of variational diffusion models. Give its folder by --data.train."""

from scud.config import Config
from scud.data import ImagesOptions
from scud.networks import UNetOptions
from scud.processes import GaussianOptions
from scud.training.options import ByExamples


def cifar10() -> Config:
    """SCUD with Gaussian noise, the paper's network and settings; for a GPU."""
    return Config(
        data=ImagesOptions(flips=True),
        process=GaussianOptions(),
        network=UNetOptions.preset("paper", head="logistic"),
        training=ByExamples(
            steps=400_000,
            batch_size=128,
            learning_rate=2e-4,
            warmup=5000,
            decay="constant",
            weight_decay=0.01,
            ema_decay=0.9999,
            precision="bfloat16",
            validate_every=10_000,
        ),
    )

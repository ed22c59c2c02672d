"""Fashion-MNIST, or other small pictures, on two cores: give the data by --data.train, and the levels by --data.num-states."""

from scud.config import Config
from scud.data import ImagesOptions
from scud.diffusion.objectives import Reconstruction
from scud.networks import UNetOptions
from scud.processes import GaussianOptions
from scud.training.options import ByExamples


def fashion_mnist() -> Config:
    """SCUD with Gaussian noise and a small U-Net."""
    return Config(
        data=ImagesOptions(),
        process=GaussianOptions(),
        network=UNetOptions.preset("0.6M", dropout=0.0, head="mixed"),
        objective=Reconstruction(share=0.5),
        training=ByExamples(
            steps=1500,
            batch_size=16,
            warmup=50,
            weight_decay=0.01,
            validation_examples=500,
            validation_repeats=1,
        ),
    )

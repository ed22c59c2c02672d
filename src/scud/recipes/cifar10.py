"""CIFAR-10 as in the paper: 256 levels, the U-Net of variational diffusion models. Give its folder by --data.train."""

from scud.config import Config, DataConfig, DiffusionConfig, NetworkConfig, ProcessConfig, ScheduleConfig
from scud.training.settings import TrainingConfig


def cifar10() -> Config:
    """SCUD with Gaussian noise, the paper's network and settings; for a GPU."""
    return Config(
        data=DataConfig(kind="images", num_states=256),
        process=ProcessConfig(kind="gaussian", bandwidth=0.05),
        schedule=ScheduleConfig(kind="mutual_information"),
        diffusion=DiffusionConfig(kind="scud", gamma=1.0),
        network=NetworkConfig(kind="unet", width=128, blocks=32, levels=1, dropout=0.1, head="logistic"),
        training=TrainingConfig(
            steps=400_000,
            batch_size=128,
            learning_rate=2e-4,
            warmup=5000,
            decay="constant",
            weight_decay=0.01,
            ema_decay=0.9999,
            flips=True,
            precision="bfloat16",
            validate_every=10_000,
        ),
    )

"""Handwritten digits of 8x8 pixels and 17 levels: some minutes on two cores."""

from scud.config import Config, DataConfig, DiffusionConfig, NetworkConfig, ProcessConfig, ScheduleConfig
from scud.training.settings import TrainingConfig


def digits() -> Config:
    """SCUD with Gaussian noise on scikit-learn's digits."""
    return Config(
        data=DataConfig(kind="digits"),
        process=ProcessConfig(kind="gaussian", bandwidth=0.05),
        schedule=ScheduleConfig(kind="mutual_information"),
        diffusion=DiffusionConfig(kind="scud", gamma=1.0),
        network=NetworkConfig(kind="unet", width=32, blocks=2, levels=2, dropout=0.1, head="mixed"),
        training=TrainingConfig(
            steps=2000,
            batch_size=64,
            learning_rate=2e-3,
            warmup=50,
            weight_decay=0.01,
            ema_decay=0.995,
            validate_every=500,
        ),
    )

"""Text files on two cores: give it by --data.train, and perhaps --data.valid, --data.tokens and --data.length."""

from scud.config import Config, DataConfig, DiffusionConfig, NetworkConfig, ProcessConfig, ScheduleConfig
from scud.training.settings import TrainingConfig


def text() -> Config:
    """SCUD with uniform noise over the bytes of UTF-8, and a transformer of a million parameters."""
    return Config(
        data=DataConfig(kind="text", tokens="bytes", length=128),
        process=ProcessConfig(kind="uniform"),
        schedule=ScheduleConfig(kind="mutual_information"),
        diffusion=DiffusionConfig(kind="scud", gamma=1.0),
        network=NetworkConfig(kind="dit", preset="tiny", dropout=0.0),
        training=TrainingConfig(
            steps=2000,
            batch_size=32,
            reconstruction=1.0,
            learning_rate=2e-3,
            warmup=100,
            weight_decay=0.01,
            ema_decay=0.99,
            validate_every=250,
            validation_examples=500,
            validation_repeats=1,
        ),
    )

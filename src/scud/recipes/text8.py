"""text8 at the paper's scale: 27 characters, 256 at once. Give its file by --data.train, or --data.hub text8."""

from scud.config import Config, DataConfig, DiffusionConfig, NetworkConfig, ProcessConfig, ScheduleConfig
from scud.training.settings import TrainingConfig


def text8() -> Config:
    """SCUD with uniform noise and the paper's transformer; for a GPU."""
    return Config(
        data=DataConfig(kind="text", tokens="characters", length=256),
        process=ProcessConfig(kind="uniform"),
        schedule=ScheduleConfig(kind="mutual_information"),
        diffusion=DiffusionConfig(kind="scud", gamma=1.0),
        network=NetworkConfig(kind="dit", preset="paper", dropout=0.1),
        training=TrainingConfig(
            steps=1_000_000,
            batch_size=512,
            accumulate=4,
            reconstruction=1.0,
            learning_rate=3e-4,
            warmup=2500,
            decay="constant",
            ema_decay=0.9999,
            precision="bfloat16",
            validate_every=10_000,
        ),
    )

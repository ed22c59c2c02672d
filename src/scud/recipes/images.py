"""Images: give a file or a folder by --data.train or a hub's name by --data.hub, and a number of levels by --data.num-states."""

from scud.config import Config, DataConfig, DiffusionConfig, NetworkConfig, ProcessConfig, ScheduleConfig
from scud.training.settings import TrainingConfig


def images() -> Config:
    """SCUD with the Gaussian noise of the paper's image models, a mixed head and a U-Net of 4 million parameters."""
    return Config(
        data=DataConfig(kind="images", num_states=256),
        process=ProcessConfig(kind="gaussian", bandwidth=0.05),
        schedule=ScheduleConfig(kind="mutual_information"),
        diffusion=DiffusionConfig(kind="scud", gamma=1.0),
        network=NetworkConfig(kind="unet", width=64, blocks=2, levels=3, head="mixed"),
        training=TrainingConfig(
            steps=50_000, batch_size=64, learning_rate=2e-4, warmup=1000, ema_decay=0.9999, validate_every=1000
        ),
    )

"""Fashion-MNIST, or other small pictures, on two cores: give the data by --data.train, and the levels by --data.num-states."""

from scud.config import Config, DataConfig, DiffusionConfig, NetworkConfig, ProcessConfig, ScheduleConfig
from scud.training.settings import TrainingConfig


def fashion_mnist() -> Config:
    """SCUD with Gaussian noise and a small U-Net."""
    return Config(
        data=DataConfig(kind="images", num_states=256),
        process=ProcessConfig(kind="gaussian", bandwidth=0.05),
        schedule=ScheduleConfig(kind="mutual_information"),
        diffusion=DiffusionConfig(kind="scud", gamma=1.0),
        network=NetworkConfig(kind="unet", width=32, blocks=1, levels=3, dropout=0.0, head="mixed"),
        training=TrainingConfig(
            steps=1500,
            batch_size=16,
            reconstruction=0.5,
            learning_rate=2e-3,
            warmup=50,
            weight_decay=0.01,
            ema_decay=0.99,
            validate_every=250,
            validation_examples=500,
            validation_repeats=1,
        ),
    )

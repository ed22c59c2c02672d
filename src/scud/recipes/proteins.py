"""Proteins, or other sequences, from a FASTA file: give it by --data.train, and perhaps --data.valid and --data.alphabet."""

from scud.config import Config, DataConfig, DiffusionConfig, NetworkConfig, ProcessConfig, ScheduleConfig
from scud.training.settings import TrainingConfig


def proteins() -> Config:
    """SCUD with evolutionary noise, and a ByteNet of a million parameters."""
    return Config(
        data=DataConfig(kind="sequences", alphabet="protein"),
        process=ProcessConfig(kind="blosum62", normalized=True),
        schedule=ScheduleConfig(kind="mutual_information"),
        diffusion=DiffusionConfig(kind="scud", gamma=1.0),
        network=NetworkConfig(kind="bytenet", width=256, layers=6, dropout=0.1),
        training=TrainingConfig(
            steps=1200,
            batch_tokens=2048,
            reconstruction=1.0,
            learning_rate=2e-3,
            warmup=100,
            weight_decay=0.01,
            ema_decay=0.99,
            validate_every=300,
        ),
    )

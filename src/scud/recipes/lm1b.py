"""The One Billion Word Benchmark as in the paper: 30,522 WordPieces, 128 at once.

Give the vocabulary by --data.tokens and an embedding of it by --process.neighbours, or one .npz file of `vocab`, `knn_idx` and
`knn_cos` for both; and the text by --data.train, or --data.hub lm1b.
"""

from scud.config import Config, DataConfig, DiffusionConfig, NetworkConfig, ProcessConfig, ScheduleConfig
from scud.training.settings import TrainingConfig


def lm1b() -> Config:
    """SCUD with noise that moves a token to its neighbours in meaning, and the paper's transformer; for a GPU."""
    return Config(
        data=DataConfig(kind="text", tokens="vocab.txt", length=128),
        process=ProcessConfig(kind="neighbour_graph", nearest=10, bandwidth=0.3, marginal_rate=0.2),
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

"""The One Billion Word Benchmark as in the paper: 30,522 WordPieces, 128 at once.

Give the vocabulary by --data.tokens and an embedding of it by --process.neighbours, or one .npz file of `vocab`, `knn_idx` and
`knn_cos` for both; and the text by --data.train, or --data.hub lm1b.
"""

from dataclasses import replace

from scud.config import Config
from scud.data import TextOptions
from scud.processes import NeighbourGraphOptions
from scud.recipes.text8 import text8


def lm1b() -> Config:
    """SCUD with noise that moves a token to its neighbours in meaning, and the paper's transformer; for a GPU."""
    return replace(
        text8(), data=TextOptions(tokens="vocab.txt", length=128), process=NeighbourGraphOptions()
    )

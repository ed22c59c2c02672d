"""Small vocabularies and texts, for tests."""

from pathlib import Path

import numpy as np

from scud.data.text.tokenizers.subword import Subword, wordpiece

ENTRIES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "cat",
    "s",
    "##s",
    "sat",
    "un",
    "##sat",
    ".",
    "[",
    "]",
    "sep",
]
"""A WordPiece vocabulary; [SEP] is state 3."""

WORDS = ["the", "cat", "sat", "cats", "unsat", "s"]
"""Words that it can write."""


def some_text(words: int, seed: int = 0) -> str:
    """So many words, nine to a line."""
    return "".join(
        f"{word}{'. ' if n % 9 else chr(10)}"
        for n, word in enumerate(np.random.default_rng(seed).choice(WORDS, words))
    )


def vocabulary() -> Subword:
    return wordpiece(ENTRIES)


def write_vocabulary(folder: Path) -> Path:
    path = folder / "vocab.txt"
    path.write_text("".join(f"{entry}\n" for entry in ENTRIES))
    return path

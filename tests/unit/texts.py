"""Small vocabularies and texts, for tests."""

from pathlib import Path

from scud.data.subword import Subword, wordpiece

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


def vocabulary() -> Subword:
    return wordpiece(ENTRIES)


def write_vocabulary(folder: Path) -> Path:
    path = folder / "vocab.txt"
    path.write_text("".join(f"{entry}\n" for entry in ENTRIES))
    return path

"""Sequences on disk, for tests."""

from pathlib import Path

import numpy as np

from scud.data import SequenceSet, find_alphabet
from scud.data.sequences.fasta import write_fasta
from scud.data.sequences.store import build_stores

PROTEIN = find_alphabet("protein")


def save(folder: Path, sequences: list[str], name: str = "some.fasta") -> Path:
    write_fasta(folder / name, ((f"s{i}", sequence) for i, sequence in enumerate(sequences)))
    return folder / name


def texts(sequences: SequenceSet) -> list[str]:
    return [PROTEIN.decode(sequences.sequence(i)) for i in range(len(sequences))]


def random_fasta(path: Path, count: int, shortest: int, longest: int, seed: int = 0) -> Path:
    """Write `count` random proteins of `shortest` to `longest` residues."""
    random = np.random.default_rng(seed)
    letters = np.array(list(PROTEIN.letters))
    lengths = random.integers(shortest, longest + 1, count)
    records = (
        f">p{i}\n{''.join(random.choice(letters, length))}\n" for i, length in enumerate(lengths)
    )
    path.write_text("".join(records))
    return path


def write_sequences(
    folder: Path, count: int, shortest: int, longest: int, seed: int = 0
) -> SequenceSet:
    """Random proteins as a store below `folder`."""
    path = random_fasta(folder / "random.fasta", count, shortest, longest, seed)
    return build_stores(path, PROTEIN, cache=folder / "cache")["train"]

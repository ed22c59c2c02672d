"""What was read from a file of sequences: what was left out, cut and read as something else, and of which alphabet it seems."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scud.data.sequences.alphabets import INVALID, Alphabet

_BASES, _AMBIGUOUS = "ACGTUN", "RYSWKMBDHV"
"""Letters of DNA and RNA: those of bases and of an unknown one, and of what is one of several."""


@dataclass
class Tally:
    """What was read from a file.

    Attributes:
        records, residues: all of them.
        short, long: sequences that were dropped for their length.
        cut, parts: sequences that were cut, and the parts they gave.
        blank: examples that were dropped because no residue was known.
        unused: records that the given splits leave out.
        folded: lower-case letters that were read as upper case.
        letters: counts of letters that were read as another letter or as unknown.
    """

    records: int = 0
    residues: int = 0
    short: int = 0
    long: int = 0
    cut: int = 0
    parts: int = 0
    blank: int = 0
    unused: int = 0
    folded: int = 0
    letters: dict[str, int] = field(default_factory=dict)

    def add_letters(self, alphabet: Alphabet, written: NDArray[np.int64]) -> None:
        """Count the letters of a file, written [256] times each."""
        self.residues = int(written.sum())
        upper = written.copy()
        if alphabet.folds:
            lower = slice(ord("a"), ord("z") + 1)
            upper[ord("A") : ord("Z") + 1] += written[lower]
            self.folded = int(written[lower].sum())
        self.letters = {
            letter: int(upper[ord(letter)]) for letter in alphabet.others if upper[ord(letter)]
        }

    def letter_lines(self, replaced: Mapping[str, str]) -> list[str]:
        """What letters were read as, a line each; replaced: the letter that a letter is read as."""
        changed = [
            f"{letter} as {replaced.get(letter, 'unknown')} {count:,}x"
            for letter, count in self.letters.items()
        ]
        lines = [f"read {', '.join(changed)}"] if changed else []
        if self.folded:
            lines.append(f"read {self.folded:,} lower-case letters as upper case")
        return lines


def read_as(alphabet: Alphabet, texts: list[str]) -> tuple[list[str], str]:
    """How the letters of a few sequences, as written, were read, a line each; and `seems` of these."""
    letters = np.frombuffer("".join(texts).encode("latin-1", "replace"), dtype=np.uint8)
    written = np.bincount(letters, minlength=256)
    tally = Tally()
    tally.add_letters(alphabet, written)
    return tally.letter_lines(alphabet.replaced), seems(alphabet, written)


def seems(alphabet: Alphabet, written: NDArray[np.int64]) -> str:
    """The alphabet that letters seem to be of, written [256] times each, if it is another one: dna or rna; else empty.

    They seem to be of DNA or RNA where nine in ten are bases or N, all but one in a hundred are codes of DNA or RNA, and every
    base is at least one in a hundred.
    """
    count = {letter: int(written[ord(letter)]) for letter in _BASES + _AMBIGUOUS}
    if alphabet.folds:
        count = {letter: n + int(written[ord(letter.lower())]) for letter, n in count.items()}
    total = int(written[alphabet.codes != INVALID].sum())  # marks of gaps to fill are no letters
    bases = sum(count[letter] for letter in _BASES)
    rarest = min(count["A"], count["C"], count["G"], count["T"] + count["U"])
    if rarest * 100 < total or bases * 10 < total * 9 or sum(count.values()) * 100 < total * 99:
        return ""
    if set(alphabet.letters) <= set(_BASES) and (count["T"] == 0) == ("U" in alphabet.letters):
        return ""
    return "rna" if count["U"] > count["T"] else "dna"


def seems_line(name: str, letters: str) -> str:
    """A line that says which alphabet letters seem to be of, and that they are read as others."""
    return f"warning: the letters look like {name.upper()}, and are read as {letters}"

"""Alphabets: which letters of a sequence file stand for which states.

State i is `letters[i]`. Letters of `replaced` are read as the letter they are closest to; letters of `unknown` stand for a
position whose state is not known: it keeps its place in the sequence, but takes no part in p0, loss or perplexity. For
proteins selenocysteine U is read as C and pyrrolysine O as K; B, Z, J and X are ambiguous and hence unknown, as is a stop *
inside a sequence (one at the end is dropped when a file is read). Lower case is folded unless the alphabet itself has both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scud.errors import fail

INVALID = 255
"""The code of a byte that is no letter of the alphabet."""

GAPS = b"-."
"""Letters of alignments that no sequence has."""


@dataclass(frozen=True)
class Alphabet:
    """Letters and the states they stand for.

    Attributes:
        letters: one letter per state.
        unknown: letters of positions whose state is not known; the first of them is how such a state is written.
        replaced: letters that are read as another.
    """

    letters: str
    unknown: str = ""
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_states(self) -> int:
        """B."""
        return len(self.letters)

    @property
    def folds(self) -> bool:
        """Whether lower case is read as upper case."""
        return not any(letter.islower() for letter in self.letters)

    @property
    def others(self) -> str:
        """Letters that are read as another or as unknown."""
        return "".join(self.replaced) + self.unknown

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """What every byte is read as, [256]: a state, B where it is unknown, or INVALID."""
        table = np.full(256, INVALID, dtype=np.uint8)
        for letter, code in self._entries():
            table[ord(letter)] = code
            if self.folds:
                table[ord(letter.lower())] = code
        return table

    def encode(self, text: str, name: str = "sequence") -> NDArray[np.uint8]:
        """States [length] of a text, B where unknown.

        Raises:
            UserError: the text is empty or has a letter that is none of the alphabet's; `name` says whose text it is.
        """
        codes = self.codes[np.frombuffer(text.encode("latin-1", "replace"), dtype=np.uint8)]
        if not len(codes):
            raise fail(name, "hold at least one letter", "none", "remove the empty record")
        wrong = np.flatnonzero(codes == INVALID)
        if len(wrong):
            raise self.wrong_letter(name, text[wrong[0]], int(wrong[0]) + 1)
        return codes

    def decode(self, states: NDArray[np.integer]) -> str:
        """The text of states [length]; B is written as the first unknown letter."""
        written = np.frombuffer((self.letters + self.unknown[:1]).encode("latin-1"), dtype=np.uint8)
        return bytes(written[states]).decode("latin-1")

    def wrong_letter(self, name: str, letter: str, position: int) -> Exception:
        """The error for a letter (counted from 1) that is none of the alphabet's."""
        remedy = "remove or correct the record, or choose the alphabet with --data.alphabet"
        if letter.encode("latin-1", "replace") in (b"-", b"."):
            remedy = (
                "this looks like an alignment: remove its gaps (- and .) to get plain sequences"
            )
        others = f" (or {self.others})" if self.others else ""
        return fail(
            name,
            f"hold letters of {self.letters}{others} only",
            f"{letter!r} at position {position}",
            remedy,
        )

    def _entries(self) -> list[tuple[str, int]]:
        known = [(letter, state) for state, letter in enumerate(self.letters)]
        unknown = [(letter, self.num_states) for letter in self.unknown]
        return (
            known
            + unknown
            + [(letter, self.letters.index(to)) for letter, to in self.replaced.items()]
        )


ALPHABETS = {
    "protein": Alphabet("ACDEFGHIKLMNPQRSTVWY", "XBZJ*", {"U": "C", "O": "K"}),
    "dna": Alphabet("ACGT", "NRYSWKMBDHV", {"U": "T"}),
    "rna": Alphabet("ACGU", "NRYSWKMBDHV", {"T": "U"}),
}
"""Alphabets by name."""


def find_alphabet(name: str) -> Alphabet:
    """The alphabet called `name`, or the one whose letters are `name` itself.

    Raises:
        UserError: neither a known name nor two or more different visible letters.
    """
    if name.lower() in ALPHABETS:
        return ALPHABETS[name.lower()]
    for alphabet in ALPHABETS.values():
        if name == alphabet.letters:
            return alphabet
    visible = all(" " < letter <= "~" and letter not in ">-.?" for letter in name)
    if len(name) < 2 or len(set(name)) != len(name) or not visible:
        rule = f"be one of {', '.join(ALPHABETS)}, or two or more different letters"
        raise fail(
            "alphabet",
            rule,
            repr(name),
            "write each letter once; '>', '-', '.', '?' and space have other uses",
        )
    return Alphabet(name)

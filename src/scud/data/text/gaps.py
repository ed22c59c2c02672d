"""Texts with marked gaps: "in the [[20]] was the word" has one of 20 positions, to be drawn given the rest.

What stands between gaps is encoded piece by piece, so a gap's positions are between whole tokens: where tokens are parts of
words, a piece after a gap starts a word. It comes back as it was given, or it is refused; of tokens that are parts of words,
as it was given but for spaces, which few of them keep.
"""

import re
import unicodedata
from typing import TYPE_CHECKING

from scud.data.text.samples import POSITIONS
from scud.data.text.tokenizers import Tokenizer, check_encodes
from scud.errors import fail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GAP = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)
"""A gap, and what should be its number of positions."""

REMEDY = 'mark each gap by its number of positions, as in "in the [[20]] was the word"'


def parse_gaps(text: str) -> list[str | int]:
    """The pieces of a text in order: a gap as its number of positions, what stands between gaps as it is; no empty ones.

    Raises:
        UserError: there is no gap, or one that is not a number from 1 on.
    """
    check_encodes("text", text)
    parts: list[str | int] = []
    for place, part in enumerate(GAP.split(text)):
        if place % 2 == 0:
            parts += [part] if part else []
        elif part.isdecimal() and int(part) >= 1:
            parts.append(int(part))
        else:
            raise fail(
                "text", "give every gap a number of positions from 1 on", f"[[{part}]]", REMEDY
            )
    if not any(isinstance(part, int) for part in parts):
        raise fail("text", "have a gap to fill in", "none", REMEDY)
    return parts


def encode_gaps(
    parts: list[str | int], tokens: Tokenizer, longest: int
) -> "tuple[NDArray[np.int64], NDArray[np.bool_]]":
    """States [length] of a text, 0 in its gaps, and where these are, [length].

    Raises:
        UserError: it is longer than the model's training examples, has letters that the model does not, or would not come
            back as it was given.
    """
    import numpy as np

    pieces = [part if isinstance(part, int) else _encoded(part, tokens) for part in parts]
    sizes = [piece if isinstance(piece, int) else len(piece) for piece in pieces]
    if sum(sizes) > longest:
        rule = f"be at most {longest} {POSITIONS[tokens.unit]}s long, its gaps included, as the model's training examples are"
        raise fail("text", rule, sum(sizes), "shorten it, or fill it in part by part")
    states = [np.zeros(piece, np.int64) if isinstance(piece, int) else piece for piece in pieces]
    free = [
        np.full(size, isinstance(piece, int)) for piece, size in zip(pieces, sizes, strict=True)
    ]
    return np.concatenate(states), np.concatenate(free)


def _encoded(text: str, tokens: Tokenizer) -> "NDArray[np.int64]":
    """The states of what stands between gaps, which must come back as it is."""
    states = tokens.encode([text])[0]
    read = tokens.decode(states)
    exact = tokens.unit != "token"
    if text != read if exact else _bare(text) != _bare(read):
        found = f"{text!r}, which the model reads as {read!r}"
        remedy = "write it as the model reads it, and leave out what it cannot write"
        raise fail("text", "be what the model can give back as it is", found, remedy)
    return states


def _bare(text: str) -> str:
    """A text without white space but line breaks; letters with accents are one character each where there is one."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(letter for letter in composed if letter == "\n" or not letter.isspace())

"""Texts with marked gaps: "in the [[20]] was the word" has one of 20 positions, to be drawn given the rest.

What stands between gaps is encoded piece by piece, so a gap's positions are between whole tokens: where tokens are parts of
words, a piece after a gap starts a word.
"""

import re
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
        UserError: it is longer than the model's training examples, or has letters that the model does not.
    """
    import numpy as np

    encoded = iter(tokens.encode([part for part in parts if isinstance(part, str)]))
    pieces = [part if isinstance(part, int) else next(encoded) for part in parts]
    sizes = [piece if isinstance(piece, int) else len(piece) for piece in pieces]
    if sum(sizes) > longest:
        rule = f"be at most {longest} {POSITIONS[tokens.unit]}s long, its gaps included, as the model's training examples are"
        raise fail("text", rule, sum(sizes), "shorten it, or fill it in part by part")
    states = [np.zeros(piece, np.int64) if isinstance(piece, int) else piece for piece in pieces]
    free = [
        np.full(size, isinstance(piece, int)) for piece, size in zip(pieces, sizes, strict=True)
    ]
    return np.concatenate(states), np.concatenate(free)

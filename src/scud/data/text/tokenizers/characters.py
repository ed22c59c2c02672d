"""A state for each of some characters.

State i is `letters[i]`. Where the letters have a space and no line break, a line break is read as a space; line breaks are
otherwise characters like others.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.data.text.tokenizers.base import Encoded, Piece, Tokenizer, check_encodes, code_points
from scud.errors import fail

LETTERS = " abcdefghijklmnopqrstuvwxyz"
"""The characters of text8, which are those of `Characters` by default."""

_HIGHEST = 0x110000


class Characters(Tokenizer):
    """A state for each of some characters.

    Args:
        letters: the characters, each once.

    Raises:
        UserError: there are fewer than two, or one of them twice.
    """

    unit = "char"

    def __init__(self, letters: str = LETTERS) -> None:
        check_encodes("the alphabet of text", letters)
        if len(letters) < 2 or len(set(letters)) != len(letters):
            rule, remedy = (
                "hold two or more different characters",
                "write each character once, such as ' abc'",
            )
            raise fail("the alphabet of text", rule, repr(letters), remedy)
        self.letters = letters

    @property
    def num_states(self) -> int:
        return len(self.letters)

    def state_names(self) -> Sequence[str]:
        return list(self.letters)

    @cached_property
    def _codes(self) -> NDArray[np.int32]:
        """The state of every code point, -1 where there is none."""
        table = np.full(_HIGHEST, -1, dtype=np.int32)
        table[code_points(self.letters)] = np.arange(len(self.letters))
        if " " in self.letters and "\n" not in self.letters:
            table[ord("\n")] = table[ord(" ")]
        return table

    def read(self, piece: Piece) -> Encoded:
        states = self._codes[code_points(piece.text)].astype(np.int64)
        if len(states) and states.min() < 0:
            wrong = int(np.argmax(states < 0))
            remedy = "correct it, or train with other letters (--data.alphabet) or with bytes (--data.tokens=bytes)"
            rule = f"hold the {self.num_states} characters {self.letters!r} only"
            raise fail(piece.place(wrong), rule, repr(piece.text[wrong]), remedy)
        return Encoded(states, np.arange(len(states)))

    def decode(self, states: NDArray[np.integer[Any]]) -> str:
        return bytes(code_points(self.letters)[states].data).decode("utf-32-le")

    def spec(self) -> dict[str, Any]:
        return {"kind": "characters", "letters": self.letters}

    def describe(self) -> str:
        return f"the {self.num_states} characters {self.letters!r}"

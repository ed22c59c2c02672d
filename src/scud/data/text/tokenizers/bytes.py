"""The 256 bytes of UTF-8.

A chunk may begin or end within a character: what cannot be decoded is written as U+FFFD.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.data.text.tokenizers.base import Encoded, Piece, Tokenizer


class Bytes(Tokenizer):
    """A state for each byte of UTF-8."""

    unit = "byte"
    num_states = 256

    def read(self, piece: Piece) -> Encoded:
        states = np.frombuffer(piece.text.encode(), dtype=np.uint8).astype(np.int64)
        # 10xxxxxx continues the character that another byte began.
        return Encoded(states, np.cumsum((states & 0xC0) != 0x80) - 1)

    def decode(self, states: NDArray[np.integer[Any]]) -> str:
        return states.astype(np.uint8).tobytes().decode(errors="replace")

    def spec(self) -> dict[str, Any]:
        return {"kind": "bytes"}

    def describe(self) -> str:
        return "the bytes of UTF-8"

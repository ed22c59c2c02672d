"""What the states of text stand for: characters, bytes, or the entries of a vocabulary.

Text is a stream of states, and every state has a share of it: from where the state begins to where the next one does. So what
a run of states covers, in characters, bytes of UTF-8 and words, is known exactly, whatever the states are.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scud.errors import fail

Unit = Literal["char", "byte", "token"]
"""What one state is."""


@dataclass(frozen=True)
class Piece:
    """Part of a text: what it says, what to call the whole, and how many lines are before it."""

    text: str
    name: str = "the text"
    line: int = 0

    def place(self, character: int) -> str:
        """Where a character of the piece is, for messages."""
        return f"line {self.line + self.text.count(chr(10), 0, character) + 1} of {self.name}"


@dataclass(frozen=True, eq=False)
class Encoded:
    """What was read of a piece.

    Attributes:
        states: [n], int64.
        begin: the character of the piece where the share of each begins, [n], int64, ascending.
        notes: what is to be said of it, each with how often.
    """

    states: NDArray[np.int64]
    begin: NDArray[np.int64]
    notes: Mapping[str, int] = field(default_factory=dict)


class Tokenizer(ABC):
    """How text is read as states, and states are written as text.

    Attributes:
        unit: what one state is.
        whole_lines: whether `read` needs pieces of whole lines.
        unknown: the state of what cannot be read otherwise, or None.
    """

    unit: Unit
    whole_lines = False
    unknown: int | None = None

    @property
    @abstractmethod
    def num_states(self) -> int:
        """B."""

    @property
    def units(self) -> str:
        """What several states are called: characters, bytes or tokens."""
        return "characters" if self.unit == "char" else f"{self.unit}s"

    def state_names(self) -> Sequence[str]:
        """What each state is called, [B]: its number, unless it has a name."""
        return [str(state) for state in range(self.num_states)]

    @abstractmethod
    def read(self, piece: Piece) -> Encoded:
        """The states of a piece of a file, what joins its documents included.

        Raises:
            UserError: a character has no state; the message names it and where it is.
        """

    def encode(self, texts: Sequence[str], name: str = "the text") -> list[NDArray[np.int64]]:
        """The states of each of several texts, [length]; errors as in `read`."""
        return [self.read(Piece(text, name)).states for text in texts]

    @abstractmethod
    def decode(self, states: NDArray[np.integer[Any]]) -> str:
        """The text of states [length]."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """What `tokenizer_from_spec` builds it again from; texts and numbers only."""

    @abstractmethod
    def describe(self) -> str:
        """What to call it in messages."""


def check_encodes(argument: str, text: str) -> None:
    """Raise `UserError` if a text has halves of surrogate pairs, as a command line has that is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise fail(
            argument, "be UTF-8", repr(text), "check the encoding of the terminal or the script"
        ) from error


def code_points(text: str) -> NDArray[np.uint32]:
    """The code point of each character, [length]."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")

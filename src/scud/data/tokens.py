"""What the states of text stand for: characters, bytes, or the entries of a vocabulary.

Text is a stream of states, and every state has a share of it: from where the state begins to where the next one does. So what
a run of states covers, in characters, bytes of UTF-8 and words, is known exactly, whatever the states are.

Characters. State i is `letters[i]`. Where the letters have a space and no line break, a line break is read as a space; line
breaks are otherwise characters like others.

Bytes. The 256 states are the bytes of UTF-8. A chunk may begin or end within a character: what cannot be decoded is written as
U+FFFD.

Subword. See `scud.data.subword`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scud.errors import UserError, check_choice, fail

Unit = Literal["char", "byte", "token"]
"""What one state is."""

LETTERS = " abcdefghijklmnopqrstuvwxyz"
"""The characters of text8, which are those of `Characters` by default."""

_HIGHEST = 0x110000


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
class States:
    """States [n], int64, and the character of the piece where the share of each begins, [n], int64, ascending."""

    states: NDArray[np.int64]
    begin: NDArray[np.int64]


class Tokens(ABC):
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

    @abstractmethod
    def read(self, piece: Piece) -> States:
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
        """What `tokens_from_spec` builds it again from; texts and numbers only."""

    @abstractmethod
    def describe(self) -> str:
        """What to call it in messages."""


class Characters(Tokens):
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
            rule, remedy = "hold two or more different characters", "write each character once, such as ' abc'"
            raise fail("the alphabet of text", rule, repr(letters), remedy)
        self.letters = letters

    @property
    def num_states(self) -> int:
        return len(self.letters)

    @cached_property
    def _codes(self) -> NDArray[np.int32]:
        """The state of every code point, -1 where there is none."""
        table = np.full(_HIGHEST, -1, dtype=np.int32)
        table[code_points(self.letters)] = np.arange(len(self.letters))
        if " " in self.letters and "\n" not in self.letters:
            table[ord("\n")] = table[ord(" ")]
        return table

    def read(self, piece: Piece) -> States:
        states = self._codes[code_points(piece.text)].astype(np.int64)
        if len(states) and states.min() < 0:
            wrong = int(np.argmax(states < 0))
            remedy = "correct it, or train with other letters (--data.alphabet) or with bytes (--data.tokens=bytes)"
            rule = f"hold the {self.num_states} characters {self.letters!r} only"
            raise fail(piece.place(wrong), rule, repr(piece.text[wrong]), remedy)
        return States(states, np.arange(len(states)))

    def decode(self, states: NDArray[np.integer[Any]]) -> str:
        return bytes(code_points(self.letters)[states].data).decode("utf-32-le")

    def spec(self) -> dict[str, Any]:
        return {"kind": "characters", "letters": self.letters}

    def describe(self) -> str:
        return f"the {self.num_states} characters {self.letters!r}"


class Bytes(Tokens):
    """A state for each byte of UTF-8."""

    unit = "byte"
    num_states = 256

    def read(self, piece: Piece) -> States:
        states = np.frombuffer(piece.text.encode(), dtype=np.uint8).astype(np.int64)
        # 10xxxxxx continues the character that another byte began.
        return States(states, np.cumsum((states & 0xC0) != 0x80) - 1)

    def decode(self, states: NDArray[np.integer[Any]]) -> str:
        return states.astype(np.uint8).tobytes().decode(errors="replace")

    def spec(self) -> dict[str, Any]:
        return {"kind": "bytes"}

    def describe(self) -> str:
        return "the bytes of UTF-8"


def check_encodes(argument: str, text: str) -> None:
    """Raise `UserError` if a text has halves of surrogate pairs, as a command line has that is no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise fail(argument, "be UTF-8", repr(text), "check the encoding of the terminal or the script") from error


def code_points(text: str) -> NDArray[np.uint32]:
    """The code point of each character, [length]."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")


def find_tokens(name: str, letters: str | None = None) -> Tokens:
    """Tokens by name.

    Args:
        name: characters, bytes, or a file as `scud.data.subword.read_vocabulary` takes.
        letters: the characters; those of text8 if it is None.

    Raises:
        UserError: no such name or file, or it is not as it should be; or letters are given for other tokens.
    """
    if name == "characters":
        return Characters(LETTERS if letters is None else letters)
    if letters is not None:
        raise fail(
            "data.alphabet",
            "be given for characters only",
            f"{letters!r} for {name}",
            "leave it out, or add --data.tokens characters",
        )
    if name == "bytes":
        return Bytes()
    from scud.data.subword import read_vocabulary  # which is built on this module

    return read_vocabulary(Path(name))


def tokens_from_spec(spec: dict[str, Any]) -> Tokens:
    """The tokens whose `spec()` this is.

    Raises:
        UserError: a kind that this version does not know, or what it needs is missing.
    """
    from scud.data.subword import Subword

    kinds: dict[str, type[Tokens]] = {"characters": Characters, "bytes": Bytes, "subword": Subword}
    options = {name: value for name, value in spec.items() if name != "kind"}
    check_choice("tokens.kind", str(spec.get("kind")), kinds)
    try:
        return kinds[spec["kind"]](**options)
    except TypeError as error:
        raise UserError(f"tokens must have the arguments of their kind, got {error}; train the run again") from error

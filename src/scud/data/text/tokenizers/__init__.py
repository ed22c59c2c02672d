"""How text is read as states, and states are written as text."""

from scud.data.text.tokenizers.base import (
    Encoded,
    Piece,
    Tokenizer,
    Unit,
    check_encodes,
    code_points,
)
from scud.data.text.tokenizers.bytes import Bytes
from scud.data.text.tokenizers.characters import LETTERS, Characters
from scud.data.text.tokenizers.registry import check_letters, find_tokenizer, tokenizer_from_spec
from scud.data.text.tokenizers.subword import Subword

__all__ = [
    "LETTERS",
    "Bytes",
    "Characters",
    "Encoded",
    "Piece",
    "Subword",
    "Tokenizer",
    "Unit",
    "check_encodes",
    "check_letters",
    "code_points",
    "find_tokenizer",
    "tokenizer_from_spec",
]

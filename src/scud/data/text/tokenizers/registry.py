"""Tokenizers by name, and by what a saved run says of its own."""

from pathlib import Path
from typing import Any

from scud.data.text.tokenizers.base import Tokenizer
from scud.data.text.tokenizers.bytes import Bytes
from scud.data.text.tokenizers.characters import LETTERS, Characters
from scud.data.text.tokenizers.subword import Subword, read_vocabulary
from scud.errors import UserError, check_choice, fail

KINDS: dict[str, type[Tokenizer]] = {"characters": Characters, "bytes": Bytes, "subword": Subword}
"""Tokenizers by the `kind` of their spec."""


def find_tokenizer(name: str, letters: str | None = None) -> Tokenizer:
    """Tokenizer by name.

    Args:
        name: characters, bytes, or a file as `scud.data.text.tokenizers.subword.read_vocabulary` takes.
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
    return read_vocabulary(Path(name))


def tokenizer_from_spec(spec: dict[str, Any]) -> Tokenizer:
    """The tokens whose `spec()` this is.

    Raises:
        UserError: a kind that this version does not know, or what it needs is missing.
    """
    options = {name: value for name, value in spec.items() if name != "kind"}
    check_choice("tokens.kind", str(spec.get("kind")), KINDS)
    try:
        return KINDS[spec["kind"]](**options)
    except TypeError as error:
        raise UserError(f"tokens must have the arguments of their kind, got {error}; train the run again") from error

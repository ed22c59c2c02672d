"""Tokenizers by name, and by what a saved run says of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scud.data.text.tokenizers.base import Tokenizer
from scud.data.text.tokenizers.bytes import Bytes
from scud.data.text.tokenizers.characters import LETTERS, Characters
from scud.data.text.tokenizers.subword import Subword, read_vocabulary
from scud.errors import check_choice, fail

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
    check_letters(name, letters)
    if name == "characters":
        return Characters(LETTERS if letters is None else letters)
    if name == "bytes":
        return Bytes()
    return read_vocabulary(Path(name))


def check_letters(name: str, letters: str | None) -> None:
    """Raise `UserError` for letters of tokens that are not characters, or that no tokens have."""
    if letters is None:
        return
    if name != "characters":
        rule, found = "be given for characters only", f"{letters!r} for {name}"
        remedy = "leave it out, or add --data.tokens characters"
        raise fail("data.alphabet", rule, found, remedy)
    Characters(letters)


def tokenizer_from_spec(spec: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer whose `spec()` this is.

    Raises:
        UserError: a kind that this version does not know, an argument that is missing, unknown,
            or no text.
    """
    options = {name: value for name, value in spec.items() if name != "kind"}
    check_choice("tokens.kind", str(spec.get("kind")), KINDS)
    for name, value in options.items():
        if not isinstance(value, str):
            raise fail(f"tokens.{name}", "be text", repr(value), "train the run again")
    try:
        return KINDS[spec["kind"]](**options)
    except TypeError as error:
        rule = "have the arguments of their kind"
        raise fail("tokens", rule, str(error), "train the run again") from error

"""Tokenizer of text that are parts of words, by the package `tokenizers` (the extra `text`).

Documents. Every line is a document; one without a token, such as an empty line, is none. After each document stands the
separator, which is the first of `SEPARATORS` that the vocabulary has, and which is written as a line break.

Special tokens. All entries of a vocabulary are states, [PAD], [CLS], [SEP], [MASK] and [unused0] too, so that states and rows of
an embedding agree. Text that looks like one of these is text: no document has any of them but the separator, and [UNK] for a
word that the vocabulary cannot write.

A WordPiece vocabulary, one entry per line, needs [UNK] and [SEP]. Text is normalised as BERT does: control characters are left
out and Chinese characters are set apart; if no entry has a capital letter, text is set in lower case without accents.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.data.tables import import_optional
from scud.data.text.tokenizers.base import Encoded, Piece, Tokenizer
from scud.errors import UserError, fail
from scud.files.arrays import npz_arrays

SEPARATORS = ("[SEP]", "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>")
"""Tokenizer that may separate documents, the first one that there is."""

UNKNOWN = ("[UNK]", "<unk>")
"""Tokenizer for what a vocabulary cannot write, the first one that there is."""

_ENDINGS = (".json", ".txt", ".npz")


class Subword(Tokenizer):
    """The entries of a tokenizer's vocabulary.

    Args:
        tokenizer: the content of a tokenizer.json.

    Attributes:
        separator: the state that stands after each document.

    Raises:
        UserError: the package is not installed, this is no tokenizer, or it has no separator.
    """

    unit = "token"
    whole_lines = True

    def __init__(self, tokenizer: str) -> None:
        package = import_optional("data.tokens", "tokenizers", "text")
        try:
            self._tokenizer = package.Tokenizer.from_str(tokenizer)
        except Exception as error:  # the package raises no other
            remedy = "give a tokenizer.json as the package tokenizers writes it"
            raise fail("data.tokens", "hold a tokenizer", f"an error ({error})", remedy) from error
        # A document is cut by us, and what looks like a special token in it is text.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True
        self._vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        separator = self._first(SEPARATORS)
        if separator is None:
            remedy = "add one of these to the vocabulary"
            found = f"none in {len(self._vocabulary)} entries"
            raise fail(
                "data.tokens",
                f"have a token between documents, {' or '.join(SEPARATORS)}",
                found,
                remedy,
            )
        self.separator, self.unknown = separator, self._first(UNKNOWN)

    @property
    def num_states(self) -> int:
        return max(self._vocabulary.values()) + 1

    def state_names(self) -> Sequence[str]:
        """The entry of each state, [B]; empty where a vocabulary leaves a number out."""
        names = [""] * self.num_states
        for name, state in self._vocabulary.items():
            names[state] = name
        return names

    def read(self, piece: Piece) -> Encoded:
        lines = piece.text.split("\n")
        starts = np.cumsum([0, *(len(line) + 1 for line in lines)])
        states, begin = list[NDArray[np.int64]](), list[NDArray[np.int64]]()
        for encoded, start, line in zip(self._batch(lines), starts, lines, strict=False):
            if len(encoded.ids):
                states.append(np.array([*encoded.ids, self.separator], dtype=np.int64))
                offsets = [first for first, _ in encoded.offsets]
                begin.append(start + np.array([*offsets, len(line)], dtype=np.int64))
        if not states:
            return Encoded(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
        return Encoded(np.concatenate(states), np.concatenate(begin))

    def encode(self, texts: Sequence[str], name: str = "the text") -> list[NDArray[np.int64]]:  # noqa: ARG002
        """The states of each of several documents, [length], without separators."""
        return [np.array(encoded.ids, dtype=np.int64) for encoded in self._batch(texts)]

    def decode(self, states: NDArray[np.integer[Any]]) -> str:
        borders = np.flatnonzero(states == self.separator)
        documents = [part[part != self.separator].tolist() for part in np.split(states, borders)]
        return "\n".join(self._tokenizer.decode_batch(documents, skip_special_tokens=False))

    def spec(self) -> dict[str, Any]:
        return {"kind": "subword", "tokenizer": self._tokenizer.to_str()}

    def describe(self) -> str:
        digest = hashlib.blake2b(self._tokenizer.to_str().encode(), digest_size=4).hexdigest()
        return f"a vocabulary of {self.num_states:,} entries ({digest})"

    def _batch(self, texts: Sequence[str]) -> Any:
        return self._tokenizer.encode_batch(list(texts), add_special_tokens=False)

    def _first(self, names: Sequence[str]) -> int | None:
        return next((self._vocabulary[name] for name in names if name in self._vocabulary), None)


def read_vocabulary(path: Path) -> Subword:
    """A tokenizer of a file: tokenizer.json; a WordPiece vocabulary, one entry a line; or an .npz file with such a text `vocab`.

    Raises:
        UserError: the file is missing or not as it should be.
    """
    if not path.is_file():
        remedy = "choose one of these, or correct the path"
        raise fail(
            "data.tokens", "be characters, bytes, or a tokenizer or vocabulary file", path, remedy
        )
    if path.suffix not in _ENDINGS:
        remedy = "give a tokenizer.json, or a WordPiece vocabulary as vocab.txt or in an .npz file"
        raise fail("data.tokens", f"end in {' or '.join(_ENDINGS)}", path, remedy)
    text = _text_of(path, "write it again, one entry per line")
    try:
        return (
            Subword(text)
            if path.suffix == ".json"
            else wordpiece(text.removesuffix("\n").split("\n"))
        )
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _text_of(path: Path, remedy: str) -> str:
    """The text of a file, or `vocab` of an .npz file."""
    if path.suffix == ".npz":
        arrays, found = npz_arrays(path, ["vocab"], argument=str(path), remedy=remedy)
        if "vocab" not in arrays or arrays["vocab"].dtype.kind != "U" or arrays["vocab"].ndim:
            raise fail(
                str(path),
                "hold a text `vocab`",
                f"arrays {', '.join(found) or 'of no name'}",
                remedy,
            )
        return str(arrays["vocab"])
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise fail(str(path), "be readable text", f"an error ({error})", remedy) from error


def wordpiece(entries: Sequence[str]) -> Subword:
    """Tokenizer of a WordPiece vocabulary [B].

    Raises:
        UserError: an entry is empty or there twice, or [UNK] or [SEP] is missing.
    """
    import_optional("data.tokens", "tokenizers", "text")
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    entries = [entry.removesuffix("\r") for entry in entries]
    vocabulary: dict[str, int] = {}
    for state, entry in enumerate(entries):
        if not entry or entry in vocabulary:
            found = (
                f"{entry!r} on lines {vocabulary[entry] + 1} and {state + 1}"
                if entry
                else f"none on line {state + 1}"
            )
            raise fail(
                "a vocabulary",
                "hold a different entry on every line",
                found,
                "remove or rename one",
            )
        vocabulary[entry] = state
    missing = [name for name in ("[UNK]", "[SEP]") if name not in vocabulary]
    if missing:
        found = f"no {', no '.join(missing)} in {len(vocabulary)} entries"
        raise fail(
            "a WordPiece vocabulary",
            "hold [UNK] and [SEP]",
            found,
            "add them, or give a tokenizer.json",
        )
    lower = all(
        entry == entry.lower() for entry in vocabulary if not (entry[0] == "[" and entry[-1] == "]")
    )
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return Subword(tokenizer.to_str())

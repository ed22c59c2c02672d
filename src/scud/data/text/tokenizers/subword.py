"""Tokenizer of text that are parts of words, by the package `tokenizers` (the extra `text`).

Documents. Every line is a document; one without a token, such as an empty line, is none. After each document stands the
separator, which is the first of `SEPARATORS` that the vocabulary has, and which is written as a line break.

Special tokens. All entries of a vocabulary are states, [PAD], [CLS], [SEP], [MASK] and [unused0] too, so that states and rows of
an embedding agree. Text that looks like a token that the file calls special is text.

What a vocabulary cannot write is read as the unknown token that the tokenizer itself names. Where it names none, or one that
its model lacks, such text is refused: the package would leave it out without a word, or fail.

A WordPiece vocabulary, one entry per line, needs [UNK] and [SEP]. Text is normalised as BERT does: control characters are left
out and Chinese characters are set apart; if no entry has a capital letter, text is set in lower case without accents.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.data.tables import import_optional
from scud.data.text.tokenizers.base import Encoded, Piece, Tokenizer, code_points
from scud.data.text.tokenizers.checked import (
    LARGEST,
    STATES,
    check_states,
    parse_tokenizer,
    telling,
)
from scud.errors import UserError, fail
from scud.files import is_file, read_text
from scud.files.arrays import npz_arrays
from scud.files.strings import text_of

SEPARATORS = ("[SEP]", "</s>", "<|endoftext|>", "<|end_of_text|>", "<eos>")
"""Tokens that may separate documents, the first one that there is."""

LEFT_OUT = "characters are left out, or read as white space, by the tokenizer"
INSIDE = "separators of documents stand in the text itself"

_ENDINGS = (".json", ".txt", ".npz")
_AT_ONCE = 1 << 18
_REMEDY = "give a tokenizer.json as the package tokenizers writes it"
_LOST = "correct it, or give a tokenizer of bytes or one that has an unknown token"


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
        import_optional("data.tokens", "tokenizers", "text")
        content = parse_tokenizer(tokenizer)
        self._tokenizer = _loaded(tokenizer)
        self._vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        check_states(self._vocabulary, content.get("added_tokens"))
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
        self.separator = separator
        self._num_states: int = max(self._vocabulary.values()) + 1
        self.unknown = _unknown(content["model"], self._tokenizer.model)
        with telling("data.tokens", "write each of its entries as text", _REMEDY):
            self._tokenizer.decode(list(self._vocabulary.values()))
        self._reader, self._states = self._tokenizer, np.arange(self._num_states)
        if self.unknown is None:
            self._reader, self._states = self._watched(content)
        # Of each character: 0 not looked at yet, 1 has states, 2 has none.
        self._seen: NDArray[np.uint8] | None = None

    @property
    def num_states(self) -> int:
        return self._num_states

    def state_names(self) -> Sequence[str]:
        """The entry of each state, [B]; empty where a vocabulary leaves a number out."""
        names = [""] * self.num_states
        for name, state in self._vocabulary.items():
            names[state] = name
        return names

    def read(self, piece: Piece) -> Encoded:
        states, begin, documents = self._joined(piece, empty=False)
        inside = int((states == self.separator).sum()) - documents
        notes = {LEFT_OUT: self._left_out(piece.text), INSIDE: inside}
        return Encoded(states, begin, notes)

    def encode(self, texts: Sequence[str], name: str = "the text") -> list[NDArray[np.int64]]:
        """The states of each of several texts, [length]: a separator for each line break, and none at the end."""
        return [self._joined(Piece(text, name), empty=True)[0][:-1] for text in texts]

    def _joined(
        self, piece: Piece, *, empty: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """The states of a piece's lines, a separator after each; where they begin, as in `Encoded`; and how many lines those are.

        Args:
            piece: the text.
            empty: whether a line without a token is one too.
        """
        numbers, begin, ends, start = list[int](), list[int](), list[int](), 0
        lines = piece.text.split("\n")
        for line, encoded in zip(lines, self._batch(lines), strict=True):
            size, found = len(line), encoded.ids
            if found or empty:
                numbers += found
                begin += [start + min(first, size) for first, _ in encoded.offsets]
                ends.append(len(numbers))
                numbers.append(0)
                begin.append(start + size)
            start += size + 1
        states = self._states[np.array(numbers, dtype=np.int64)]
        states[ends] = self.separator
        # Few parts of tokenizers do not keep the order.
        places = np.maximum.accumulate(np.array(begin, dtype=np.int64))
        if self.unknown is None and len(states) and states.min() < 0:
            wrong = int(states.argmin())
            text = piece.text[places[wrong] : places[wrong + 1]].strip()
            rule = "be what the vocabulary can write, as it has no unknown token"
            raise fail(piece.place(int(places[wrong])), rule, repr(text), _LOST)
        return states, places, len(ends)

    def decode(self, states: NDArray[np.integer[Any]]) -> str:
        borders = np.flatnonzero(states == self.separator)
        documents = [part[part != self.separator].tolist() for part in np.split(states, borders)]
        with telling("data.tokens", "write its own states as text", _REMEDY):
            texts = self._tokenizer.decode_batch(documents, skip_special_tokens=False)
        return "\n".join(texts)

    def spec(self) -> dict[str, Any]:
        return {"kind": "subword", "tokenizer": self._tokenizer.to_str()}

    def describe(self) -> str:
        digest = hashlib.blake2b(self._tokenizer.to_str().encode(), digest_size=4).hexdigest()
        return f"a vocabulary of {self.num_states:,} entries ({digest})"

    def _batch(self, texts: Sequence[str]) -> Iterator[Any]:
        """What the package makes of each text; so many are read at once that they do not fill the memory."""
        first, size = 0, 0
        for place, text in enumerate(texts):
            size += len(text) + 32
            if size >= _AT_ONCE or place + 1 == len(texts):
                with telling("text", "be what the tokenizer can read", _LOST):
                    found = self._reader.encode_batch(
                        list(texts[first : place + 1]), add_special_tokens=False
                    )
                yield from found
                first, size = place + 1, 0

    def _left_out(self, text: str) -> int:
        """How many characters that are no white space have no state of their own, each taken alone."""
        if self._seen is None:
            self._seen = np.zeros(0x110000, dtype=np.uint8)
        codes = code_points(text)
        new = [chr(code) for code in np.unique(codes[self._seen[codes] == 0])]
        nothing = [encoded.ids for encoded in self._batch(["", " "])]
        for letter, encoded in zip(new, self._batch(new), strict=True):
            dropped = not letter.isspace() and encoded.ids in nothing
            self._seen[ord(letter)] = 2 if dropped else 1
        return int((self._seen[codes] == 2).sum())

    def _watched(self, content: dict[str, Any]) -> tuple[Any, NDArray[np.int64]]:
        """The tokenizer with an unknown token that it has not got itself, and the state of each of its numbers, -1 for that."""
        model, name = dict(content["model"]), "\0unknown"
        while name in self._vocabulary:
            name += "\0"
        if isinstance(model["vocab"], list):
            model |= {"unk_id": len(model["vocab"]), "vocab": [*model["vocab"], [name, 0.0]]}
        else:
            last = max(model["vocab"].values(), default=-1)
            model |= {"unk_token": name, "vocab": {**model["vocab"], name: last + 1}}
        reader = _loaded(json.dumps({**content, "model": model}))
        numbers: dict[str, int] = reader.get_vocab()
        states = np.full(max(numbers.values()) + 1, -1, dtype=np.int64)
        for entry, number in numbers.items():
            states[number] = self._vocabulary.get(entry, -1)
        return reader, states

    def _first(self, names: Sequence[str]) -> int | None:
        return next((self._vocabulary[name] for name in names if name in self._vocabulary), None)


def _loaded(tokenizer: str) -> Any:
    """The package's tokenizer; a document is cut by us, read the same way each time, and has no special tokens."""
    from tokenizers import Tokenizer as Package

    with telling("data.tokens", "hold a tokenizer", _REMEDY):
        loaded = Package.from_str(tokenizer)
        loaded.no_truncation()
        loaded.no_padding()
        loaded.encode_special_tokens = True
        if getattr(loaded.model, "dropout", None) is not None:
            loaded.model.dropout = None
        return loaded


def _unknown(content: dict[str, Any], model: Any) -> int | None:
    """The state that a model reads what it cannot write as, or None."""
    vocabulary = content["vocab"]
    if isinstance(vocabulary, list):
        number = content.get("unk_id")
        return number if isinstance(number, int) else None
    found: int | None = vocabulary.get(getattr(model, "unk_token", None))
    return found


def read_vocabulary(path: Path) -> Subword:
    """A tokenizer of a file: tokenizer.json; a WordPiece vocabulary, one entry a line; or an .npz file with such a text `vocab`.

    Raises:
        UserError: the file is missing or not as it should be.
    """
    if not is_file(path, "data.tokens"):
        remedy = "choose one of these, or correct the path"
        raise fail(
            "data.tokens", "be characters, bytes, or a tokenizer or vocabulary file", path, remedy
        )
    if path.suffix not in _ENDINGS:
        remedy = "give a tokenizer.json, or a WordPiece vocabulary as vocab.txt or in an .npz file"
        raise fail("data.tokens", f"end in {' or '.join(_ENDINGS)}", path, remedy)
    text = _text_of(path, "write it again, one entry per line")
    try:
        return Subword(text) if path.suffix == ".json" else wordpiece(_lines(text))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _text_of(path: Path, remedy: str) -> str:
    """The text of a file, or `vocab` of an .npz file."""
    if path.suffix == ".npz":
        arrays, found = npz_arrays(path, ["vocab"], argument=str(path), remedy=remedy)
        if "vocab" not in arrays:
            had = f"arrays {', '.join(found) or 'of no name'}"
            raise fail(str(path), "hold a text `vocab`", had, remedy)
        return text_of(arrays["vocab"], f"vocab in {path}", remedy)
    what = "a tokenizer or vocabulary"
    text = read_text(path, what, argument="data.tokens", most=LARGEST)
    return text.removeprefix("\ufeff")


def _lines(text: str) -> list[str]:
    """The lines of a vocabulary."""
    lines = text.count("\n") + 1
    if lines > STATES:
        remedy = "check that it is a vocabulary"
        raise fail("a vocabulary", f"have at most {STATES:,} lines", f"{lines:,}", remedy)
    return text.removesuffix("\n").split("\n")


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

"""What a tokenizer.json may hold, checked before the package `tokenizers` sees it.

The package is written in Rust. A number that is too large for it, or a part that makes text longer and longer, ends in all
memory taken or in a process that is ended on the spot, which nobody can catch. So sizes, numbers and the growth of text are
checked here; what is merely wrong is left to the package, whose errors are caught by `telling`.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scud.errors import fail
from scud.files import parse_json

LARGEST = 40 << 20
"""Characters of a tokenizer.json; that of a vocabulary of 262,144 entries has 34 million."""

VALUES = 4_000_000
"""Commas and opening brackets of a tokenizer.json, of which each value has one."""

STATES = 1 << 19
"""States of a vocabulary."""

ADDED = 20_000
"""Entries that a file adds to its model's."""

ENTRY = 1000
"""Characters of an entry."""

PARTS = 200
"""Steps of a normalizer, pre-tokenizer, post-processor or decoder, their parts included."""

GROWTH = 32
"""By how much such a part may lengthen a text."""

WORD = 1000
"""Characters of a word that a WordPiece vocabulary divides; the time goes with their square."""

_REMEDY = "give a tokenizer.json as the package tokenizers writes it"
_ARGUMENT = "data.tokens"
_SECTIONS = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


@contextmanager
def telling(argument: str, rule: str, remedy: str) -> Iterator[None]:
    """A block that calls the package, which raises anything: its errors become a `UserError`."""
    try:
        yield
    except Exception as error:
        raise fail(argument, rule, f"an error ({error})", remedy) from error
    except BaseException as error:
        # What Rust calls a panic is no `Exception`, and its class has no module to import it from.
        if type(error).__name__ != "PanicException":
            raise
        raise fail(argument, rule, f"an error ({error})", remedy) from error


def parse_tokenizer(text: str) -> dict[str, Any]:
    """The object of a tokenizer.json.

    Raises:
        UserError: it is no JSON, too large, or holds what no tokenizer needs: see the constants above.
    """
    values = sum(text.count(sign) for sign in ",[{")
    if len(text) > LARGEST or values > VALUES:
        found = f"{len(text):,} characters of about {values:,} values"
        rule = f"have at most {LARGEST:,} characters and {VALUES:,} values"
        raise fail(_ARGUMENT, rule, found, _REMEDY)
    content = parse_json(text, _ARGUMENT, _REMEDY)
    model = content.get("model")
    if not isinstance(model, dict):
        raise fail(_ARGUMENT, "hold a model", type(model).__name__, _REMEDY)
    _check_vocabulary(model.get("vocab"))
    _check_word(model.get("max_input_chars_per_word", 100))
    _check_added(content.get("added_tokens"))
    for name in _SECTIONS:
        _check_section(name, content.get(name))
    return content


def check_states(vocabulary: dict[str, int], added: object) -> None:
    """Raise `UserError` unless the entries that the package has read have numbers as states need them.

    Args:
        vocabulary: the number of each entry.
        added: the entries that the file adds to its model's, each with the number that it should have.
    """
    numbers = set(vocabulary.values())
    if len(numbers) < len(vocabulary):
        found = f"{len(vocabulary)} entries of {len(numbers)} numbers"
        raise fail(_ARGUMENT, "give every entry a number of its own", found, _REMEDY)
    _check_number(max(numbers, default=0), len(vocabulary))
    for entry in added if isinstance(added, list) else []:
        name, number = entry["content"], entry["id"]
        if vocabulary.get(name) != number:
            found = f"{name!r} as {number}, which is read as {vocabulary.get(name)}"
            raise fail(_ARGUMENT, "number its added tokens as they are read", found, _REMEDY)


def _check_number(number: object, entries: int) -> None:
    """Raise unless a number of an entry leaves no more numbers out than there are entries."""
    most = min(max(1, 2 * entries), STATES)
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < most:
        rule = f"number its {entries:,} entries by whole numbers below {most:,}"
        raise fail(_ARGUMENT, rule, repr(number), _REMEDY)


def _check_vocabulary(vocabulary: object) -> None:
    """Raise unless these are entries with their numbers or, for a unigram model, a list of entries with scores."""
    if isinstance(vocabulary, dict):
        _check_length(max(vocabulary, key=len, default=""))
        numbers = vocabulary.values()
        wrong = [number for number in numbers if type(number) is not int] or [
            min(numbers, default=0)
        ]
        _check_number(wrong[0], len(vocabulary))
        _check_number(max(numbers, default=0), len(vocabulary))
        return
    if not isinstance(vocabulary, list):
        raise fail(_ARGUMENT, "hold a vocabulary", type(vocabulary).__name__, _REMEDY)
    names = [entry[0] for entry in vocabulary if _is_scored(entry)]
    if len(names) < len(vocabulary) or len(names) > STATES or len(set(names)) < len(names):
        rule = f"list at most {STATES:,} different entries, each with its score"
        found = f"{len(vocabulary):,} entries, {len(set(names)):,} of them different ones so"
        raise fail(_ARGUMENT, rule, found, _REMEDY)
    _check_length(max(names, key=len, default=""))


def _check_length(longest: str) -> None:
    """Raise for an entry that is too long: the package goes down a tree of its letters, one call in another."""
    if len(longest) > ENTRY:
        found = f"{len(longest):,}, {longest!r}"
        raise fail(_ARGUMENT, f"have entries of at most {ENTRY:,} characters", found, _REMEDY)


def _is_scored(entry: object) -> bool:
    """Whether this is an entry, not empty, and its score."""
    if not isinstance(entry, list) or len(entry) != 2:
        return False
    name, score = entry
    number = isinstance(score, int | float) and not isinstance(score, bool)
    return isinstance(name, str) and name != "" and number


def _check_word(longest: object) -> None:
    if isinstance(longest, bool) or not isinstance(longest, int) or not 0 < longest <= WORD:
        rule = f"divide words of 1 to {WORD:,} characters (max_input_chars_per_word)"
        raise fail(_ARGUMENT, rule, repr(longest), "give 100, as BERT has it")


def _check_added(added: object) -> None:
    """Raise unless these are added tokens, or none."""
    entries = added if isinstance(added, list) else [added] if added is not None else []
    if len(entries) > ADDED:
        raise fail(_ARGUMENT, f"add at most {ADDED:,} tokens", f"{len(entries):,}", _REMEDY)
    for entry in entries:
        content = entry.get("content") if isinstance(entry, dict) else None
        number = entry.get("id") if isinstance(entry, dict) else None
        right = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < STATES
        if not isinstance(content, str) or not right:
            raise fail(_ARGUMENT, "give added tokens a content and an id", entry, _REMEDY)
        _check_length(content)


def _check_section(name: str, section: object) -> None:
    """Raise where a part has too many steps, or lengthens text too much."""
    growth, steps, waiting = 1.0, 0, [section]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            steps += 1
            growth *= _growth(part)
            _check_charsmap(part.get("precompiled_charsmap"))
    if steps > PARTS or growth > GROWTH:
        rule = f"have a {name} of at most {PARTS} steps that lengthen text {GROWTH} times at most"
        raise fail(_ARGUMENT, rule, f"{steps} steps and {growth:.3g} times", _REMEDY)


def _check_charsmap(packed: object) -> None:
    """Raise unless a table of characters, which is packed in base64, has the length that it begins with."""
    if packed is None:
        return
    try:
        table = base64.b64decode(packed if isinstance(packed, str) else "", validate=True)
    except ValueError:
        table = b""
    length = int.from_bytes(table[:4], "little")
    if length % 4 or not 4 <= length + 4 <= len(table):
        found = f"one of {len(table):,} bytes that says {length:,}"
        raise fail(_ARGUMENT, "hold an undamaged precompiled_charsmap", found, _REMEDY)


def _growth(part: dict[str, Any]) -> float:
    """By how much a step may lengthen text, in bytes; of those that have no bound."""
    if part.get("type") == "ByteLevel":
        return 2
    written = part.get("content") or part.get("prepend")
    if part.get("type") not in ("Replace", "Prepend") or not isinstance(written, str):
        return 1
    pattern = part.get("pattern")
    found = pattern.get("String") if isinstance(pattern, dict) else None
    replaced = len(found.encode(errors="replace")) if isinstance(found, str) else 1
    return max(1.0, len(written.encode(errors="replace")) / max(1, replaced))

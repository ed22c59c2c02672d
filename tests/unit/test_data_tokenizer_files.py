"""Tokenizer files of others: what would take all memory or end the process is refused before the package reads it, and text that
a vocabulary cannot write is refused or counted."""

import base64
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Package
from tokenizers import decoders, models, normalizers, pre_tokenizers

from scud.data import load_text
from scud.data.text.gaps import encode_gaps, parse_gaps
from scud.data.text.tokenizers import Characters, Piece, Tokenizer, checked
from scud.data.text.tokenizers.subword import Subword, read_vocabulary
from scud.errors import UserError
from tests.unit.texts import vocabulary

Content = dict[str, Any]


def content() -> Content:
    """The content of a small tokenizer.json."""
    found: Content = json.loads(vocabulary().spec()["tokenizer"])
    return found


def refused(changed: Content, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Subword(json.dumps(changed))


def sequence(*steps: Content) -> Content:
    return {"type": "Sequence", "normalizers": list(steps)}


# Files


@pytest.mark.parametrize("number", [-1, 32, 2**31, 2**32 - 1, 2**63, 1e9, True, None, "1", []])
def test_numbers_of_entries_are_checked_first(number: object) -> None:
    changed = content()
    changed["model"]["vocab"]["cat"] = number
    refused(changed, "must number its 16 entries by whole numbers below 32")


def test_entries_have_numbers_of_their_own() -> None:
    changed = content()
    changed["model"]["vocab"]["cat"] = 3
    refused(changed, "must give every entry a number of its own, got 16 entries of 15 numbers")


def test_a_number_may_be_left_out() -> None:
    changed = content()
    changed["model"]["vocab"]["]"] = 20
    tokens = Subword(json.dumps(changed))
    assert tokens.num_states == 21
    assert tokens.state_names()[14] == ""


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("model", None, "must hold a model, got NoneType"),
        ("model", {"vocab": 5}, "must hold a vocabulary, got int"),
        ("model", {"vocab": [["a", 1], ["a", 2]]}, "must list at most .* different entries"),
        ("model", {"vocab": [["a"]]}, "must list at most"),
        ("model", {"vocab": {"a" * 1001: 0}}, "entries of at most 1,000 characters, got 1,001"),
        ("added_tokens", [{"id": 2**40, "content": "x"}], "give added tokens a content and an id"),
        ("added_tokens", 5, "give added tokens a content and an id, got 5"),
        ("normalizer", sequence(*[{"type": "Lowercase"}] * 201), "at most 200 steps"),
        (
            "normalizer",
            sequence(*[{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40),
            "lengthen text 32 times at most, got 81 steps and 1.1e.12 times",
        ),
        ("normalizer", {"type": "Prepend", "prepend": "x" * 33}, "lengthen text 32 times at most"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}] * 9}, "lengthen text"),
        ("decoder", {"type": "nothing known"}, "must hold a tokenizer, got an error"),
    ],
)  # fmt: skip
def test_parts_that_no_tokenizer_needs(section: str, value: object, message: str) -> None:
    refused({**content(), section: value}, message)


@pytest.mark.parametrize("longest", [0, -1, 1001, 2**40, None, "x"])
def test_words_to_divide_are_short(longest: object) -> None:
    changed = content()
    changed["model"]["max_input_chars_per_word"] = longest
    refused(changed, "must divide words of 1 to 1,000 characters")


@pytest.mark.parametrize("table", [b"", b"\xff\xff\xff\xff\0", (8).to_bytes(4, "little") + b"abc"])
def test_a_damaged_table_of_characters(table: bytes) -> None:
    packed = base64.b64encode(table).decode()
    changed = {"type": "Precompiled", "precompiled_charsmap": packed}
    refused({**content(), "normalizer": changed}, "an undamaged precompiled_charsmap")


def test_added_tokens_are_numbered_as_they_are_read() -> None:
    entry = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    added = {**entry, "id": 18, "content": "king"}
    refused({**content(), "added_tokens": [added]}, "got 'king' as 18, which is read as 16")
    assert (
        Subword(json.dumps({**content(), "added_tokens": [{**added, "id": 16}]})).num_states == 17
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "must be JSON, got maximum recursion"),
        ('{"model": ' * 100_000, "must be JSON, got maximum recursion"),
        ("[]", "must hold an object of JSON, got list"),
        ('{"model": {"vocab": {"a": 0, "a": 1}}}', "the name 'a' stands twice"),
        ("", "must be JSON"),
    ],
)
def test_files_that_are_no_object(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Subword(text)


def test_files_of_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "VALUES", 50)
    with pytest.raises(UserError, match=r"at most .* 50 values, got 214 characters of about 102"):
        Subword('{"model": ' + "[" + "1," * 100 + "1]}")


def test_what_the_package_raises_is_told() -> None:
    """A panic of Rust is no `Exception`; an interruption stays one."""

    class PanicException(BaseException):
        pass

    for error in (PanicException("it broke"), Exception("it broke")):
        with (
            pytest.raises(UserError, match=r"x must be so, got an error \(it broke\); try another"),
            checked.telling("x", "be so", "try another"),
        ):
            raise error
    with pytest.raises(KeyboardInterrupt), checked.telling("x", "be so", "try another"):
        raise KeyboardInterrupt


@pytest.mark.parametrize("number", [0x110000, 0xFF0023, 0xD800])
def test_a_vocabulary_in_an_array_is_of_characters(tmp_path: Path, number: int) -> None:
    codes = np.array([97, number], dtype="<u4").tobytes()
    np.savez(tmp_path / "v.npz", vocab=np.ndarray((), dtype="<U2", buffer=codes))
    with pytest.raises(UserError, match=f"must be characters of Unicode, got {number:#x}"):
        read_vocabulary(tmp_path / "v.npz")


def test_files_that_are_not_plain(tmp_path: Path) -> None:
    loop, pipe = tmp_path / "loop.json", tmp_path / "pipe.json"
    loop.symlink_to(loop)
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="a path that can be followed"):
        read_vocabulary(loop)
    with pytest.raises(UserError, match="be characters, bytes, or a tokenizer or vocabulary file"):
        read_vocabulary(pipe)
    (tmp_path / "wide.txt").write_text("[UNK]\n[SEP]\na", encoding="utf-16")
    with pytest.raises(UserError, match="in UTF-8"):
        read_vocabulary(tmp_path / "wide.txt")


def test_a_mark_of_utf8_is_no_part_of_an_entry(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\ufeff[UNK]\n[SEP]\na\n")
    assert read_vocabulary(tmp_path / "vocab.txt").state_names() == ["[UNK]", "[SEP]", "a"]


# Text that a vocabulary cannot write


def pairs(unknown: str | None = None, **options: Any) -> Subword:
    """Pairs of characters, with or without an unknown token."""
    entries = ["</s>", "a", "b", "ab", " ", *([unknown] if unknown else [])]
    numbers = {entry: state for state, entry in enumerate(entries)}
    return Subword(
        Package(models.BPE(numbers, [("a", "b")], unk_token=unknown, **options)).to_str()
    )


def words(**options: Any) -> Subword:
    package = Package(models.WordLevel({"</s>": 0, "ab": 1, "a": 2}, **options))
    package.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Subword(package.to_str())


def scored(unknown: int | None = None) -> Subword:
    scores = [("</s>", 0.0), ("odd", -9.0), ("a", -1.0), ("b", -1.0), ("ab", -1.5), (" ", -1.0)]
    package = Package(models.Unigram(scores, unknown))
    package.decoder = decoders.Fuse()
    return Subword(package.to_str())


@pytest.mark.parametrize("make", [pairs, words, scored])
def test_without_an_unknown_token_such_text_is_refused(make: Any) -> None:
    tokens = make()
    assert tokens.unknown is None
    read = tokens.read(Piece("ab\n\nab a", "book.txt"))
    assert tokens.decode(read.states).split("\n")[0] == "ab"
    message = r"line 3 of book.txt must be what the vocabulary can write, .*'[aé]?é'; correct it"
    with pytest.raises(UserError, match=message):
        tokens.read(Piece("ab\n\nab aé", "book.txt"))
    with pytest.raises(UserError, match=r"line 1 of the text must be what .* got 'é'"):
        tokens.encode(["ab é"])


def test_states_are_those_of_the_file_though_its_gaps_are_watched() -> None:
    package = Package(models.BPE({"</s>": 0, "a": 1, "b": 5}, []))
    package.add_tokens(["king"])
    tokens = Subword(package.to_str())
    assert tokens.num_states == 6
    assert tokens.encode(["akingb"])[0].tolist() == [1, 3, 5]
    assert tokens.decode(np.array([1, 3, 5])) == "a king b"
    assert json.loads(tokens.spec()["tokenizer"]) == json.loads(package.to_str())


def test_an_unknown_token_of_any_name_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ab éa ab\nab é b\n" * 4)
    made = (pairs("<?>"), words(unk_token="a"), scored(1))
    for tokens, unknown, times in zip(made, (5, 2, 1), (8, 12, 8), strict=True):
        assert tokens.unknown == unknown
        report = load_text(tmp_path / "a.txt", tokens, 2, cache=tmp_path / "cache").report
        assert f"train: {times} tokens stand for what the vocabulary cannot write" in report


def test_chance_is_switched_off() -> None:
    tokens = pairs(dropout=0.5)
    assert all(tokens.encode(["abab"])[0].tolist() == [3, 3] for _ in range(20))


def test_what_is_left_out_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the \x01cat\x02 sat\x01 e\u0301\n" * 5)
    report = load_text(tmp_path / "a.txt", vocabulary(), 2, cache=tmp_path / "cache").report
    assert "train: 20 characters are left out, or read as white space, by the tokenizer" in report


def test_separators_in_the_text_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ab </s> ab\n" * 5)
    report = load_text(tmp_path / "a.txt", words(), 2, cache=tmp_path / "cache").report
    assert "train: 5 separators of documents stand in the text itself" in report


def test_where_text_begins_is_ascending_whatever_the_parts_do() -> None:
    package = Package.from_str(vocabulary().spec()["tokenizer"])
    package.normalizer = normalizers.Sequence(
        [normalizers.Prepend("sat "), normalizers.Lowercase()]
    )
    found = Subword(package.to_str()).read(Piece("the cats\nsat"))
    assert (np.diff(found.begin) >= 0).all()
    assert found.begin.max() <= len("the cats\nsat")


# Text around gaps


def test_lines_around_gaps_are_joined_by_the_separator() -> None:
    text = "the cat [[1]] sat\nun [[2]]\nthe\n[[1]] cat."
    states, free = encode_gaps(parse_gaps(text), vocabulary(), 20)
    names = [vocabulary().state_names()[state] for state in states]
    assert free.nonzero()[0].tolist() == [2, 6, 7, 11]
    kept = [name for name, gap in zip(names, free, strict=True) if not gap]
    assert kept == ["the", "cat", "sat", "[SEP]", "un", "[SEP]", "the", "[SEP]", "cat", "."]


@pytest.mark.parametrize(
    ("tokens", "text", "read"),
    [
        (vocabulary(), "The cat [[1]]", "'the cat'"),
        (vocabulary(), "the dog [[1]]", r"'the \[UNK\]'"),
        (vocabulary(), "the \x01cat [[1]]", "'the cat'"),
        (pairs("</s>"), "aé [[1]]", r"'a\\n"),
        (Characters(), "the\ncat [[1]]", "'the cat '"),
    ],
)
def test_text_that_would_not_come_back_is_refused(tokens: Tokenizer, text: str, read: str) -> None:
    with pytest.raises(
        UserError, match=f"which the model reads as {read}.*; write it as the model"
    ):
        encode_gaps(parse_gaps(text), tokens, 20)


@pytest.mark.parametrize("text", ["the  cat.[[1]]sat\n\nthe", "un\u0301", "[[1]]\n", "\n[[1]]"])
def test_text_that_comes_back_is_taken(text: str) -> None:
    tokens: Tokenizer = vocabulary()
    if "\u0301" in text:
        tokens, text = Characters("un\u0301 "), text + " [[1]]"
    states, free = encode_gaps(parse_gaps(text), tokens, 20)
    shown = tokens.decode(states[~free]).replace(" ", "")
    assert shown == text.replace("[[1]]", "").replace(" ", "")

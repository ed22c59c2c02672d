"""Tokenizers: text to states and back, where the share of each state begins, and vocabularies that are not as they should be."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Package
from tokenizers import decoders, models, pre_tokenizers

from scud.data.text.tokenizers import (
    LETTERS,
    Bytes,
    Characters,
    Piece,
    Tokenizer,
    find_tokenizer,
    tokenizer_from_spec,
)
from scud.data.text.tokenizers.subword import Subword, read_vocabulary, wordpiece
from scud.errors import UserError
from tests.unit.texts import ENTRIES, vocabulary, write_vocabulary

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def names(tokens: Subword, text: str) -> list[str]:
    return [tokens.state_names()[state] for state in tokens.encode([text])[0]]


# Characters and bytes


@given(text=st.text(LETTERS, max_size=30))
def test_characters_are_their_places_among_the_letters(text: str) -> None:
    tokens = Characters()
    found = tokens.read(Piece(text))
    assert found.states.tolist() == [LETTERS.index(letter) for letter in text]
    assert found.begin.tolist() == list(range(len(text)))
    assert tokens.decode(found.states) == text


def test_a_line_break_is_a_space_unless_it_is_a_letter() -> None:
    assert Characters().encode(["a\nb"])[0].tolist() == [1, 0, 2]
    assert Characters("\n ab").encode(["a\nb"])[0].tolist() == [2, 0, 3]
    with pytest.raises(
        UserError, match=r"line 1 of the text must hold the 2 characters 'ab' only, got '\\n'"
    ):
        Characters("ab").encode(["a\nb"])


def test_letters_may_be_of_any_script() -> None:
    tokens = Characters("βα😀")
    assert tokens.num_states == 3
    assert tokens.encode(["α😀β"])[0].tolist() == [1, 2, 0]
    assert tokens.decode(np.array([1, 2, 0])) == "α😀β"


def test_a_character_without_a_state_is_named_with_its_line() -> None:
    piece = Piece("ab\ncd\nhé", "verses.txt", 10)
    remedy = r"correct it, or train with other letters \(--data.alphabet\) or with bytes"
    with pytest.raises(
        UserError,
        match=f"line 13 of verses.txt must hold the 27 characters ' abc.*got 'é'; {remedy}",
    ):
        Characters().read(piece)


@pytest.mark.parametrize("letters", ["", "a", "aba"])
def test_letters_are_two_or_more_and_different(letters: str) -> None:
    with pytest.raises(
        UserError, match="alphabet of text must hold two or more different characters"
    ):
        Characters(letters)


@given(text=any_text)
def test_bytes_are_those_of_utf8(text: str) -> None:
    tokens = Bytes()
    found = tokens.read(Piece(text))
    assert bytes(found.states.astype(np.uint8)) == text.encode()
    assert found.begin.tolist() == [
        place for place, letter in enumerate(text) for _ in letter.encode()
    ]
    assert tokens.decode(found.states) == text


def test_bytes_that_make_no_character_are_written_as_such() -> None:
    assert Bytes().decode(np.array([0x61, 0xE2, 0x82, 0x62])) == "a\N{REPLACEMENT CHARACTER}b"


# Subword


def test_words_are_divided_into_entries() -> None:
    tokens = vocabulary()
    assert tokens.num_states == len(ENTRIES)
    assert tokens.state_names() == ENTRIES
    assert names(tokens, "The CÁTS unsat.") == ["the", "cat", "##s", "un", "##sat", "."]
    assert tokens.unit == "token"


def test_a_vocabulary_with_capitals_keeps_them() -> None:
    assert names(wordpiece([*ENTRIES, "The"]), "The the") == ["The", "the"]


def test_every_line_is_a_document_and_a_separator_follows_it() -> None:
    found = vocabulary().read(Piece("the  cats \n\n  sat\n"))
    assert [ENTRIES[state] for state in found.states] == [
        "the",
        "cat",
        "##s",
        "[SEP]",
        "sat",
        "[SEP]",
    ]
    assert found.begin.tolist() == [0, 5, 8, 10, 14, 17], (
        "a separator has the line break, and what is blank behind it"
    )
    assert vocabulary().decode(found.states) == "the cats\nsat\n"
    assert len(vocabulary().read(Piece("\n \n")).states) == 0


def test_what_looks_like_a_special_token_is_text() -> None:
    assert names(vocabulary(), "[SEP] [MASK] sat") == ["[", "sep", "]", "[", "[UNK]", "]", "sat"]


def test_files_of_a_vocabulary(tmp_path: Path) -> None:
    text = "\n".join(ENTRIES)
    plain = write_vocabulary(tmp_path)
    (tmp_path / "windows.txt").write_bytes(text.replace("\n", "\r\n").encode())
    np.savez(tmp_path / "vocab.npz", vocab=np.array(text))
    (tmp_path / "tokenizer.json").write_text(vocabulary().spec()["tokenizer"])
    for path in (
        plain,
        tmp_path / "windows.txt",
        tmp_path / "vocab.npz",
        tmp_path / "tokenizer.json",
    ):
        tokens = find_tokenizer(str(path))
        assert tokens.spec() == vocabulary().spec()
        assert tokens.describe() == vocabulary().describe()


def test_a_tokenizer_of_another_kind(tmp_path: Path) -> None:
    """Byte-level pairs as GPT-2 has them, whose spaces belong to words and whose separator has another name."""
    entries = ["<|endoftext|>", *pre_tokenizers.ByteLevel.alphabet(), "ĠĠ"]
    tokenizer = Package(
        models.BPE({entry: state for state, entry in enumerate(entries)}, [("Ġ", "Ġ")])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.enable_truncation(2)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tokens = read_vocabulary(tmp_path / "tokenizer.json")
    found = tokens.read(Piece("é a\n<|endoftext|>\n"))
    assert tokens.decode(found.states) == "é a\n<|endoftext|>\n"
    assert (found.states == tokens.separator).sum() == 2
    assert found.begin[:5].tolist() == [0, 0, 1, 2, 3]
    assert tokens.unknown is None


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            ["[SEP]", "a"],
            r"WordPiece vocabulary must hold \[UNK\] and \[SEP\], got no \[UNK\] in 2 entries; add them",
        ),
        (["[UNK]", "a"], r"no \[SEP\] in 2 entries"),
        (["[UNK]", "[SEP]", "a", "a"], "different entry on every line, got 'a' on lines 3 and 4"),
        (["[UNK]", "", "[SEP]"], "different entry on every line, got none on line 2"),
    ],
)
def test_a_vocabulary_that_lacks_something_is_refused(
    tmp_path: Path, entries: list[str], message: str
) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(entries))
    with pytest.raises(UserError, match=f"{path}: .*{message}"):
        read_vocabulary(path)


def test_files_that_are_no_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data.tokens must be characters, bytes, or a .* file, got .*nowhere.json"
    ):
        find_tokenizer(str(tmp_path / "nowhere.json"))
    for name, content, message in (
        ("model.bin", b"", r"data.tokens must end in .json or .txt or .npz"),
        ("broken.json", b'{"a": 1}', "data.tokens must hold a model, got NoneType"),
        ("broken.npz", b"PK", r"must be an undamaged \.npz file"),
        ("latin.txt", b"\xe9", "must be a tokenizer or vocabulary in UTF-8, got"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message) as caught:
            read_vocabulary(tmp_path / name)
        assert name in str(caught.value)
    np.savez(tmp_path / "other.npz", words=np.array("a"))
    with pytest.raises(UserError, match="must hold a text `vocab`"):
        read_vocabulary(tmp_path / "other.npz")
    tokenizer = Package(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(
        UserError, match=r"have a token between documents, \[SEP\] or .*got none in 2 entries"
    ):
        Subword(tokenizer.to_str())


def test_without_the_extra_the_remedy_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_vocabulary(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "tokenizers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        UserError, match=r"the package tokenizers, .* pip install 'scud-diffusion\[text\]'"
    ):
        read_vocabulary(path)


# Any tokens


@pytest.mark.parametrize(
    "tokens", [Characters("ab c\n"), Bytes(), vocabulary()], ids=["characters", "bytes", "subword"]
)
def test_tokens_are_built_again_from_their_spec(tokens: Tokenizer) -> None:
    again = tokenizer_from_spec(json.loads(json.dumps(tokens.spec())))
    assert type(again) is type(tokens)
    assert again.spec() == tokens.spec()
    assert again.encode(["a cab", "b"])[0].tolist() == tokens.encode(["a cab", "b"])[0].tolist()
    assert (again.num_states, again.describe()) == (tokens.num_states, tokens.describe())


def test_specs_that_this_version_does_not_know() -> None:
    with pytest.raises(
        UserError, match=r"tokens.kind must be one of bytes, characters, subword, got 'words'"
    ):
        tokenizer_from_spec({"kind": "words"})
    with pytest.raises(UserError, match="tokens must have the arguments of their kind"):
        tokenizer_from_spec({"kind": "characters", "letter": "ab"})


def test_other_vocabularies_are_described_otherwise() -> None:
    assert vocabulary().describe() != wordpiece([*ENTRIES[:-1], "word"]).describe()


def test_letters_are_for_characters_only() -> None:
    assert find_tokenizer("characters", "xyz").num_states == 3
    with pytest.raises(
        UserError, match=r"data.alphabet must be given for characters only, got 'xyz' for bytes"
    ):
        find_tokenizer("bytes", "xyz")

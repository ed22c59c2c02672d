"""Text on disk: chunks, the extent of what they cover, what is held out, and the cache."""

import gzip
import os
import pickle
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scud.data import TextSet, load_text
from scud.data.text import files as text_files
from scud.data.text.store import Extent, hold_out
from scud.data.text.tokenizers import Bytes, Characters, Tokenizer, find_tokenizer
from scud.errors import UserError
from scud.typing import BatchSize
from tests.unit.texts import vocabulary

KINDS: dict[str, Tokenizer] = {
    "characters": Characters("abcä😀 \n\t"),
    "bytes": Bytes(),
    "subword": vocabulary(),
}
texts = st.text("abcä😀 \n\t", min_size=12, max_size=60)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def whole(
    folder: Path, text: str | bytes, tokens: Tokenizer, length: int, name: str = "some.txt"
) -> TextSet:
    """All chunks of a text, those that are held out too."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    train = load_text(path, tokens, length, files={"valid": path}).split("train")
    assert isinstance(train, TextSet)
    return train


def rows(text: TextSet) -> list[list[int]]:
    return text.batch(torch.arange(len(text))).x0.tolist()


def covered(text: TextSet) -> list[int]:
    found = text.text
    return [found.characters, found.bytes, found.words]


# Chunks


@pytest.mark.parametrize("tokens", KINDS.values(), ids=KINDS)
def test_chunks_are_the_states_from_the_beginning_on(tmp_path: Path, tokens: Tokenizer) -> None:
    text = (
        "the cat\nsat  unsat.\n\ncats sat.\n" if tokens.unit == "token" else "ab ä😀c\n\tcab\naa b"
    )
    states = (
        vocabulary().encode(text.split("\n")) if tokens.unit == "token" else tokens.encode([text])
    )
    joined = [
        state
        for part in states
        if len(part)
        for state in [*part, *([3] if tokens.unit == "token" else [])]
    ]
    chunks = whole(tmp_path, text, tokens, 4)
    assert rows(chunks) == [joined[start : start + 4] for start in range(0, len(joined) - 3, 4)]
    batch = chunks.batch(torch.tensor([1, 0]))
    assert batch.x0.dtype == torch.int64
    assert batch.mask is None
    assert batch.x0.tolist() == [rows(chunks)[1], rows(chunks)[0]]


@pytest.mark.parametrize("tokens", KINDS.values(), ids=KINDS)
def test_it_does_not_matter_how_the_text_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokens: Tokenizer
) -> None:
    text = (
        "the cat sat\n\n unsat.  cats\ncat"
        if tokens.unit == "token"
        else " äb😀c\n\n\tb😀 ä\na\n bcä"
    )
    found = []
    for number, content in enumerate(
        (
            text.encode(),
            b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
            gzip.compress(text.encode()),
        )
    ):
        for size in (1 << 20, 1, 3, 5):
            monkeypatch.setattr(text_files, "PIECE", size)
            chunks = whole(
                tmp_path, content, tokens, 3, f"{number}-{size}.txt{'.gz' if number == 2 else ''}"
            )
            monkeypatch.setenv("SCUD_CACHE", str(tmp_path / f"cache-{number}-{size}"))
            found.append((rows(chunks), covered(chunks), chunks.whole))
    assert all(one == found[0] for one in found)


# Extent


@settings(max_examples=30, deadline=None)
@given(text=texts, length=st.integers(1, 6))
def test_the_extent_of_characters_and_bytes_is_what_chunks_cover(text: str, length: int) -> None:
    with TemporaryDirectory() as folder:
        chunks = whole(Path(folder), text, KINDS["characters"], length)
        borders = [min(chunk * length, len(text)) for chunk in range(len(chunks) + 1)]
        check_extent(chunks, text, borders)
        units = whole(Path(folder), text, Bytes(), length)
        begin = [place for place, letter in enumerate(text) for _ in letter.encode()] + [len(text)]
        check_extent(
            units, text, [begin[chunk * length] for chunk in range(len(units) + 1)], length
        )


def check_extent(chunks: TextSet, text: str, borders: list[int], size: int | None = None) -> None:
    """Each chunk covers the text between two borders, or so many bytes; a word is where it begins."""
    begins = [
        place
        for place in range(len(text))
        if not text[place].isspace() and text[:place][-1:].strip() == ""
    ]
    for chunk, (start, end) in enumerate(pairwise(borders)):
        part = TextSet(chunks.folder, np.array([chunk]))
        words = sum(start <= place < end for place in begins)
        assert covered(part) == [
            end - start,
            len(text[start:end].encode()) if size is None else size,
            words,
        ]
    assert chunks.whole == Extent(
        chunks.whole.tokens, len(text), len(text.encode()), len(text.split())
    )


def test_the_extent_of_subword_tokens_is_the_text_up_to_the_next_one(tmp_path: Path) -> None:
    text = "\n  the CÁTS \nunsat\nsat\n"  # the | cat ##s [SEP] | un ##sat [SEP] | sat [SEP]
    chunks = whole(tmp_path, text, vocabulary(), 3)
    first = "\n  the CÁTS "
    second = "\nunsat"
    assert covered(TextSet(chunks.folder, np.array([0]))) == [len(first), len(first.encode()), 2]
    assert covered(TextSet(chunks.folder, np.array([1]))) == [len(second), len(second), 1]
    third = "\nsat\n"
    assert covered(TextSet(chunks.folder, np.array([2]))) == [len(third), len(third), 1]
    assert chunks.whole == Extent(9, len(text), len(text.encode()), 4)
    assert covered(chunks) == [len(text), len(text.encode()), 4]


# Splits


@pytest.mark.parametrize(
    ("count", "share"), [(2, 0.05), (7, 0.05), (199, 0.05), (1000, 0.05), (1000, 0.3), (40, 0.97)]
)
def test_a_share_is_held_out_in_long_stretches(tmp_path: Path, count: int, share: float) -> None:
    text = whole(tmp_path, "a" * count, Characters("ab"), 1)
    train, valid = hold_out(text, share)
    assert sorted([*train.chunks, *valid.chunks]) == list(range(count))
    assert len(train) > 0
    stretches = 1 + int((np.diff(valid.chunks) > 1).sum())
    assert stretches <= np.ceil(10 / share)
    if count >= 199:
        assert len(valid) == pytest.approx(share * count, abs=0.1 * share * count + 1)
        assert len(valid) / stretches >= 0.9 * count / np.ceil(10 / share)
    again = hold_out(text, share)[1]
    assert again.chunks.tolist() == valid.chunks.tolist()


def test_a_source_of_text(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("abcab" * 40)
    (tmp_path / "test.txt").write_text("ccccc")
    source = load_text(
        tmp_path / "some.txt",
        Characters("abcd"),
        5,
        files={"valid": None, "test": tmp_path / "test.txt"},
    )
    assert (source.name, source.modality.kind, source.num_states, source.dims) == (
        "some",
        "text",
        4,
        (5,),
    )
    assert {name: len(split) for name, split in source.splits.items()} == {
        "train": 38,
        "valid": 2,
        "test": 1,
    }
    torch.testing.assert_close(
        source.p0(), torch.tensor([77, 77, 39, 1], dtype=torch.float64) / 194
    )
    assert source.modality.spec() == {
        "tokens": {"kind": "characters", "letters": "abcd"},
        "length": 5,
    }
    assert source.report == (
        "train: read 200 characters in 1 words",
        "test: read 5 characters in 1 words",
        "train: 38 chunks of 5 characters",
        "valid: 2 chunks of 5 characters",
        "test: 1 chunks of 5 characters",
    )


def test_the_report_says_what_is_left_out_and_unknown(tmp_path: Path) -> None:
    text = whole(tmp_path, "the dog\nsat sat", vocabulary(), 5)
    assert (text.unknown, text.whole.tokens) == (1, 6)
    assert load_text(
        tmp_path / "some.txt", vocabulary(), 5, files={"valid": tmp_path / "some.txt"}
    ).report[:3] == (
        "train: read 15 characters in 4 words as 6 tokens",
        "train: 1 tokens stand for what the vocabulary cannot write",
        "train: dropped the last 1 tokens, which make no whole chunk",
    )


def test_parts_batches_and_counts(tmp_path: Path) -> None:
    text = whole(tmp_path, "abcd" * 10, Characters("abcdefg"), 4)
    part = text.part(4)
    assert part.chunks.tolist() == [0, 2, 5, 7]
    assert part.text == Extent(16, 16, 16, 1)
    assert text.part(10) is text
    assert [index.tolist() for index in part.batches(BatchSize(3, 1))] == [[0, 1, 2], [3]]
    assert part.state_counts().tolist() == [4, 4, 4, 4]


def test_counts_of_many_states_are_those_of_all_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0).integers(14, 128, 600)
    text = whole(tmp_path, bytes(random.astype(np.uint8) | 1), Bytes(), 3)
    monkeypatch.setattr("scud.data.text.store._SLICE", 7)
    expected = np.bincount(random | 1)
    assert text.state_counts().tolist() == expected.tolist()


def test_states_of_large_vocabularies_are_kept(tmp_path: Path) -> None:
    letters = "".join(chr(code) for code in range(1000, 1300))
    text = whole(tmp_path, letters, Characters(letters), 100)
    assert rows(text) == [list(range(start, start + 100)) for start in (0, 100, 200)]
    assert (text.folder / "states.bin").stat().st_size == 600


# The cache


def test_a_text_is_read_again_only_if_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = whole(tmp_path, "abcabc", Characters("abc"), 2)
    monkeypatch.setattr("scud.data.text.chunks.write_text", None)
    assert whole(tmp_path, "abcabc", Characters("abc"), 2, "same.txt").folder == first.folder
    monkeypatch.undo()
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    others = [
        whole(tmp_path, "abcabc", Characters("abc"), 3),
        whole(tmp_path, "abcabc", Characters("abcd"), 2),
        whole(tmp_path, "abcabb", Characters("abc"), 2),
    ]
    assert len({first.folder, *(other.folder for other in others)}) == 4


def test_a_set_is_pickled_as_folder_and_chunks(tmp_path: Path) -> None:
    part = whole(tmp_path, "abcabc" * 1000, Characters("abc"), 2).part(3)
    data = pickle.dumps(part)
    assert len(data) < 1000
    assert rows(pickle.loads(data)) == rows(part)


def test_what_goes_wrong_leaves_nothing(tmp_path: Path, own_cache: Path) -> None:
    with pytest.raises(UserError, match="line 2 of"):
        whole(tmp_path, "ab\nx", Characters("ab\n"), 2)
    assert not list((own_cache / "text").iterdir())


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    text = whole(tmp_path, "abcabc", Characters("abc"), 2)
    states = text.folder / "states.bin"
    for content in (states.read_bytes()[:-2], states.read_bytes()[:-1], b""):
        states.write_bytes(content)
        with pytest.raises(
            UserError,
            match=rf"store {text.folder} must be complete.*delete {text.folder} and run again",
        ):
            TextSet(text.folder)


# Real data


@pytest.mark.skipif("SCUD_DATA" not in os.environ, reason="SCUD_DATA names no folder of real data")
def test_real_text() -> None:
    """Verses and a vocabulary of BERT: every word is known, and few tokens are needed for a word."""
    folder = Path(os.environ["SCUD_DATA"])
    tokens = find_tokenizer(str(folder / "bert30522_knn.npz"))
    assert tokens.num_states == 30_522
    assert tokens.encode(["Hello, [SEP] World!"])[0].tolist() == [
        7592,
        1010,
        1031,
        19802,
        1033,
        2088,
        999,
    ]
    source = load_text(folder / "text27_valid.txt.gz", tokens, 128)
    train, valid = source.split("train"), source.split("valid")
    assert isinstance(train, TextSet)
    assert isinstance(valid, TextSet)
    assert train.unknown == 0
    read, covered = train.whole, [train.text, valid.text]
    assert 0 <= read.characters - sum(part.characters for part in covered) < 128 * 20
    assert read.words - sum(part.words for part in covered) < 128
    assert 1 < read.tokens / read.words < 1.3

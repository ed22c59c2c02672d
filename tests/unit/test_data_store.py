"""Stores of sequences: what is in them is what a naive reader has, cut, dropped and split as the options say."""

import gzip
import pickle
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scud.data.sequences import ingest
from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.ingest import sequence_keys
from scud.data.sequences.load import load_sequences
from scud.data.sequences.store import SequenceSet, StoreOptions, build_stores
from scud.errors import UserError
from scud.files.cache import default_cache
from scud.typing import BatchSize
from tests.unit.sequences import PROTEIN, save, texts


def random_sequences(count: int, longest: int, letters: str = PROTEIN.letters) -> list[str]:
    random = np.random.default_rng(count)
    return [
        "".join(random.choice(list(letters), size)) for size in random.integers(1, longest, count)
    ]


def cut(sequence: str, options: StoreOptions) -> list[str]:
    """What becomes of one sequence."""
    length = len(sequence)
    if length < options.min_length or (length > options.max_length and options.long == "drop"):
        return []
    number = -(-length // options.max_length)
    ends = [part * (length // number) + min(part, length % number) for part in range(number + 1)]
    return [sequence[start:end] for start, end in pairwise(ends)]


@settings(max_examples=40, deadline=None)
@given(
    sequences=st.lists(st.text("ACDEFX", min_size=1, max_size=30), max_size=12),
    min_length=st.integers(1, 6),
    max_length=st.integers(6, 20),
    long=st.sampled_from(["cut", "drop"]),
    share=st.sampled_from([0.0, 0.5]),
)
def test_a_store_holds_what_a_naive_reader_has(
    tmp_path_factory: pytest.TempPathFactory,
    sequences: list[str],
    min_length: int,
    max_length: int,
    long: Any,
    share: float,
) -> None:
    folder = tmp_path_factory.mktemp("store")
    options = StoreOptions(min_length, max_length, long, share)
    # so many that some are in training whatever is drawn
    sequences += [
        "ACDEFG"[:6] * 2 if long == "cut" else "ACDEFG",
        *(letter * 6 for letter in PROTEIN.letters),
    ]
    stores = build_stores(save(folder, sequences), PROTEIN, options, folder / "cache")
    expected = [
        part for sequence in sequences for part in cut(sequence, options) if set(part) != {"X"}
    ]
    found = Counter(text for split in stores.values() for text in texts(split))
    assert found == Counter(expected)
    if share == 0:
        assert set(stores) == {"train"}
        assert texts(stores["train"]) == expected
    for split in stores.values():
        check_consistent(split)


def check_consistent(split: SequenceSet) -> None:
    """Counts, orders and batches agree with the sequences themselves."""
    held = [split.sequence(i) for i in range(len(split))]
    lengths = np.array([len(codes) for codes in held])
    everything = np.concatenate(held)
    assert np.array_equal(split.length_counts, np.bincount(lengths))
    assert split.longest == lengths.max()
    assert torch.equal(split.lengths(torch.arange(len(split))), torch.from_numpy(lengths))
    assert split.state_counts().tolist() == np.bincount(everything, minlength=21)[:20].tolist()
    order = split.by_length(torch.arange(len(split)))
    assert order.tolist() == np.argsort(lengths, kind="stable").tolist()
    every = torch.cat(list(split.batches(BatchSize(1, 30))))
    assert sorted(every.tolist()) == list(range(len(split)))
    index = torch.arange(len(split)).flip(0)
    batch = split.batch(index)
    assert batch.mask is not None
    assert batch.x0.shape == batch.mask.shape == (len(split), split.longest)
    assert (batch.x0.dtype, batch.mask.dtype) == (torch.int64, torch.bool)
    for row, mask, i in zip(batch.x0, batch.mask, index, strict=True):
        codes = np.pad(held[i], (0, split.longest - lengths[i]), constant_values=20)
        assert mask.tolist() == (codes != 20).tolist()
        assert row.tolist() == np.where(codes == 20, 0, codes).tolist()


def test_by_length_is_right_over_several_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_SLICE", 7)
    stores = build_stores(
        save(tmp_path, random_sequences(100, 20)), PROTEIN, StoreOptions(valid_share=0.3), tmp_path
    )
    for split in stores.values():
        check_consistent(split)


def test_report_says_what_was_read_dropped_cut_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "some.fasta"
    path.write_text(">a\nAUO\n>b\nacDX*B\n>c\nA\n>d\nACDEFGHIKLM\n>e\nXXX\n")
    train = build_stores(path, PROTEIN, StoreOptions(min_length=2, max_length=10), tmp_path)[
        "train"
    ]
    assert texts(train) == ["ACK", "ACDXXX", "ACDEFG", "HIKLM"]
    assert train.report() == [
        "read 5 sequences of 24 residues",
        "dropped 1 shorter than 2",
        "dropped 1 without a known residue",
        "cut 1 longer than 10 into 2 examples",
        "read U as C 1x, O as K 1x, X as unknown 4x, B as unknown 1x, * as unknown 1x",
        "read 2 lower-case letters as upper case",
        "train: 4 examples of length 3 to 6, 5 on average",
    ]


# Splits


def test_equal_sequences_are_in_one_split_wherever_they_stand(tmp_path: Path) -> None:
    sequences = random_sequences(2000, 60)
    options = StoreOptions(max_length=20, valid_share=0.2)
    stores = build_stores(
        save(tmp_path, sequences + sequences[::-1]), PROTEIN, options, tmp_path / "cache"
    )
    train, valid = (Counter(texts(stores[name])) for name in ("train", "valid"))
    both = train + valid
    long = {
        text for text in both if len(text) > 6
    }  # short ones are equal by chance, parts of long sequences too
    assert not {text for text in long if train[text] and valid[text]}
    assert all(both[text] % 2 == 0 for text in long)
    other = build_stores(
        save(tmp_path, sequences[::-1], "other"), PROTEIN, options, tmp_path / "cache"
    )
    assert {text for text in texts(other["valid"]) if len(text) > 6} == set(valid) & long
    # four standard errors of a share of 2000
    whole = build_stores(
        save(tmp_path, sequences), PROTEIN, StoreOptions(valid_share=0.2), tmp_path / "cache"
    )
    assert abs(len(whole["valid"]) / 2000 - 0.2) < 4 * (0.2 * 0.8 / 2000) ** 0.5


def test_the_hash_is_that_of_the_formula_and_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    lengths = np.array([1, 5000, 3, 10_000, 1, 40])
    codes = random.integers(0, 21, lengths.sum()).astype(np.uint8)
    keys = sequence_keys(codes, lengths, 20)
    table = np.random.PCG64(20250608).random_raw(21 * 4096)
    start = 0
    for key, length in zip(keys.tolist(), lengths.tolist(), strict=True):
        total = length * 0x9E3779B97F4A7C15
        for place, code in enumerate(codes[start : start + length].tolist()):
            total += int(table[code * 4096 + place % 4096])
        total %= 2**64
        total = (total ^ (total >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        total = (total ^ (total >> 27)) * 0x94D049BB133111EB % 2**64
        assert key == total ^ (total >> 31)
        start += length
    for size in (1, 2, 17, 4999):
        monkeypatch.setattr(ingest, "_SLICE", size)
        few = slice(0, 3) if size < 10 else slice(None)
        assert np.array_equal(
            sequence_keys(codes[: lengths[few].sum()], lengths[few], 20), keys[few]
        )
    assert sequence_keys(np.array([0, 1, 2], dtype=np.uint8), np.array([3]), 20).tolist() == [
        KEY_OF_ACD
    ]


KEY_OF_ACD = 11873449336362136243
"""As it was when it was first computed."""


# The cache


def test_a_store_is_read_again_only_if_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = save(tmp_path, ["ACDEF", "ACD"]), tmp_path / "cache"
    first = build_stores(path, PROTEIN, None, cache)["train"]
    same = tmp_path / "same.fasta"
    same.write_bytes(path.read_bytes())
    monkeypatch.setattr("scud.data.sequences.store.ingest", None)
    assert build_stores(same, PROTEIN, StoreOptions(), cache)["train"].folder == first.folder
    monkeypatch.undo()
    others = [
        build_stores(path, PROTEIN, StoreOptions(min_length=2), cache),
        build_stores(path, find_alphabet("ACDEF"), None, cache),
        build_stores(save(tmp_path, ["ACDEF", "ACE"]), PROTEIN, None, cache),
    ]
    assert len({first.folder, *(stores["train"].folder for stores in others)}) == 4


def test_a_set_is_pickled_as_its_folder(tmp_path: Path) -> None:
    train = build_stores(save(tmp_path, random_sequences(500, 99)), PROTEIN, None, tmp_path)[
        "train"
    ]
    data = pickle.dumps(train)
    assert len(data) < 1000
    assert texts(pickle.loads(data)) == texts(train)


def test_the_default_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "a"))
    assert default_cache() == tmp_path / "a"
    path = save(tmp_path, ["ACD"])
    assert build_stores(path, PROTEIN)["train"].folder.is_relative_to(tmp_path / "a")
    monkeypatch.delenv("SCUD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert default_cache() == tmp_path / "b" / "scud"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "scud"


@pytest.mark.parametrize("error", [KeyboardInterrupt, UserError, MemoryError])
def test_what_is_interrupted_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    path, cache = save(tmp_path, ["ACD"]), tmp_path / "cache"

    def interrupted(*_: object) -> None:
        assert [file for file in cache.rglob("*") if file.is_file()]
        raise error

    monkeypatch.setattr(ingest, "_write_order", interrupted)
    with pytest.raises(error):
        build_stores(path, PROTEIN, None, cache)
    assert not list((cache / "sequences").iterdir())


def test_a_bad_file_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "bad.fasta").write_text(">a\nACD\n>b\nAC7\n")
    with pytest.raises(UserError, match=r"record 2 \(b\)"):
        build_stores(tmp_path / "bad.fasta", PROTEIN, None, tmp_path / "cache")
    assert not list((tmp_path / "cache" / "sequences").iterdir())


def test_a_damaged_store_is_named_and_made_again(tmp_path: Path) -> None:
    path = save(tmp_path, ["ACDEF"])
    train = build_stores(path, PROTEIN, None, tmp_path / "cache")["train"]
    (train.folder / "residues.bin").write_bytes(b"\0")
    with pytest.raises(UserError, match="delete"):
        SequenceSet(train.folder)
    with pytest.warns(
        UserWarning, match=r"some\.fasta cannot be used and is made again: train/residues"
    ):
        again = build_stores(path, PROTEIN, None, tmp_path / "cache")["train"]
    assert texts(again) == ["ACDEF"]
    (train.folder / "summary.json").unlink()
    with pytest.raises(UserError, match="delete"):
        SequenceSet(train.folder)


def test_a_digest_is_that_of_the_examples(tmp_path: Path) -> None:
    """Whatever the file is called; other for other sequences, another order, and some of them."""
    sequences = random_sequences(60, 20)
    stores = [
        build_stores(
            save(tmp_path, held, f"{number}.fasta"), PROTEIN, None, tmp_path / f"c{number}"
        )
        for number, held in enumerate(
            [sequences, sequences, sequences[::-1], [*sequences[:-1], "ACD"]]
        )
    ]
    first, same, *others = [store["train"].digest() for store in stores]
    assert first == same
    whole = stores[0]["train"]
    parts = [whole.part(most).digest() for most in (10, 20)]
    assert whole.part(10).digest() == parts[0]
    assert whole.part(60).digest() == first
    assert len({first, *others, *parts}) == 5
    assert pickle.loads(pickle.dumps(whole)).digest() == first


@pytest.mark.parametrize(
    ("letters", "alphabet", "name"),
    [
        ("ACGTN", "protein", "dna"),
        ("acgt", "protein", "dna"),
        ("ACGU", "protein", "rna"),
        ("ACGU", "dna", "rna"),
        ("ACGT", "rna", "dna"),
        ("ACGT", "dna", None),
        ("ACGU", "rna", None),
        ("A", "protein", None),
        ("ACGTE", "protein", None),
        (PROTEIN.letters, "protein", None),
    ],
)
def test_letters_that_look_like_another_alphabet_are_told(
    tmp_path: Path, letters: str, alphabet: str, name: str | None
) -> None:
    path = save(tmp_path, [letters * 20])
    report = build_stores(path, find_alphabet(alphabet), None, tmp_path / "c")["train"].report()
    warned = [line for line in report if line.startswith("warning")]
    assert len(warned) == (name is not None)
    assert all(f"--data.alphabet {name}" in line for line in warned)


def test_a_long_record_in_slices_is_what_it_is_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences = [f"{text}*" for text in random_sequences(30, 50, "ACDX")]
    path = tmp_path / "some.fasta"
    lines = [f">{'long name ' * i}\n{text[:9]}\n {text[9:]}" for i, text in enumerate(sequences)]
    path.write_text("\n".join(lines))
    options = StoreOptions(max_length=7, valid_share=0.3)
    whole = build_stores(path, PROTEIN, options, tmp_path / "whole")
    for size in (1, 2, 5, 64):
        monkeypatch.setattr("scud.data.sequences.fasta._SLICE", size)
        monkeypatch.setattr(ingest, "_AT_ONCE", size)
        sliced = build_stores(path, PROTEIN, options, tmp_path / f"{size}")
        assert {name: part.digest() for name, part in sliced.items()} == {
            name: part.digest() for name, part in whole.items()
        }


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="SCUD_CACHE"):
        build_stores(save(tmp_path, ["ACD"]), PROTEIN, None, tmp_path / "file" / "cache")


# Bad input


def test_nothing_left_says_what_was_dropped_and_why(tmp_path: Path) -> None:
    path = save(tmp_path, ["AC", "X" * 5, "A" * 20])
    with pytest.raises(UserError) as error:
        build_stores(path, PROTEIN, StoreOptions(3, 10, "drop"), tmp_path / "cache")
    for words in (
        "read 3",
        "1 shorter than 3",
        "1 longer than 10",
        "1 without a known residue",
        "widen",
    ):
        assert words in str(error.value)
    with pytest.raises(UserError, match="held out 1"):
        build_stores(
            save(tmp_path, ["ACD"]), PROTEIN, StoreOptions(valid_share=0.999999), tmp_path / "cache"
        )


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"min_length": 0}, "min_length"),
        ({"min_length": 20, "max_length": 10}, "min_length"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": 1 << 30}, "max_length"),
        ({"long": "crop"}, "long"),
        ({"valid_share": 1.0}, "valid_share"),
        ({"valid_share": -0.1}, "valid_share"),
        ({"valid_share": float("nan")}, "valid_share"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word):
        StoreOptions(**options)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        build_stores(tmp_path / "nowhere.fasta", PROTEIN, None, tmp_path / "cache")


def test_gzip_and_plain_files_give_the_same_sequences(tmp_path: Path) -> None:
    path = save(tmp_path, random_sequences(50, 30))
    zipped = tmp_path / "zipped"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    one, other = (
        build_stores(file, PROTEIN, None, tmp_path / "cache")["train"] for file in (path, zipped)
    )
    assert texts(one) == texts(other)


def test_a_validation_file_that_is_filtered_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    train, valid = (
        save(tmp_path, ["A" * 9] * 4, "train.fasta"),
        save(tmp_path, ["ACD"], "valid.fasta"),
    )
    with pytest.raises(
        UserError,
        match=r"valid\.fasta must leave sequences to use.*widen min_length and max_length, or give",
    ):
        load_sequences(train, files={"valid": valid}, min_length=5)


@given(st.integers(1, 40))
@settings(deadline=None, max_examples=15)
def test_a_part_is_spread_over_lengths_and_keeps_to_the_budget(
    tmp_path_factory: pytest.TempPathFactory, most: int
) -> None:
    folder = tmp_path_factory.getbasetemp() / "part"
    folder.mkdir(exist_ok=True)
    whole = build_stores(save(folder, ["A" * n for n in range(1, 31)]), PROTEIN, None, folder)[
        "train"
    ]
    part = whole.part(most)
    assert len(part) == min(most, 30)
    index = torch.cat(list(part.batches(BatchSize(1, 64))))
    assert sorted(index.tolist()) == list(range(len(part)))
    lengths = part.batch(torch.arange(len(part))).mask
    assert lengths is not None
    counts = sorted(lengths.sum(1).tolist())
    assert len(set(counts)) == len(part), "every length once"
    assert counts[-1] - counts[0] >= 29 * (len(part) - 1) // len(part), "from short to long"
    assert all(
        len(batch) * int(part.batch(batch).x0.shape[1]) <= 64
        for batch in part.batches(BatchSize(1, 64))
    )

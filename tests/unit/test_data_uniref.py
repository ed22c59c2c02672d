"""UniRef50 in the folder layout of CARP and EvoDiff: its own splits, and what disagrees is named."""

import json
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scud.data.sequences.load import load_sequences
from scud.data.sequences.store import SequenceSet, StoreOptions, build_stores
from scud.errors import UserError
from tests.unit.sequences import PROTEIN, save, texts

FOLDER = ["ACD", "ACDE", "ACDEF", "ACDEFG", "AC", "A" * 12]


def uniref(folder: Path, splits: object = None, ells: object = None) -> Path:
    folder.mkdir(exist_ok=True)
    save(folder, FOLDER, "consensus.fasta")
    given = (
        {"train": [0, 4, 5], "valid": [2], "test": [], "rtest": [3]} if splits is None else splits
    )
    (folder / "splits.json").write_text(given if isinstance(given, str) else json.dumps(given))
    lengths = np.array([len(sequence) for sequence in FOLDER]) if ells is None else ells
    np.savez(folder / "lengths_and_offsets.npz", ells=lengths, seq_offsets=np.zeros(len(FOLDER)))
    return folder


def test_a_folder_gives_its_own_splits(tmp_path: Path) -> None:
    stores = build_stores(
        uniref(tmp_path / "u"), PROTEIN, StoreOptions(max_length=8, valid_share=0.9), tmp_path
    )
    assert {name: texts(split) for name, split in stores.items()} == {
        "train": ["ACD", "AC", "AAAAAA", "AAAAAA"],
        "valid": ["ACDEF"],
    }
    assert "dropped 2 that are in no split" in stores["train"].report()


def test_a_folder_is_read_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scud.data.sequences.uniref._SLICE", 3)
    splits = '{ "train" : [0,\n 4, 5 ,3,1], "valid":[2] }'
    stores = build_stores(uniref(tmp_path / "u", splits), PROTEIN, None, tmp_path)
    assert texts(stores["train"]) == ["ACD", "ACDE", "ACDEFG", "AC", "A" * 12]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ells": np.array([3, 4, 5, 7, 2, 12])}, ["length 7 of record 4 (s3), which has 6"]),
        ({"ells": np.array([3, 4, 5]), "splits": {"train": [0]}}, ["more than 3 records"]),
        ({"ells": np.array([3, 4, 5, 6, 2, 12, 9])}, ["6 records", "7 lengths"]),
        ({"ells": np.zeros((2, 3), dtype=int)}, ["integers `ells`"]),
        ({"ells": np.zeros(6)}, ["integers `ells`"]),
        ({"splits": {"valid": [0]}}, ["train", "lists called valid"]),
        ({"splits": {"train": [0, 6]}}, ["records 0..5", "6 in train"]),
        ({"splits": {"train": [-1]}}, ["-1 in train"]),
        ({"splits": {"train": [0, 1], "test": [1]}}, ["each record once", "1 in test"]),
        ({"splits": {"train": ["a"]}}, ["whole numbers"]),
        ({"splits": {"train": [0.5]}}, ["whole numbers"]),
        ({"splits": "{"}, ["lists called nothing"]),
        ({"splits": ""}, ["empty file"]),
    ],
)
def test_a_folder_that_disagrees_with_itself_is_named(
    tmp_path: Path, change: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        build_stores(uniref(tmp_path / "u", **change), PROTEIN, None, tmp_path / "cache")
    for word in words:
        assert word in str(error.value)
    assert not list((tmp_path / "cache" / "sequences").iterdir())


def test_a_folder_without_its_files_is_named(tmp_path: Path) -> None:
    folder = uniref(tmp_path / "u")
    (folder / "lengths_and_offsets.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"undamaged \.npz"):
        build_stores(folder, PROTEIN, None, tmp_path / "cache")
    (folder / "splits.json").unlink()
    with pytest.raises(UserError, match=r"no splits\.json"):
        build_stores(folder, PROTEIN, None, tmp_path / "cache")


def test_a_folder_for_validation_gives_its_own_validation_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    folder = uniref(tmp_path / "u")
    source = load_sequences(folder / "consensus.fasta", files={"valid": folder})
    valid = source.split("valid")
    assert isinstance(valid, SequenceSet)
    assert texts(valid) == ["ACDEF"]
    with pytest.raises(UserError, match=r"data\.test must hold sequences of the split test"):
        load_sequences(folder / "consensus.fasta", files={"valid": folder, "test": folder})


def npy(array: Any) -> bytes:
    file = BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


LENGTHS = np.array([len(sequence) for sequence in FOLDER])
HUGE = npy(LENGTHS).replace(b"(6,), }            ", b"(6000000000000,), }")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (npy(LENGTHS)[:-3], "undamaged .npz file"),
        (npy(LENGTHS).replace(b"(6,)", b"(6,("), "undamaged .npz file"),
        (npy(LENGTHS).replace(b"'descr'", b"'d\n\t'  "), "undamaged .npz file"),
        (HUGE, "as many lengths as consensus.fasta has records, got 6,000,000,000,000"),
    ],
    ids=["cut short", "brackets", "names", "more than memory holds"],
)
def test_lengths_that_are_damaged_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    folder = uniref(tmp_path / "u")
    with zipfile.ZipFile(folder / "lengths_and_offsets.npz", "w") as archive:
        archive.writestr("ells.npy", content)
    with pytest.raises(UserError) as error:
        build_stores(folder, PROTEIN, None, tmp_path / "cache")
    assert words in str(error.value)


def test_a_list_that_is_there_twice_is_named(tmp_path: Path) -> None:
    folder = uniref(tmp_path / "u", '{"train": [0], "train": [1]}')
    with pytest.raises(UserError, match="hold each list once, got train again"):
        build_stores(folder, PROTEIN, None, tmp_path / "cache")

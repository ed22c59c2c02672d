"""Class labels: names in order, tables by record's name, headers, and what is refused."""

import gzip
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from scud.data import Data, ImagesOptions, SequencesOptions, label_of, load_images, load_sequences
from scud.data.labels import number_labels, occurring, read_labels, sorted_names
from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.store import SequenceSet, build_stores
from scud.errors import UserError
from scud.typing import BatchSize


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# Names


def test_numbers_are_in_the_order_of_their_values_and_texts_in_that_of_their_characters() -> None:
    assert sorted_names(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert sorted_names(["10", "9", "a"]) == ("10", "9", "a")


@given(st.lists(st.lists(st.integers(-1, 12), min_size=1, max_size=9), min_size=1, max_size=3))
def test_numbers_of_labels_stand_for_their_names(values: list[list[int]]) -> None:
    names, numbers = number_labels([np.array(part) for part in values])
    assert list(names) == [
        str(value) for value in sorted({value for part in values for value in part} - {-1})
    ]
    for part, found in zip(values, numbers, strict=True):
        assert found is not None
        assert [-1 if place < 0 else int(names[place]) for place in found] == part


def test_splits_may_have_texts_or_no_labels() -> None:
    names, (first, second, third) = number_labels(
        [np.array(["b", "10", ""]), None, np.array([9, -1])]
    )
    assert names == ("10", "9", "b")
    assert first is not None
    assert third is not None
    assert (first.tolist(), second, third.tolist()) == ([2, 0, -1], None, [1, -1])
    assert number_labels([None]) == ((), [None])


def test_labels_that_do_not_occur_are_left_out() -> None:
    names, numbers = occurring(["a", "b", "c"], [np.array([[2, -1], [0, 2]])])
    assert names == ("a", "c")
    assert numbers.tolist() == [0, -1, 1, -1]


def test_a_label_by_name() -> None:
    names = ("cat", "dog")
    assert label_of(names, "dog") == 1
    with pytest.raises(UserError, match="label must be one of cat, dog, got 'cow'; choose one"):
        label_of(names, "cow")
    with pytest.raises(UserError, match=r"one of 0, 1, .*, 19, … \(300 in all\), got '300'"):
        label_of([str(number) for number in range(300)], "300")
    with pytest.raises(UserError, match="a model with labels, got 'cat'; leave it out"):
        label_of((), "cat")


# Tables


@pytest.mark.parametrize("ending", ["tsv", "csv", "tsv.gz"])
def test_a_table_of_one_label_each(tmp_path: Path, ending: str) -> None:
    text = "name\tkind\np1\t10\np2\t9\np3\t\n\n"
    text = text.replace("\t", ",") if ending == "csv" else text
    path = tmp_path / f"labels.{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    table = read_labels(path)
    assert (table.names, table.several, table.most) == (("9", "10"), False, 1)
    assert table.rows(["p3", "p2", "p1", "p0"]).tolist() == [[-1], [0], [1], [-1]]


@pytest.mark.parametrize("cells", ["0\t1\t1", "011"])
def test_a_table_of_several_labels(tmp_path: Path, cells: str) -> None:
    other = "0\t0\t0" if "\t" in cells else "000"
    path = write(tmp_path / "a.tsv", f"#accession\tz\ta\tm\np1\t{cells}\np2\t{other}\n")
    table = read_labels(path)
    assert (table.names, table.several, table.most) == (("z", "a", "m"), True, 2)
    assert table.rows(["p1", "p2"]).tolist() == [[1, 2], [-1, -1]]


def test_quoted_cells(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'name,kind\n"p,1","a ""b"""\np2,c\n')
    assert read_labels(path).of == {"p,1": (0,), "p2": (1,)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header of two columns or more, and records, got 0 lines"),
        ("name,kind\n", "got 1 lines"),
        ("name\np1\n", r"two columns or more, and records, got \['name'\]"),
        (
            "name,kind\np1,a\np1,b\n",
            "line 3 of .* name a record that no other line names, got 'p1'",
        ),
        ("name,kind\n,a\n", "line 2 of .* begin with the name of a record"),
        ("name,kind\np1,a,b\n", "line 2 of .* as many cells as the header, 2, got 3; quote"),
        ("name,kind\np1,\n", "name at least one label, got empty cells"),
        ("name,a,b\np1,0,2\n", "p1 in .* hold 2 cells of 0 and 1, .*got 0, 2; write 1 where"),
        ("name,a,b\np1,011\n", "p1 in .* hold 2 cells of 0 and 1"),
        ("name,a,a\np1,0,1\n", "name each label once"),
        ('name,a\np1,"b\n', "be a TSV or CSV file in UTF-8"),
        ("name,a\np1,\xff\n", "be a TSV or CSV file in UTF-8"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=message) as caught:
        read_labels(path)
    assert str(path) in str(caught.value) or "name" in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        read_labels(tmp_path / "nowhere.csv")


# Sequences


def labels_by_text(data: Data, split: str) -> dict[str, list[str]]:
    """The names of the labels of each sequence of a split."""
    part = data.split(split)
    alphabet = find_alphabet("protein")
    found = {}
    for index in part.batches(BatchSize(1, 50)):
        batch = part.batch(index)
        assert batch.mask is not None
        assert batch.label is not None
        for x, real, label in zip(batch.x0, batch.mask, batch.label, strict=True):
            places = [label.tolist()] if batch.label.ndim == 1 else label.tolist()
            text = alphabet.decode(x[real].numpy())
            found[text] = [data.label_names[place] for place in places if place >= 0]
    return found


def test_labels_in_headers(tmp_path: Path) -> None:
    train = write(
        tmp_path / "a.fasta",
        ">p1 other=1 bin=10 x\nACD\n>p2\tbin=9\nACE\n>p3\nACF\n>p4 subbin=3\nACG\n>bin=7\nACH\n",
    )
    valid = write(tmp_path / "b.fasta", ">q1 bin=11\nMMM\n>q2 bin=9\nMMA\n>q3\nMMC\n")
    data = load_sequences(train, files={"valid": valid}, label_field="bin")
    train_set, valid_set = data.split("train"), data.split("valid")
    assert isinstance(train_set, SequenceSet)
    assert isinstance(valid_set, SequenceSet)
    assert train_set.label_counts().tolist() == [1, 1], "bin=11 is the last, and of the other split"
    assert valid_set.label_counts().tolist() == [1, 0, 1]
    assert data.label_names == ("9", "10", "11")
    expected = {"ACD": ["10"], "ACE": ["9"], "ACF": [], "ACG": [], "ACH": []}
    assert labels_by_text(data, "train") == expected
    assert labels_by_text(data, "valid") == {"MMM": ["11"], "MMA": ["9"], "MMC": []}
    label = data.split("train").batch(torch.arange(5)).label
    assert label is not None
    assert (label.shape, label.dtype) == ((5,), torch.int64)
    assert data.report[-2:] == (
        "train: 2 of 5 examples with labels, of 3 different",
        "valid: 2 of 3 examples with labels, of 3 different",
    )


def test_labels_in_a_table_follow_what_becomes_of_records(tmp_path: Path) -> None:
    """Cut records give every part their labels; those that are dropped give none."""
    train = write(tmp_path / "a.fasta", ">p1\nACDEFGHIK\n>p2\nA\n>p3\nMMMM\n>p4\nLLLL\n")
    table = write(tmp_path / "l.tsv", "id\tz\ta\tunused\np1\t1\t1\t0\np2\t1\t0\t0\np3\t0\t1\t0\n")
    data = load_sequences(train, labels=table, files={"valid": train}, min_length=2, max_length=5)
    assert data.label_names == ("z", "a")
    found = labels_by_text(data, "train")
    assert found == {"ACDEF": ["z", "a"], "GHIK": ["z", "a"], "MMMM": ["a"], "LLLL": []}
    label = data.split("train").batch(torch.arange(4)).label
    assert label is not None
    assert label.tolist() == [[0, 1], [0, 1], [1, -1], [-1, -1]]
    train_set = data.split("train")
    assert isinstance(train_set, SequenceSet)
    assert train_set.label_counts().tolist() == torch.bincount(label[label >= 0]).tolist() == [2, 3]
    part = data.split("valid").part(2)
    few = part.batch(torch.arange(2)).label
    assert few is not None
    assert few.shape == (2, 2)


def test_labels_are_kept_with_the_set_when_it_is_pickled(tmp_path: Path) -> None:
    train = write(tmp_path / "a.fasta", ">p1 bin=1\nACD\n>p2 bin=0\nACE\n")
    part = load_sequences(train, label_field="bin", files={"valid": train}).split("train")
    again = pickle.loads(pickle.dumps(part))
    assert again.batch(torch.arange(2)).label.tolist() == [1, 0]


def test_what_is_held_out_does_not_depend_on_labels_and_stores_are_kept_apart(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = "ACDEFGHIKLMNPQRSTVWY"
    text = "".join(
        f">p{i} bin={i % 3}\n{a}{b}CD\n"
        for i, (a, b) in enumerate(zip(letters * 9, letters * 9, strict=True))
    )
    train = write(tmp_path / "a.fasta", text)
    table = write(tmp_path / "l.csv", "id,kind\np1,a\n")
    plain = load_sequences(train, valid_share=0.5)
    labelled = load_sequences(train, valid_share=0.5, label_field="bin")
    for split in ("train", "valid"):
        index = torch.arange(len(plain.split(split)))
        ours, theirs = (data.split(split).batch(index) for data in (plain, labelled))
        assert torch.equal(ours.x0, theirs.x0)
        assert ours.label is None
    load_sequences(train, valid_share=0.5, labels=table)
    assert len(list((own_cache / "sequences").iterdir())) == 3
    monkeypatch.setattr("scud.data.sequences.store.ingest", None)
    again = load_sequences(train, valid_share=0.5, label_field="bin")
    assert again.label_names == labelled.label_names == ("0", "1", "2")
    index = torch.arange(len(again.split("train")))
    found, expected = (data.split("train").batch(index).label for data in (again, labelled))
    assert found is not None
    assert expected is not None
    assert torch.equal(found, expected)


def test_a_store_without_labels_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """The name of its folder in the cache, for a file that never changes."""
    path = write(tmp_path / "a.fasta", ">p1\nACDEF\n>p2\nMMM\n")
    store = build_stores(path, find_alphabet("protein"), cache=tmp_path / "c")["train"]
    assert store.folder.parent.name == KEY


def test_lines_of_a_table_that_name_no_record_are_told(tmp_path: Path) -> None:
    """Of any of the files, also where these are in the cache."""
    train = write(tmp_path / "a.fasta", "".join(f">p{i}\nACD{'E' * i}\n" for i in range(1, 5)))
    valid = write(tmp_path / "b.fasta", ">q1\nACD\n")
    rows = "name\tlabel\np1\tx\nq1\ty\nz1\tx\nz2\tx\nz3\t\nz4\tx\n"
    table = write(tmp_path / "labels.tsv", rows)
    for _ in range(2):
        data = load_sequences(train, files={"valid": valid}, labels=table)
        line = "left out 4 lines of the labels that name no record: z1, z2, z3, ..."
        assert [found for found in data.report if "left out" in found] == [line]


def test_a_header_with_two_labels_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fasta", ">p1 bin=1\nACD\n>p2 bin=1 x bin=2\nACD\n")
    with pytest.raises(UserError, match="the header of p2 must hold bin= once"):
        load_sequences(path, label_field="bin")


KEY = "62a36d86a5d64ad5a47d2ee4fbe147f8"
"""As it was when the first store of this file was made."""


def test_labels_that_name_nothing_are_refused(tmp_path: Path) -> None:
    train = write(tmp_path / "a.fasta", ">p1\nACD\n>p2\nACE\n")
    table = write(tmp_path / "l.csv", "id,kind\nq1,a\n")
    with pytest.raises(UserError, match=r"data\.labels must name records of the data, got none"):
        load_sequences(train, labels=table, files={"valid": train})
    message = r"data\.label_field must stand in the header of a record, got bin; write headers"
    with pytest.raises(UserError, match=message):
        load_sequences(train, label_field="bin", files={"valid": train})
    with pytest.raises(UserError, match=r"data\.labels and data\.label_field must not be given"):
        SequencesOptions(labels=table, label_field="bin")
    for field in ("", "a b", "a="):
        with pytest.raises(UserError, match=r"data\.label_field must be a word without ="):
            SequencesOptions(label_field=field)


def test_a_table_without_a_header_is_refused(tmp_path: Path) -> None:
    train = write(tmp_path / "a.fasta", ">p1\nACD\n>p2\nACE\n>p3\nACF\n")
    message = r"data\.labels must begin with a header, got 'p1', .*; give the table a header"
    for text in ("p1,a\np2,b\np3,a\n", "p1,0,1\np2,1,0\np3,1,1\n"):
        table = write(tmp_path / "l.csv", text)
        with pytest.raises(UserError, match=message):
            load_sequences(train, labels=table, files={"valid": train})


# Images


def pictures(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 2), 40 * number, np.uint8)).save(folder / name)
    return folder


def test_classes_in_folders_are_names_in_the_order_of_texts(tmp_path: Path) -> None:
    data = load_images(pictures(tmp_path, ["train/9/a.png", "train/10/b.png", "val/9/c.png"]), 256)
    assert data.label_names == ("10", "9")
    label = data.split("valid").batch(torch.tensor([0])).label
    assert label is not None
    assert label.tolist() == [1]


def test_pictures_by_file_name(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "x", ["train/a.png", "train/b.png", "val/c.png"])
    table = write(tmp_path / "l.csv", "file,kind\nb.png,dog\nc.png,cat\n")
    data = load_images(folder, 256, labels=table)
    assert data.label_names == ("cat", "dog")
    for split, expected in (("train", [-1, 1]), ("valid", [0])):
        label = data.split(split).batch(torch.arange(len(expected))).label
        assert label is not None
        assert label.tolist() == expected


def test_tables_that_do_not_fit_pictures_are_refused(tmp_path: Path) -> None:
    table = write(tmp_path / "l.csv", "file,kind\na.png,dog\n")
    np.savez(tmp_path / "x.npz", x_train=np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    with pytest.raises(UserError, match=r"come with a folder of pictures, got .*as y_train"):
        load_images(tmp_path / "x.npz", 256, labels=table)
    for names, message in (
        (["train/1/a.png", "train/1/b.png"], "come with pictures without classes"),
        (["train/a.png", "train/b.png", "val/a.png"], "come with pictures of different names"),
        (["c.png", "b.png"], "name pictures of .*got none of them; the first column holds"),
    ):
        with pytest.raises(UserError, match=message):
            load_images(pictures(tmp_path / message[:20], names), 256, labels=table)
    with pytest.raises(UserError, match=r"come with a folder of pictures, got --data.hub a/b"):
        ImagesOptions(hub="a/b", labels=table)


# Real data


@pytest.mark.skipif("SCUD_DATA" not in os.environ, reason="SCUD_DATA names no folder of real data")
def test_real_labels() -> None:
    folder = Path(os.environ["SCUD_DATA"])
    valid = folder / "promoters_valid.fasta.gz"
    by_header = load_sequences(valid, "dna", label_field="bin")
    by_table = load_sequences(valid, "dna", labels=folder / "promoters_valid_labels.tsv.gz")
    assert by_header.label_names == by_table.label_names == tuple("0123456789")
    index = torch.arange(500)
    labels = [data.split("train").batch(index).label for data in (by_header, by_table)]
    assert labels[0] is not None
    assert labels[1] is not None
    assert torch.equal(labels[0], labels[1])
    assert int(labels[0].min()) >= 0
    table = folder / "proteins_go.tsv.gz"
    proteins = load_sequences(folder / "proteins_valid.fasta.gz", labels=table)
    assert len(proteins.label_names) == 12
    assert proteins.label_names[0] == "GO:0003735"
    several = proteins.split("train").batch(index).label
    assert several is not None
    assert several.ndim == 2

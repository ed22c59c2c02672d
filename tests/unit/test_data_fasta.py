"""FASTA: the streaming reader agrees with a naive one whatever the file's form, and says what is wrong with a bad file."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scud.data.sequences.alphabets import ALPHABETS, Alphabet, find_alphabet
from scud.data.sequences.fasta import read_blocks, read_fasta, write_fasta
from scud.data.sequences.modality import Sequences
from scud.errors import UserError

PROTEIN = ALPHABETS["protein"]


def naive(data: bytes, alphabet: Alphabet) -> list[tuple[str, list[int]]]:
    """What a file says, byte by byte."""
    text = (
        data.removeprefix(b"\xef\xbb\xbf")
        .decode("latin-1")
        .replace("\r\n", "\n")
        .replace("\r", "\n")
    )
    records: list[tuple[str, str]] = []
    for line in text.split("\n"):
        if line.startswith(">"):
            records.append((line[1:], ""))
        elif line.strip():
            header, sequence = records.pop()
            records.append((header, sequence + "".join(line.split())))
    plain = [
        ((header.split() or [""])[0], sequence.removesuffix("*")) for header, sequence in records
    ]
    return [
        (name, [int(alphabet.codes[ord(letter)]) for letter in sequence])
        for name, sequence in plain
    ]


def streamed(path: Path, alphabet: Alphabet, chunk: int) -> list[tuple[str, list[int]]]:
    """What the streaming reader makes of a file."""
    records = []
    for block in read_blocks(path, alphabet, chunk=chunk):
        assert block.before == len(records)
        assert block.written.sum() == len(block.codes) == block.lengths.sum()
        sequences = np.split(block.codes, np.cumsum(block.lengths)[:-1])
        records += [(block.name(i), codes.tolist()) for i, codes in enumerate(sequences)]
    return records


def save(folder: Path, data: bytes, name: str = "some.fasta") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def render(
    records: Sequence[tuple[str, str]], width: int, end: str, *, blank: bool, stop: bool
) -> bytes:
    lines = [""] if blank else []
    for header, sequence in records:
        written = sequence + "*" * stop
        lines += [
            f">{header}",
            *(written[i : i + width] for i in range(0, len(written), width)),
        ] + [""] * blank
    return end.join(lines).encode()


headers = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=12)
sequences = st.text("ACDEFGHIKLMNPQRSTVWYacdxXUOBZJ*", min_size=1, max_size=40).filter(
    lambda text: text != "*"
)


@settings(deadline=None)
@given(
    records=st.lists(st.tuples(headers, sequences), min_size=1, max_size=8),
    width=st.integers(1, 50),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    blank=st.booleans(),
    stop=st.booleans(),
    last=st.booleans(),
    mark=st.booleans(),
    zipped=st.booleans(),
    chunk=st.sampled_from([1, 2, 3, 7, 50, 1 << 22]),
)
def test_any_form_of_file_reads_as_a_naive_reader_has_it(
    tmp_path_factory: pytest.TempPathFactory,
    records: list[tuple[str, str]],
    width: int,
    end: str,
    blank: bool,
    stop: bool,
    last: bool,
    mark: bool,
    zipped: bool,
    chunk: int,
) -> None:
    data = render(records, width, end, blank=blank, stop=stop) + (end.encode() if last else b"")
    data = b"\xef\xbb\xbf" * mark + data
    path = save(tmp_path_factory.mktemp("fasta"), gzip.compress(data, 1) if zipped else data)
    expected = naive(data, PROTEIN)
    found = streamed(path, PROTEIN, chunk)
    assert [codes for _, codes in found] == [codes for _, codes in expected]
    names = [(header.split() or [""])[0] for header, _ in records]
    # bytes.split knows ASCII white space only
    assert [name.split()[:1] for name, _ in found] == [name.split()[:1] for name in names]


def test_a_long_record_and_a_long_header_span_many_chunks(tmp_path: Path) -> None:
    header, sequence = "name " + "x" * 5000, "ACDEFGHIKLMNPQRSTVWY" * 1000
    path = save(tmp_path, f">{header}\n{sequence}\n>b\nAC\n".encode())
    found = streamed(path, PROTEIN, 64)
    assert [(name, len(codes)) for name, codes in found] == [("name", 20_000), ("b", 2)]
    assert PROTEIN.decode(np.array(found[0][1])) == sequence


def test_two_gzip_members_are_one_file(tmp_path: Path) -> None:
    path = save(tmp_path, gzip.compress(b">a\nAC\n") + gzip.compress(b">b\nDE\n"))
    assert [name for name, _ in streamed(path, PROTEIN, 1 << 22)] == ["a", "b"]


def test_read_fasta_names_records_and_folds_replaces_and_marks(tmp_path: Path) -> None:
    path = save(tmp_path, b">first one\nac?UO\n>\nA*C*\n>third\nX?\n")
    records = read_fasta(path, PROTEIN, marked="?")
    assert [record.name for record in records] == ["first", "record_2", "third"]
    assert [record.codes.tolist() for record in records] == [[0, 1, 20, 1, 8], [0, 20, 1], [20, 20]]
    records[0].codes[0] = 3  # they are the caller's own


def test_a_star_that_is_a_letter_is_kept(tmp_path: Path) -> None:
    (record,) = read_fasta(save(tmp_path, b">a\nAB*\n"), find_alphabet("AB*"))
    assert record.codes.tolist() == [0, 1, 2]


def test_case_matters_where_the_alphabet_has_both(tmp_path: Path) -> None:
    (record,) = read_fasta(save(tmp_path, b">a\naAb\n"), find_alphabet("Aab"))
    assert record.codes.tolist() == [1, 0, 2]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(headers, st.text("ACDEFGHIKLMNPQRSTVWYX", min_size=1, max_size=200)),
        min_size=1,
        max_size=5,
    )
)
def test_what_is_written_reads_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.mktemp("fasta") / "out.fasta"
    numbered = [(f"r{i} {header}", sequence) for i, (header, sequence) in enumerate(records)]
    write_fasta(path, numbered)
    found = read_fasta(path, PROTEIN)
    assert [(record.name, PROTEIN.decode(record.codes)) for record in found] == [
        (f"r{i}", sequence) for i, (_, sequence) in enumerate(records)
    ]
    assert (
        max(len(line) for line in path.read_text("utf-8").split("\n") if not line.startswith(">"))
        <= 80
    )


def test_writing_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = save(tmp_path, b"old")
    for bad, message in (("", "letter"), ("A C", "white space")):
        with pytest.raises(UserError, match=message):
            write_fasta(path, [("a", "ACD"), ("b", bad)])
    with pytest.raises(UserError, match="one line"):
        write_fasta(path, [("a\nb", "ACD")])
    with pytest.raises(UserError, match="folder that exists"):
        write_fasta(tmp_path / "none" / "x.fasta", [("a", "ACD")])
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]


# Bad files

ZIPPED = gzip.compress(b">a\n" + b"ACDEFGHIKL" * 500, mtime=0)

BAD = {
    "empty": (b"", ["hold at least one record", "empty file"]),
    "white": (b" \n\r\n\t", ["empty file"]),
    "no header": (b"\nACD\n>a\nACD\n", ["begin with '>'", "'ACD"]),
    "fastq": (b"@read\nACGT\n+\nIIII\n", ["begin with '>'"]),
    "binary": (b">a\nACD\0\1\2", ["be text", "binary", "gzip"]),
    "picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ["be text"]),
    "utf-16": (">a\nACD\n".encode("utf-16"), ["be text"]),
    "no sequence": (
        b">a\nACD\n>b c\n>d\nACD\n",
        ["record 2 (b) on line 3", "a header alone", "remove the record"],
    ),
    "no last sequence": (b">a\nACD\n>b", ["record 2 (b) on line 3", "a header alone"]),
    "only a stop": (b">a\n*\n", ["record 1 (a) on line 1", "a header alone"]),
    "only a header": (b">a*", ["record 1 (a*) on line 1", "a header alone"]),
    "digit": (b">a\nACD\n\n>b\nAC\nD1\n", ["record 2 (b) on line 4", "'1' at position 4"]),
    "gap": (b">a\nA-CD\n", ["record 1 (a)", "'-' at position 2", "alignment"]),
    "dot": (b">a\nACD.\n", ["'.' at position 4", "alignment"]),
    "mark": (b">a\nAC?D\n", ["'?' at position 3"]),
    "header within": (b">a\nACD>b\nACD\n", ["'>' at position 4"]),
    "control": (b">a\nAC\x01D\n", ["'\\x01' at position 3"]),
    "accent": (">a\nACé\n".encode(), ["position 3"]),
    "cut gzip": (ZIPPED[:-20], ["undamaged gzip", "again"]),
    "two bytes": (ZIPPED[:2], ["undamaged gzip"]),
    "damaged gzip": (ZIPPED[:20] + b"\xff\xff\xff" + ZIPPED[23:], ["undamaged gzip"]),
    "wrong checksum": (ZIPPED[:-8] + b"1234" + ZIPPED[-4:], ["undamaged gzip"]),
    "no gzip": (b"\x1f\x8bACD", ["undamaged gzip"]),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("chunk", [1, 5, 1 << 22])
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, kind: str, chunk: int) -> None:
    data, words = BAD[kind]
    path = save(tmp_path, data)
    with pytest.raises(UserError) as error:
        streamed(path, PROTEIN, chunk)
    # in small pieces a file that is no FASTA file at all is found out earlier, and called something else
    for word in [*words, str(path)] if chunk > 5 else [str(path)]:
        assert word in str(error.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"exists.*nowhere"):
        read_fasta(tmp_path / "nowhere.fasta", PROTEIN)
    with pytest.raises(UserError, match="name a file, got the folder"):
        read_fasta(tmp_path, PROTEIN)


def test_duplicate_names_are_an_error_with_both_lines(tmp_path: Path) -> None:
    path = save(tmp_path, b"\n\n>a x\nACD\n>b\nA\nC\n>a y\nACD\n")
    with pytest.raises(UserError, match="'a' on lines 3 and 8"):
        read_fasta(path, PROTEIN)


def test_samples_need_no_names_of_their_own(tmp_path: Path) -> None:
    path = save(tmp_path, b">T=0.1, sample=1\nACD\n>T=0.1, sample=2\nAC\n")
    states = Sequences(PROTEIN, torch.tensor([0, 0, 0, 1])).read(path)
    assert [one.tolist() for one in states] == [[0, 1, 2], [0, 1]]


def test_names_with_any_character_can_be_written(tmp_path: Path) -> None:
    """What was drawn is not lost for a name that was read."""
    path = tmp_path / "out.fasta"
    for name in ("a\x1cb", "a\x85b", "a\u2028b", "a\x1b[31mb"):
        write_fasta(path, [(name, "ACD")])
        assert [record.name for record in read_fasta(path, PROTEIN)] == [name]


@pytest.mark.parametrize("size", [1, 2, 3, 10])
@pytest.mark.parametrize("kind", ["digit", "gap", "header within", "only a stop", "no sequence"])
def test_what_is_wrong_is_found_in_slices_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, size: int
) -> None:
    monkeypatch.setattr("scud.data.sequences.fasta._SLICE", size)
    data, words = BAD[kind]
    with pytest.raises(UserError) as error:
        streamed(save(tmp_path, data), PROTEIN, 1 << 22)
    for word in words:
        assert word in str(error.value)


def test_marked_letters_may_not_be_letters(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="marked"):
        read_fasta(save(tmp_path, b">a\nACD\n"), PROTEIN, marked="A?")

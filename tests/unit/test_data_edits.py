"""Variants, ranges of positions, and files of variants: what they mean, and the message for each mistake."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scud.data.sequences.alphabets import ALPHABETS
from scud.data.sequences.edits import (
    Mutation,
    apply_variant,
    parse_positions,
    parse_variant,
    read_mutations,
)
from scud.errors import UserError

PROTEIN = ALPHABETS["protein"]
CODES = PROTEIN.encode("MKVLAX")


def test_variants_are_read() -> None:
    assert parse_variant("A24G") == (Mutation("A", 24, "G"),)
    assert parse_variant(" A24G:L30V ") == (Mutation("A", 24, "G"), Mutation("L", 30, "V"))
    assert str(Mutation("A", 24, "G")) == "A24G"


@pytest.mark.parametrize(
    "text", ["", "A24", "24G", "AG", "A24GL", "A24G:", "A24G,L30V", "A-4G", "A2.4G", "A²G"]
)
def test_what_is_no_variant_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="be a letter, a position and a letter"):
        parse_variant(text)


def test_variants_are_applied_to_a_copy() -> None:
    assert PROTEIN.decode(apply_variant(CODES, "K2R:A5W", PROTEIN)) == "MRVLWX"
    assert PROTEIN.decode(apply_variant(CODES, parse_variant("k2r"), PROTEIN)) == "MRVLAX"
    assert PROTEIN.decode(CODES) == "MKVLAX"


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        ("L2R", "mutation L2R must have the letter of WT at position 2, K, got L"),
        ("A6R", "have the letter of WT at position 6, X, got A"),
        ("K0R", r"have a position in 1..6, the length of WT, got 0"),
        ("K7R", r"have a position in 1..6, the length of WT, got 7"),
        ("K2R:K2W", "have a position of its own, got position twice in K2R:K2W"),
        ("K2X", "have letters of ACDEFGHIKLMNPQRSTVWY only, got 'X'"),
        ("X6A", "letters of ACDEFGHIKLMNPQRSTVWY only, got 'X'"),
        ("K2*", "only, got '\\*'"),
        ("K2α", "only, got 'α'"),
        ("K2", "be a letter, a position and a letter"),
    ],
)
def test_variants_that_do_not_fit(variant: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        apply_variant(CODES, variant, PROTEIN, "WT")


def test_positions_are_read() -> None:
    np.testing.assert_array_equal(parse_positions("2-4,9, 3", 9), [1, 2, 3, 8])
    np.testing.assert_array_equal(parse_positions("1", 1), [0])


@given(st.sets(st.integers(1, 60), min_size=1))
def test_positions_return_what_was_written(positions: set[int]) -> None:
    text = ",".join(str(position) for position in positions)
    np.testing.assert_array_equal(parse_positions(text, 60) + 1, sorted(positions))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0", r"lie in 1..9, the sequence's length, got 0"),
        ("5-10", r"lie in 1..9, the sequence's length, got 10"),
        ("5-3", "ranges that run forwards, got 5-3; write 3-5"),
        ("", "be numbers and ranges"),
        ("1,,2", "be numbers and ranges"),
        ("a-b", "be numbers and ranges"),
        ("-3", "be numbers and ranges"),
        ("1.5", "be numbers and ranges"),
    ],
)
def test_positions_that_make_no_sense(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_positions(text, 9)


@pytest.mark.parametrize(
    "content",
    [
        "mutation\nA2G\nK3R:L4V\n",
        "mutant,fitness\nA2G,0.3\n\nK3R:L4V,1\n",
        "id,Mutation\r\n1,A2G\r\n2,K3R:L4V",
        "\ufeffmutation\nA2G\n , \nK3R:L4V\n",
        "A2G\nK3R:L4V\n",
        "my variants\n\nA2G\nK3R:L4V\n",
        '"mutation"\n"A2G"\n"K3R:L4V"\n',
    ],
)
def test_files_of_variants(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mutations.csv"
    path.write_bytes(content.encode())
    assert read_mutations(path).variants == ["A2G", "K3R:L4V"]


def test_other_columns_are_kept_and_lines_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mutations.csv"
    path.write_text(
        'id,Mutant,fitness,note\n1,K2R,0.5,"a, b"\n\n2,V3A\n3,A5W,1,,\n4,L4V,1,"two\nlines\u2028"\n'
    )
    table = read_mutations(path)
    assert table.variants == ["K2R", "V3A", "A5W", "L4V"]
    assert table.other_names == ["id", "fitness", "note"]
    assert table.other_cells == [
        ["1", "0.5", "a, b"],
        ["2", "", ""],
        ["3", "1", ""],
        ["4", "1", "two\nlines\u2028"],
    ]
    changed = [PROTEIN.decode(codes) for codes in table.apply(CODES, PROTEIN, "WT")]
    assert changed == ["MRVLAX", "MKALAX", "MKVLWX", "MKVVAX"]
    path.write_text("K2R,\nV3A,\n")
    assert read_mutations(path).other_cells == [[], []]
    path.write_text("mutation\nK2R\n\nL2R\n")
    with pytest.raises(
        UserError, match=r"mutations\.csv, line 4: mutation L2R must have the letter of WT"
    ):
        read_mutations(path).apply(CODES, PROTEIN, "WT")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "hold at least one variant"),
        (b"\n \n", "hold at least one variant"),
        (b"mutation\n", "only a header"),
        (b"id,score\n1,2\n", "have a column called mutation or mutant, got .'id', 'score'."),
        (b"mutation\nA2G\n\nA2\n", r"mutations.csv, line 4: mutation must be .* got 'A2'"),
        (b"id,mutation\n1,A2G\n2\n", r"mutations.csv, line 3: .* got ''"),
        (b"A2G\nnothing\n", r"mutations.csv, line 2: "),
        (b"A5\nA2G\n", r"mutations.csv, line 1: mutation must be .* got 'A5'"),
        (b"mutation\n\xff\xfe\x00", "be a CSV file in UTF-8"),
        (b"mutation\nA2G\0\n", "zero bytes"),
        (b'mutation\n"A2G\n', "be a CSV file in UTF-8"),
        (
            b"mutation,a\nA2G,1\nA3G,1,2\n",
            r"line 3 must have no more cells than the first line, 2, got 3",
        ),
    ],
)
def test_files_that_are_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mutations.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_mutations(path)


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name a file that exists"):
        read_mutations(tmp_path / "mutations.csv")
    with pytest.raises(UserError, match="name a file, got the folder"):
        read_mutations(tmp_path)


@pytest.mark.parametrize(
    "digits", ["9" * 19, "0" * 5000, "1" * 5000], ids=["19", "5000 zeros", "5000"]
)
def test_positions_of_many_digits_are_refused(tmp_path: Path, digits: str) -> None:
    path = tmp_path / "mutations.csv"
    path.write_text(f"mutation\nA{digits}C\n")
    with pytest.raises(UserError, match=r"line 2: mutation must have positions of at most 18"):
        read_mutations(path)
    for text in (digits, f"1-{digits}", f"{digits}-2"):
        with pytest.raises(UserError, match="positions must have positions of at most 18 digits"):
            parse_positions(text, 10)

"""Texts with gaps, and files of texts: what is read and written."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scud.data.text.gaps import encode_gaps, parse_gaps
from scud.data.text.samples import read_states, write_texts
from scud.errors import UserError, fail
from scud.files.npz import write_npz


class Letters:
    """27 letters, a to z and the space."""

    letters = "abcdefghijklmnopqrstuvwxyz "
    unit = "char"

    def encode(self, texts: list[str], /) -> list[NDArray[np.int64]]:
        for text in texts:
            if set(text) - set(self.letters):
                raise fail(
                    "text",
                    "hold letters a to z and spaces only",
                    repr(text),
                    "leave out the others",
                )
        return [
            np.array([self.letters.index(letter) for letter in text], dtype=np.int64)
            for text in texts
        ]

    def decode(self, states: NDArray[np.int64]) -> str:
        return "".join(self.letters[state] for state in states)


TOKENS = Letters()
PIECE = st.text(Letters.letters, min_size=1, max_size=8)
GAP = st.integers(1, 12)


def test_a_gap_is_found_wherever_it_stands() -> None:
    assert parse_gaps("in the [[20]] was the word") == ["in the ", 20, " was the word"]
    assert parse_gaps("[[3]]a[[1]][[2]]b\n[[007]]") == [3, "a", 1, 2, "b\n", 7]
    assert parse_gaps("[a] [[5]] ]]") == ["[a] ", 5, " ]]"]


@given(
    st.lists(PIECE | GAP, min_size=1, max_size=7).filter(
        lambda parts: any(isinstance(part, int) for part in parts)
    )
)
def test_what_is_not_a_gap_is_kept_in_its_place(parts: list[str | int]) -> None:
    text = "".join(part if isinstance(part, str) else f"[[{part}]]" for part in parts)
    states, free = encode_gaps(parse_gaps(text), TOKENS, 200)
    expected = "".join(part if isinstance(part, str) else "?" * part for part in parts)
    assert states.dtype == np.int64
    assert (
        "".join(
            "?" if gap else letter for letter, gap in zip(TOKENS.decode(states), free, strict=True)
        )
        == expected
    )


@pytest.mark.parametrize("text", ["", "in the beginning", "in [the] [[5]", "5]]"])
def test_a_text_without_a_gap_is_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=r"text must have a gap to fill in, got none; mark each gap .*\[\[20\]\]"
    ):
        parse_gaps(text)


@pytest.mark.parametrize("gap", ["0", "-1", "", "x", "1.5", " 2", "²"])
def test_a_gap_that_is_no_number_is_refused(gap: str) -> None:
    with pytest.raises(
        UserError, match=r"give every gap a number of positions from 1 on, got \[\["
    ):
        parse_gaps(f"a [[4]] b [[{gap}]] c")


def test_texts_that_the_model_cannot_read_are_refused() -> None:
    assert len(encode_gaps(["abc", 7], TOKENS, 10)[0]) == 10
    with pytest.raises(
        UserError, match=r"text must be at most 10 characters long, its gaps included, .* got 11"
    ):
        encode_gaps(["abc", 8], TOKENS, 10)
    with pytest.raises(UserError, match="got 1000000000000000000"):
        encode_gaps([10**18], TOKENS, 10)
    with pytest.raises(UserError, match="hold letters a to z"):
        encode_gaps(["abC", 2], TOKENS, 10)


def test_texts_are_written_apart_and_shown_without_control_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, texts = tmp_path / "samples.txt", ["one\r\ntwo \x1b[2J", "drei é\tü", "", "four"]
    write_texts(path, iter(texts), len(texts))
    assert path.read_bytes().decode() == "\n----------\n".join(texts) + "\n"
    assert [file.name for file in tmp_path.iterdir()] == ["samples.txt"]
    assert (
        capsys.readouterr().out
        == "the first 3 of 4:\none�\ntwo �[2J\n----------\ndrei é\tü\n----------\n\n"
    )


@pytest.mark.parametrize(
    ("num_states", "dtype"),
    [(27, np.uint8), (256, np.uint8), (257, np.uint16), (30_522, np.uint16)],
)
def test_states_come_back_as_they_were_written(
    tmp_path: Path, num_states: int, dtype: type[np.integer]
) -> None:
    states = np.array([[0, 1, num_states - 1], [2, num_states - 2, 0]])
    kind = np.min_scalar_type(num_states - 1)
    write_npz(tmp_path / "samples.npz", [states[:1], states[1:]], (2, 3), kind)
    read = read_states(tmp_path / "samples.npz")
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, states)


def test_files_that_hold_no_states_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    with pytest.raises(
        UserError,
        match=r"name a file that exists, got .*give the samples.npz that scud sample wrote",
    ):
        read_states(path)
    np.savez(path, y=np.zeros((2, 3), dtype=np.int64))
    with pytest.raises(UserError, match=r"an undamaged .npz file with an array x"):
        read_states(path)
    for wrong in (np.zeros((2, 3)), np.zeros(3, dtype=np.int64), np.array([["a"]])):
        np.savez(path, x=wrong)
        with pytest.raises(
            UserError, match=r"x in .* must hold states of texts, integers \[N, length\], got"
        ):
            read_states(path)
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="undamaged"):
        read_states(path)
    np.savez_compressed(path, x=np.zeros((20, 300), dtype=np.uint8))
    whole = path.read_bytes()
    for damaged in (
        b"",
        b"----------\n",
        whole[: len(whole) // 2],
        whole[:60] + b"\0\0\0\0" + whole[64:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="undamaged"):
            read_states(path)

"""Neighbours of states: nearest by cosine, from files of embeddings and of lists, from contexts; and what is refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from scud.data import Arrays, Data, Examples, Text, load_text
from scud.data.text.tokenizers import Bytes, Characters, Tokenizer
from scud.errors import UserError
from scud.processes import neighbour_lists as neighbours
from scud.processes.neighbour_lists import contexts, load_neighbours, nearest_by_cosine
from tests.unit.texts import ENTRIES, vocabulary

LETTERS = " abcde"
SIZE = len(LETTERS)
SPECIAL = [0, 1, 2, 3, 4]
"""The states of ENTRIES that are special."""


def embeddings(size: int = SIZE, width: int = 3, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(size, width)).astype(np.float32)


def source_of(tokens: Tokenizer | None, num_states: int, text: str = " ", cut: int = 8) -> Data:
    """Data whose chunks are those of a text; of no tokens, arrays of two dimensions."""
    states = (
        torch.zeros(2 * cut, dtype=torch.int64)
        if tokens is None
        else torch.as_tensor(tokens.encode([text])[0])
    )
    x = states[: len(states) // cut * cut].reshape(-1, cut).to(torch.uint8)
    if tokens is None:
        arrays = Examples(x.reshape(len(x), 2, -1))
        return Data("some", {"train": arrays, "valid": arrays}, Arrays(num_states, (2, cut // 2)))
    splits = {"train": Examples(x), "valid": Examples(x)}
    return Data("some", splits, Text(tokens, cut))


@pytest.fixture
def letters() -> Data:
    return source_of(Characters(LETTERS), SIZE, "abcde ab" * 4)


@pytest.fixture
def words() -> Data:
    return source_of(vocabulary(), len(ENTRIES), "the cat sat " * 8)


def brute_force(vectors: Tensor, nearest: int, excluded: Tensor) -> list[list[float]]:
    """The cosines that the neighbours of each state have, largest first."""
    found = []
    for state, vector in enumerate(vectors.double()):
        others = [n for n in range(len(vectors)) if n != state and not excluded[n]]
        cosines = [
            float(vector @ vectors[n].double() / vector.norm() / vectors[n].double().norm())
            for n in others
        ]
        found.append(sorted(cosines, reverse=True)[:nearest])
    return found


# By cosine


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_nearest_are_those_of_largest_cosine(data: st.DataObject) -> None:
    """In blocks or not, of all states but the excluded ones and itself; where there are fewer, -1."""
    size = data.draw(st.integers(2, 12))
    nearest, rows = data.draw(st.integers(1, size - 1)), data.draw(st.integers(1, size + 1))
    vectors = torch.from_numpy(
        embeddings(size, data.draw(st.integers(1, 4)), data.draw(st.integers(0, 1000)))
    )
    excluded = torch.tensor(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    with patch.object(neighbours, "ROWS", rows):
        found, cosines = nearest_by_cosine(vectors, nearest, excluded)
    assert found.shape == cosines.shape == (size, nearest)
    exact = torch.nn.functional.cosine_similarity(vectors.unsqueeze(1), vectors, dim=2)
    for state, expected in enumerate(brute_force(vectors, nearest, excluded)):
        named = found[state, : len(expected)]
        assert found[state].tolist() == [*named.tolist(), *[-1] * (nearest - len(expected))]
        assert len({state, *named.tolist()}) == len(expected) + 1, "others, each once"
        assert not excluded[named].any()
        assert cosines[state, : len(expected)].tolist() == pytest.approx(expected, abs=1e-5)
        torch.testing.assert_close(
            cosines[state, : len(expected)], exact[state, named], atol=1e-5, rtol=0
        )


def test_length_does_not_matter() -> None:
    vectors, none = torch.from_numpy(embeddings()), torch.zeros(SIZE, dtype=torch.bool)
    scaled = vectors * torch.logspace(-3, 3, SIZE).unsqueeze(1)
    for one, other in zip(
        nearest_by_cosine(vectors, 3, none), nearest_by_cosine(scaled, 3, none), strict=True
    ):
        torch.testing.assert_close(one, other)


# From files


def write(path: Path, array: NDArray[Any], dtype: torch.dtype = torch.float32) -> Path:
    """An embedding alone in a file of the kind that its ending names."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, whatever=array)
    else:
        save_file({"whatever": torch.from_numpy(array).to(dtype)}, path)
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.safetensors"])
def test_an_embedding_in_a_file(tmp_path: Path, letters: Data, name: str) -> None:
    vectors = embeddings()
    expected, cosines = nearest_by_cosine(
        torch.from_numpy(vectors), 4, torch.zeros(SIZE, dtype=torch.bool)
    )
    found, rates = load_neighbours(write(tmp_path / name, vectors), letters, 4, 0.5)
    assert (found.dtype, rates.dtype) == (torch.int64, torch.float64)
    assert found.equal(expected)
    torch.testing.assert_close(rates, ((cosines - cosines[:, :1]).double() / 0.5).exp())


def test_embeddings_of_other_numbers(tmp_path: Path, letters: Data) -> None:
    whole = np.round(embeddings() * 50)
    expected = load_neighbours(write(tmp_path / "a.npy", whole), letters, 3, 0.3)
    half = write(tmp_path / "a.safetensors", whole, torch.bfloat16)
    for path in (
        half,
        *(write(tmp_path / f"{kind}.npy", whole.astype(kind)) for kind in ("f2", "f8", "i8")),
    ):
        found, rates = load_neighbours(path, letters, 3, 0.3)
        assert found.equal(expected[0])
        torch.testing.assert_close(rates, expected[1])


@pytest.mark.parametrize("name", ["embeddings", "embedding", "weight"])
def test_of_several_arrays_one_is_called_the_embedding(
    tmp_path: Path, letters: Data, name: str
) -> None:
    vectors = embeddings()
    expected = load_neighbours(write(tmp_path / "a.npy", vectors), letters, 3, 0.3)[0]
    np.savez(
        tmp_path / "a.npz", **{"other": embeddings(seed=1), name: vectors, "third": np.zeros(2)}
    )
    save_file(
        {"other": torch.zeros(SIZE, 3), name: torch.from_numpy(vectors)}, tmp_path / "a.safetensors"
    )
    for path in (tmp_path / "a.npz", tmp_path / "a.safetensors"):
        assert load_neighbours(path, letters, 3, 0.3)[0].equal(expected)


def listing(size: int = SIZE, width: int = 4) -> dict[str, NDArray[Any]]:
    """Lists of neighbours: the states that follow, of falling cosines."""
    index = (np.arange(size)[:, None] + np.arange(1, width + 1)) % size
    cosines = np.linspace(0.9, -0.2, width) + np.linspace(0, 0.05, size)[:, None]
    return {"knn_idx": index.astype(np.uint16), "knn_cos": cosines.astype(np.float16)}


def test_lists_in_a_file(tmp_path: Path, letters: Data) -> None:
    lists = listing()
    np.savez(tmp_path / "a.npz", **lists, vocab=np.array("\n".join(LETTERS) + "\n"))
    found, rates = load_neighbours(tmp_path / "a.npz", letters, 3, 0.3)
    assert found.tolist() == lists["knn_idx"][:, :3].tolist()
    cosines = lists["knn_cos"][:, :3].astype(np.float64)
    expected = np.exp((cosines - cosines.max(1, keepdims=True)) / 0.3)
    np.testing.assert_allclose(rates.numpy(), expected, rtol=1e-12)


def test_no_cosine_is_above_1(tmp_path: Path, letters: Data) -> None:
    lists = listing()
    np.savez(tmp_path / "a.npz", knn_idx=lists["knn_idx"], knn_cos=np.full((SIZE, 4), 1.001))
    assert (load_neighbours(tmp_path / "a.npz", letters, 4, 1e-3)[1] == 1).all()


def test_special_tokens_have_no_neighbours_and_are_nobodys(tmp_path: Path, words: Data) -> None:
    """Nor need their rows be numbers; [ and ] are words like others."""
    vectors, size = embeddings(len(ENTRIES)), len(ENTRIES)
    vectors[0], vectors[1] = 0, np.nan
    np.savez(tmp_path / "lists.npz", **listing(size, size - 1), vocab=np.array("\n".join(ENTRIES)))
    for path in (write(tmp_path / "a.npy", vectors), tmp_path / "lists.npz"):
        found, _ = load_neighbours(path, words, size - 1, 0.3)
        assert (found[SPECIAL] == -1).all()
        assert not torch.isin(found, torch.tensor(SPECIAL)).any()
        for state in range(5, size):
            others = set(range(5, size)) - {state}
            assert sorted(found[state][found[state] >= 0].tolist()) == sorted(others)


@pytest.mark.parametrize(
    ("name", "special"),
    [
        *[
            (name, True)
            for name in (
                "[PAD]",
                "[unused12]",
                "</s>",
                "<s>",
                "<unk>",
                "<|endoftext|>",
                "<|end_of_text|>",
            )
        ],
        *[
            (name, False)
            for name in ("[", "]", "<", "[]", "12", "the", "##s", "<a b>", "[a]b", "<>")
        ],
    ],
)
def test_what_looks_special(name: str, special: bool) -> None:
    assert bool(neighbours.SPECIAL.fullmatch(name)) == special


# From contexts


def test_letters_with_equal_surroundings_are_nearest() -> None:
    """b and c stand between the same letters, as d and e do."""
    source = source_of(Characters(LETTERS), SIZE, "abd ace acd abe " * 8, cut=16)
    found, rates = load_neighbours(None, source, 2, 0.3)
    pairs = [("b", "c"), ("c", "b"), ("d", "e"), ("e", "d")]
    assert [LETTERS[found[LETTERS.index(one), 0]] for one, _ in pairs] == [
        other for _, other in pairs
    ]
    assert rates[LETTERS.index("b")].tolist() == pytest.approx([1, np.exp(-1 / 0.3)], abs=0.02)


def test_contexts_are_positive_information_of_pairs_in_chunks() -> None:
    """Against counts by hand; what stands across the border of two chunks is no pair."""
    text = "aab abccab dd ac"
    source = source_of(Characters(LETTERS), SIZE, text, cut=8)
    counts = np.zeros((SIZE, SIZE))
    for chunk in (text[:8], text[8:]):
        for one, other in pairwise(chunk):
            counts[LETTERS.index(one), LETTERS.index(other)] += 1
    joint = counts / 14
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(joint / (joint.sum(1, keepdims=True) * joint.sum(0)))
    expected = np.maximum(np.nan_to_num(information, nan=0, neginf=0), 0)
    never = LETTERS.index("e")
    for most in (1, 1 << 14):
        with patch.object(neighbours, "EXAMPLES", most):
            found = contexts(source).numpy()
        assert not found[never].any()
        np.testing.assert_allclose(found[:, SIZE:], expected)
        np.testing.assert_allclose(found[:, :SIZE], expected.T)


@pytest.mark.parametrize("cut", [1, 8])
def test_states_that_never_stand_beside_others_have_no_neighbours_and_are_nobodys(cut: int) -> None:
    """In chunks of one letter, none does."""
    source = source_of(Characters(LETTERS), SIZE, "abab cab" * 4, cut)
    found, rates = load_neighbours(None, source, SIZE - 1, 0.3)
    unseen = [LETTERS.index(letter) for letter in ("de" if cut > 1 else LETTERS)]
    assert (found[unseen] == -1).all()
    assert not bool(torch.isin(found, torch.tensor(unseen)).any())
    assert bool((found.amax(1) >= 0).sum() == SIZE - len(unseen))
    assert rates.isfinite().all()
    assert bool((rates > 0).all())


def test_bytes_have_contexts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"the cat sat. " * 20)
    source = load_text(tmp_path / "a.txt", Bytes(), 16, cache=tmp_path / "cache")
    assert load_neighbours(None, source, 5, 0.3)[0].shape == (256, 5)


# What is refused


def test_contexts_are_of_text_of_few_states(letters: Data) -> None:
    with (
        patch.object(neighbours, "FEW", SIZE - 1),
        pytest.raises(
            UserError,
            match=r"at most 5 states, got 6 states of some; give embeddings .* by --process",
        ),
    ):
        load_neighbours(None, letters, 2, 0.3)
    with pytest.raises(UserError, match="name a file unless the data are text"):
        load_neighbours(None, source_of(None, 5), 2, 0.3)


@pytest.mark.parametrize("nearest", [SIZE, SIZE + 4])
def test_no_more_neighbours_than_other_states(letters: Data, nearest: int) -> None:
    with pytest.raises(
        UserError, match=f"nearest must be fewer than the 6 states, got {nearest}; give at most 5"
    ):
        load_neighbours(None, letters, nearest, 0.3)


def damaged(path: Path) -> None:
    write(path, embeddings(SIZE, 40))
    path.write_bytes(path.read_bytes()[:300])


def header_of_no_sense(path: Path) -> None:
    write(path, embeddings())
    path.write_bytes(path.read_bytes().replace(b"'descr'", b"'de(cr'"))


def pickled(path: Path) -> None:
    np.save(path, np.array([{}] * SIZE, dtype=object), allow_pickle=True)


def pickled_npz(path: Path) -> None:
    np.savez(path, embeddings=np.array([{}] * SIZE, dtype=object))


def renamed(path: Path) -> None:
    write(path.with_suffix(".npz"), embeddings()).rename(path)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        (
            "a.npy",
            Path.exists,
            "process.neighbours must name a file that exists, got .*a.npy; check the spelling",
        ),
        (
            "a.csv",
            lambda path: path.write_text("1,2"),
            r"must end in \.npy, \.npz or \.safetensors, got .*a\.csv",
        ),
        *[
            (f"a{kind}", damaged, rf"be an undamaged \{kind} file")
            for kind in (".npy", ".npz", ".safetensors")
        ],
        *[
            (f"a{kind}", lambda path: path.write_bytes(b""), rf"be an undamaged \{kind} file")
            for kind in (".npy", ".npz", ".safetensors")
        ],
        ("a.npy", header_of_no_sense, r"be an undamaged \.npy file"),
        ("a.npy", pickled, r"be an undamaged \.npy file without pickled objects, got .*a\.npy"),
        ("a.npz", pickled_npz, r"be an undamaged \.npz file without pickled objects, got .*a\.npz"),
        ("a.npy", renamed, r"be an undamaged \.npy file"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, letters: Data, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(UserError, match=message):
        load_neighbours(tmp_path / name, letters, 2, 0.3)


def with_row(value: float, *rows: int) -> NDArray[np.float32]:
    """Embeddings of ENTRIES, some rows of which are of one value."""
    vectors = embeddings(len(ENTRIES))
    vectors[list(rows)] = value
    return vectors


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"embeddings": embeddings(15)}, r"hold one row of numbers for each of the 16 states, got float32 of shape \[15, 3\]"),
        ({"embeddings": embeddings(17)}, r"got float32 of shape \[17, 3\]; give the embedding of this vocabulary"),
        ({"embeddings": embeddings(16)[:, 0]}, r"got float32 of shape \[16\]"),
        ({"embeddings": np.full((16, 2), "a")}, r"got <U1 of shape \[16, 2\]"),
        ({"embeddings": with_row(np.nan, 6, 9)}, r"got NaN or infinity in row 6 \(cat\), and 1 more such rows; repair"),
        ({"embeddings": with_row(np.inf, 8)}, r"got NaN or infinity in row 8 \(##s\), and 0 more"),
        ({"embeddings": with_row(0, 0, 5)}, r"got only zeros in row 5 \(the\), and 0 more such rows"),
        ({"embeddings": embeddings(16).astype(np.float64) * 1e300}, r"got NaN or infinity in row 5 \(the\)"),
        ({"a": embeddings(16), "b": embeddings(16)}, r"one called embeddings, got arrays a, b; write the embedding alone"),
        ({"weight": embeddings(16), "embedding": embeddings(16)}, r"got arrays weight, embedding"),
        ({"a": np.zeros(3)}, r"hold one array \[B, d\]"),
        ({}, "got arrays of no name"),
    ],
)  # fmt: skip
def test_embeddings_that_do_not_fit(
    tmp_path: Path, words: Data, arrays: Mapping[str, NDArray[Any]], message: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=message):
        load_neighbours(tmp_path / "a.npz", words, 2, 0.3)


@dataclass(frozen=True)
class Wrong:
    """Lists of neighbours of ENTRIES with other arrays in place of theirs, and what is said."""

    change: dict[str, Any]
    message: str


LISTS = listing(16)
BEYOND, NOT_FINITE = LISTS["knn_idx"].copy(), LISTS["knn_cos"].copy()
BEYOND[7, 1], NOT_FINITE[3, 3] = 16, np.nan


@pytest.mark.parametrize(
    "wrong",
    [
        Wrong({"knn_cos": None}, "hold knn_cos beside knn_idx, got arrays knn_idx; add the cosines"),
        Wrong({"knn_cos": LISTS["knn_cos"][:, :3]}, r"knn_idx \[B, k\] of integers and knn_cos .* uint16 \[16, 4\] and"),
        Wrong({"knn_idx": LISTS["knn_cos"]}, r"got float16 \[16, 4\] and float16 \[16, 4\]; write them in one shape"),
        Wrong({"knn_cos": LISTS["knn_idx"]}, r"got uint16 \[16, 4\] and uint16 \[16, 4\]"),
        Wrong(listing(15), "hold neighbours of the 16 states, got of 15; give the lists of this vocabulary"),
        Wrong(listing(16, 1), r"process.nearest must be at most the 1 neighbours in .*a.npz, got 2; lower it"),
        Wrong({"vocab": np.array("\n".join(ENTRIES).replace("cat", "cow"))}, "got 'cow' for 'cat' at state 6; give both"),
        Wrong({"vocab": np.array("\n".join(ENTRIES[:9]))}, "of this vocabulary|data.tokens, got .* at state 9"),
        Wrong({"knn_cos": NOT_FINITE}, "hold finite cosines, got another in row 3; write it again"),
        Wrong({"knn_idx": BEYOND}, r"hold states 0\.\.15, or -1 for none, got 16 in row 7; give the lists of this"),
        Wrong({"knn_idx": LISTS["knn_idx"].astype(int) - 3}, r"hold states 0\.\.15, or -1 for none, got -2 in row 0"),
    ],
    ids=lambda wrong: wrong.message[:20],
)  # fmt: skip
def test_lists_that_do_not_fit(tmp_path: Path, words: Data, wrong: Wrong) -> None:
    arrays = {name: array for name, array in (LISTS | wrong.change).items() if array is not None}
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UserError, match=wrong.message):
        load_neighbours(tmp_path / "a.npz", words, 2, 0.3)

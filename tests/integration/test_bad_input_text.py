"""Noise on graphs of tokens, and vocabularies, that cannot be used: each mistake ends with a short message that names the remedy
and exit status 2, and a run that is there stays as it was. Text that cannot be read: see test_text.py."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.integration.conftest import Command
from tests.unit.texts import ENTRIES, write_vocabulary

Refuse = Callable[..., str]
LETTERS = " .abcehnstu"
SIZE = len(LETTERS)


def embeddings(size: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(size, 4)).astype(np.float32)


def tokens_at(path: Path) -> list[str]:
    """Options for the tokens of a vocabulary."""
    return ["--data.alphabet=None", f"--data.tokens={path}"]


def graph(path: Path | None = None, nearest: int = 3) -> list[str]:
    named = [] if path is None else [f"--process.neighbours={path}"]
    return ["--process.kind=neighbour_graph", f"--process.nearest={nearest}", *named]


@pytest.fixture
def run(
    scud: Command,
    small_text: list[str],
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A finished run of tokens of vocab.txt whose noise is of an embedding, runs/old, in the working directory."""
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "good.npy", embeddings(len(ENTRIES)))
    options = [*small_text, *tokens_at(write_vocabulary(tmp_path)), *graph(tmp_path / "good.npy")]
    trained = scud(
        "train", "text", *options, f"--data.train={text}", "--out", tmp_path / "runs" / "old"
    )
    assert trained.status == 0, trained.err
    return tmp_path / "runs" / "old"


@pytest.fixture
def train(refuse: Refuse, small_text: list[str], text: Path, run: Path) -> Refuse:
    """Training in place of a run, which must be refused."""

    def check(*options: str) -> str:
        return refuse(
            "train",
            "text",
            *small_text,
            f"--data.train={text}",
            "--overwrite",
            f"--out={run}",
            *options,
        )

    return check


def test_embeddings_of_the_alphabet(train: Refuse, tmp_path: Path) -> None:
    path = tmp_path / "letters.npy"

    def given(vectors: NDArray[np.float32]) -> str:
        np.save(path, vectors)
        return train(*graph(path))

    said = given(embeddings(SIZE + 1))
    assert (
        f"{path} must hold one row of numbers for each of the 11 states, got float32 of shape [12, 4]; give"
        in said
    )
    vectors = embeddings(SIZE)
    vectors[[2, 4]] = np.nan
    assert (
        "must hold finite rows that are not 0, got NaN or infinity in row 2 (a), and 1 more such rows"
        in given(vectors)
    )
    vectors[[2, 4]] = 0
    assert (
        "got only zeros in row 2 (a), and 1 more such rows; repair or drop these states"
        in given(vectors)
    )
    path.write_bytes(b"")
    assert "process.neighbours must be an undamaged .npy file" in train(*graph(path))
    assert "process.neighbours must name a file that exists" in train(*graph(tmp_path / "none.npy"))


def test_embeddings_of_a_vocabulary(train: Refuse, tmp_path: Path) -> None:
    tokens = tokens_at(tmp_path / "vocab.txt")
    np.save(tmp_path / "letters.npy", embeddings(SIZE))
    said = train(*tokens, *graph(tmp_path / "letters.npy"))
    assert "for each of the 16 states, got float32 of shape [11, 4]" in said
    assert "give the embedding of this vocabulary, special tokens included" in said
    assert "name a file unless the data are text of at most 512 states" in train(
        *tokens_of_many(tmp_path), *graph()
    )


def tokens_of_many(folder: Path) -> list[str]:
    path = folder / "many.txt"
    path.write_text("\n".join([*ENTRIES, *(f"[unused{n}]" for n in range(500))]) + "\n")
    return tokens_at(path)


@pytest.mark.parametrize("nearest", [SIZE, 40])
def test_more_neighbours_than_there_are_other_states(
    train: Refuse, tmp_path: Path, nearest: int
) -> None:
    np.save(tmp_path / "letters.npy", embeddings(SIZE))
    for options in (graph(None, nearest), graph(tmp_path / "letters.npy", nearest)):
        said = train(*options)
        assert (
            f"process.nearest must be fewer than the 11 states, got {nearest}; give at most 10"
            in said
        )
    assert "process.nearest must be at least 1, got 0; 10 is the paper's" in train(*graph(None, 0))


def test_a_graph_without_jumps_must_be_connected(train: Refuse, tmp_path: Path) -> None:
    """Six letters and five that move among themselves; a state that is left and never reached; tokens that stay as they are."""
    path, none = tmp_path / "lists.npz", "--process.marginal-rate=0"

    def given(index: list[list[int]]) -> str:
        np.savez(
            path,
            knn_idx=np.array(index),
            knn_cos=np.full((SIZE, 2), 0.5),
            vocab=np.array("\n".join(LETTERS)),
        )
        return train(*graph(path, 2), none)

    parts = [[(n + step) % 6 for step in (1, 2)] for n in range(6)] + [
        [6 + (n + step) % 5 for step in (1, 2)] for n in range(5)
    ]
    said = given(parts)
    assert "neighbours must reach every state from every other where marginal_rate is 0" in said
    assert (
        "got 2 parts, such as those of states 0 and 6; give marginal_rate a value above 0, or more neighbours"
        in said
    )
    source = [[(n + step) % 10 for step in (1, 2)] for n in range(10)] + [[0, 1]]
    assert "got 2 parts, such as those of states 0 and 10" in given(source)
    source[4] = [-1, -1]
    assert (
        "lead on from every state where marginal_rate is 0, got none of state 4; give it neighbours"
        in given(source)
    )
    said = train(*tokens_at(tmp_path / "vocab.txt"), *graph(tmp_path / "good.npy"), none)
    assert "got none of state 0; give it neighbours, or a marginal_rate above 0" in said


def test_lists_of_other_letters(train: Refuse, tmp_path: Path) -> None:
    index = (np.arange(SIZE)[:, None] + [1, 2]) % SIZE
    for name, size in (("order", SIZE), ("more", SIZE + 1)):
        listed = np.vstack([index, [[0, 1]]])[:size]
        vocabulary = np.array("\n".join(sorted(LETTERS + "z", reverse=True))[: 2 * size - 1])
        np.savez(
            tmp_path / f"{name}.npz",
            knn_idx=listed,
            knn_cos=np.full((size, 2), 0.5),
            vocab=vocabulary,
        )
    said = train(*graph(tmp_path / "order.npz", 2))
    assert (
        "must have the vocabulary of data.tokens, got 'z' for ' ' at state 0; give both of one vocabulary"
        in said
    )
    assert "must hold neighbours of the 11 states, got of 12" in train(
        *graph(tmp_path / "more.npz", 2)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["cat", "sat"], "be those that the run was trained on"),
        (["unsat"], "must have the shape of this network's"),
    ],
    ids=["two entries change places", "one more entry"],
)
def test_a_vocabulary_that_is_not_the_runs(
    refuse: Refuse,
    run: Path,
    small_text: list[str],
    text: Path,
    tmp_path: Path,
    change: list[str],
    said: str,
) -> None:
    """Evaluation and training that is resumed tell; generating needs the run alone."""
    entries = [*ENTRIES, *(entry for entry in change if entry not in ENTRIES)]
    places = [entries.index(entry) for entry in change]
    for place, entry in zip(places, reversed(change), strict=True):
        entries[place] = entry
    (tmp_path / "vocab.txt").write_text("\n".join(entries) + "\n")
    np.save(tmp_path / "good.npy", embeddings(len(entries)))
    refused = refuse("evaluate", run)
    assert "data must be text in a vocabulary of 16 entries" in refused
    assert "as those of the run" in refused
    assert f"got text in a vocabulary of {len(entries)} entries" in refused
    assert (
        "restore the data file, and alphabet or vocabulary, that the run was trained on" in refused
    )
    assert said in refuse("train", run / "config.yaml", "--resume", f"--out={run}")
    options = [*small_text, *tokens_at(tmp_path / "vocab.txt"), f"--data.train={text}", "--out=x"]
    other = refuse("train", "text", *options, f"--init-from={run}")
    assert "init_from must be of text in a vocabulary of" in other
    assert "start from a run of the same states" in other


def test_a_missing_or_damaged_vocabulary(
    refuse: Refuse, run: Path, scud: Command, tmp_path: Path
) -> None:
    (tmp_path / "vocab.txt").unlink()
    for command in (("evaluate", run), ("train", run / "config.yaml", "--resume", f"--out={run}")):
        assert "data.tokens must be characters, bytes, or a tokenizer or vocabulary file" in refuse(
            *command
        )
    assert scud("sample", run, "--num=1", "--steps=2").status == 0
    (tmp_path / "vocab.npz").write_bytes(b"PK\3\4")
    options = ["--overwrite", f"--out={run}", *tokens_at(tmp_path / "vocab.npz")]
    assert "vocab.npz must be an undamaged .npz file" in refuse(
        "train", run / "config.yaml", *options
    )

"""Text by the command line: from a file to a trained run, and what goes wrong on the way."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import scud as library
from tests.integration.conftest import Command
from tests.unit.texts import write_vocabulary

WORDS = ["the", "cat", "sat", "cats", "unsat", "s"]


def some_text(words: int, seed: int = 0) -> str:
    return "".join(
        f"{word}{'. ' if n % 9 else chr(10)}" for n, word in enumerate(np.random.default_rng(seed).choice(WORDS, words))
    )


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options that make training a matter of a second; stores go to a cache of their own."""
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path_factory.mktemp("cache")))
    options = {
        "data.length": 16,
        "data.tokens": "characters",
        "data.alphabet": " .abcehnstu",
        "network.kind": "bytenet",
        "network.preset": None,
        "network.width": 16,
        "network.layers": 2,
        "network.hidden": 8,
        "network.dropout": 0.1,
        "training.steps": 3,
        "training.batch-size": 8,
        "training.warmup": 2,
        "training.validate-every": 2,
    }
    return [f"--{name}={value}" for name, value in options.items()]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(some_text(400))
    return path


@pytest.fixture
def run(scud: Command, small: list[str], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run, runs/old, in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "old"
    assert scud("train", "text", *small, f"--data.train={text}", "--out", folder).status == 0
    return folder


def test_from_a_file_of_characters_to_text(scud: Command, run: Path, text: Path) -> None:
    assert {path.name for path in run.iterdir()} == {"config.yaml", "metrics.csv", "checkpoints", "model", "curves.png"}
    trained = scud("train", run / "config.yaml", "--overwrite", "--out", run)
    assert trained.status == 0, trained.err
    assert f"train: read {len(text.read_text()):,} characters in 400 words" in trained.out
    assert "bits/char" in trained.last_line

    loaded = library.load(run)
    assert (loaded.kind, loaded.length, loaded.dims) == ("text", 16, (16,))
    texts = loaded.sample_text(3, 2, generator=torch.Generator().manual_seed(0))
    assert [len(drawn) for drawn in texts] == [16] * 3
    assert set("".join(texts)) <= set(" .abcehnstu")
    assert len(loaded.sample_text(1, 2, length=5)[0]) == 5
    with pytest.raises(library.errors.UserError, match=r"length must lie in 1..16, got 17"):
        loaded.sample_text(1, 2, length=17)
    x0 = torch.from_numpy(np.stack(loaded.tokens.encode(texts)))
    assert loaded.elbo(x0).total.shape == (3,)


@pytest.mark.parametrize("kind", ["bytes", "subword"])
@pytest.mark.parametrize("network", ["bytenet", "dit"])
def test_other_tokens(scud: Command, small: list[str], text: Path, tmp_path: Path, kind: str, network: str) -> None:
    tokens = "bytes" if kind == "bytes" else write_vocabulary(tmp_path)
    options = [*small, "--data.alphabet=None", f"--data.tokens={tokens}", f"--network.kind={network}"]
    packed = tmp_path / "text.txt.gz"
    packed.write_bytes(gzip.compress(text.read_bytes()))
    table = tmp_path / "valid.parquet"
    pq.write_table(pa.table({"text": some_text(50, seed=1).split("\n")}), table)
    trained = scud(
        "train", "text", *options, f"--data.train={packed}", f"--data.valid={table}", "--diffusion.kind=masking",
        "--training.infill-share=0.5", "--out", tmp_path / "run",
    )  # fmt: skip
    assert trained.status == 0, trained.err
    assert ("bits/byte" if kind == "bytes" else "validation perplexity") in trained.last_line
    loaded = library.load(tmp_path / "run")
    config = json.loads((tmp_path / "run" / "model" / "config.json").read_text())
    assert config["data"] == {"tokens": loaded.tokens.spec(), "length": 16, "tensors": []}
    (tmp_path / "vocab.txt").unlink(missing_ok=True)
    assert isinstance(loaded.sample_text(1, 2)[0], str), "a run needs no other file"


def test_a_resumed_run_is_what_it_would_have_been(scud: Command, small: list[str], text: Path, tmp_path: Path) -> None:
    shorter = [*small, "--training.steps=2", f"--data.train={text}", "--out", tmp_path / "resumed"]
    constant = ["--training.decay=constant"]
    assert scud("train", "text", *shorter, *constant).status == 0
    config = tmp_path / "resumed" / "config.yaml"
    config.write_text(config.read_text().replace("steps: 2\n", "steps: 3\n"))
    assert scud("train", config, "--resume", "--out", tmp_path / "resumed").status == 0
    whole = [*small, *constant, f"--data.train={text}", "--out", tmp_path / "whole"]
    assert scud("train", "text", *whole).status == 0
    ours, theirs = (library.load(tmp_path / name).network.state_dict() for name in ("resumed", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_weights_are_taken_from_runs_of_the_same_tokens(
    scud: Command, refuse: Callable[..., str], small: list[str], run: Path, text: Path, tmp_path: Path
) -> None:
    taken = [*small, f"--data.train={text}", f"--init-from={run}"]
    assert scud("train", "text", *taken, "--out", tmp_path / "runs" / "new").status == 0
    said = refuse("train", "text", *taken, "--data.alphabet= .abcehnstuv", "--out=x")
    assert "init_from must be of text in the 12 characters ' .abcehnstuv'" in said
    assert "of text in the 11 characters" in said
    said = refuse("train", "text", *taken, "--data.alphabet=None", "--data.tokens=bytes", "--out=x")
    assert "init_from must be of text in the bytes of UTF-8" in said


def test_bad_text(refuse: Callable[..., str], small: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"

    def train(content: bytes, *options: str) -> str:
        path.write_bytes(content)
        return refuse("train", "text", *small, f"--data.train={path}", "--out=x", *options)

    assert "add --data.train FILE" in refuse("train", "text", *small, "--out=x")
    assert "empty file" in train(b"")
    assert f"{path} must be UTF-8, got byte 0xe9, byte 5 of line 2" in train(b"the cat\nthe \xe9t\xe9\n" * 50)
    said = train(b"the cat\nthe dog\n" * 50)
    assert f"line 2 of {path} must hold the 11 characters" in said
    assert (
        "got 'd'; correct it, or train with other letters (--data.alphabet) or with bytes (--data.tokens=bytes)" in said
    )
    assert "hold a chunk of 16 characters or more, got 8 of 8 characters" in train(b"the cat\n")
    assert "give a file by --data.valid" in train(b"the cat sat the c")
    assert "must be text, got binary data" in train(bytes(range(256)))
    assert "alphabet of text must hold two or more different characters" in train(b"", "--data.alphabet=aa")
    (tmp_path / "bad.doc").write_bytes(b"the cat")
    assert "end in .txt" in refuse("train", "text", *small, f"--data.train={tmp_path / 'bad.doc'}", "--out=x")


def test_bad_options(refuse: Callable[..., str], small: list[str], text: Path, tmp_path: Path) -> None:
    options = ["train", "text", *small, f"--data.train={text}", "--out=x"]
    (tmp_path / "vocab.txt").write_text("[UNK]\nthe\n")
    said = refuse(*options, "--data.alphabet=None", f"--data.tokens={tmp_path / 'vocab.txt'}")
    assert "must hold [UNK] and [SEP], got no [SEP] in 2 entries" in said
    assert "data.alphabet must be given for characters only" in refuse(*options, "--data.tokens=bytes")
    assert "data.tokens must be characters, bytes, or" in refuse(
        *options, "--data.alphabet=None", "--data.tokens=words"
    )
    assert "use unet for images" in refuse(*options, "--network.kind=unet")
    assert "blosum62 is for proteins" in refuse(*options, "--process.kind=blosum62")
    assert "it mirrors images" in refuse(*options, "--training.flips")
    assert "be one of tiny, small, medium, paper for dit" in refuse(
        *options, "--network.kind=dit", "--network.preset=1M"
    )


def test_a_run_of_another_kind_does_not_sample_text(run: Path) -> None:
    loaded = library.load(run)
    with pytest.raises(library.errors.UserError, match="run must model sequences, got a bytenet of text"):
        _ = loaded.alphabet

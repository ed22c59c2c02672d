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
from scud.config import read_config
from scud.errors import UserError
from scud.experiment import prepare
from tests.integration.conftest import Command, without
from tests.unit.texts import some_text, write_vocabulary


@pytest.fixture
def run(
    scud: Command,
    small_text: list[str],
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A finished run, runs/old, in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "old"
    assert scud("train", "text", *small_text, f"--data.train={text}", "--out", folder).status == 0
    return folder


def test_from_a_file_of_characters_to_text(scud: Command, run: Path, text: Path) -> None:
    size = len(text.read_text())
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "metrics.csv",
        "checkpoints",
        "model",
        "curves.png",
    }
    trained = scud("train", run / "config.yaml", "--overwrite", "--out", run)
    assert trained.status == 0, trained.err
    assert f"train: read {size:,} characters in 400 words" in trained.err
    assert "bits/char" in trained.last_line

    loaded = library.load(run)
    kind = loaded.modality
    assert isinstance(kind, library.data.Text)
    assert (kind.kind, kind.length, kind.dims) == ("text", 16, (16,))
    short = library.samplers.Ancestral(steps=2)
    texts = loaded.sample(3, sampler=short, generator=torch.Generator().manual_seed(0))
    assert [len(drawn) for drawn in texts] == [16] * 3
    assert set("".join(texts)) <= set(" .abcehnstu")
    assert len(loaded.sample(1, sampler=short, length=(5, 5))[0]) == 5
    with pytest.raises(UserError, match=r"length must be one number in 1..16 for text, got 17-17"):
        loaded.sample(1, sampler=short, length=(17, 17))
    x0 = torch.from_numpy(np.stack(kind.tokens.encode(texts)))
    assert loaded.elbo(x0).total.shape == (3,)


@pytest.mark.parametrize("kind", ["bytes", "subword"])
@pytest.mark.parametrize("network", ["bytenet", "dit"])
def test_other_tokens(
    scud: Command, small_text: list[str], text: Path, tmp_path: Path, kind: str, network: str
) -> None:
    tokens = "bytes" if kind == "bytes" else write_vocabulary(tmp_path)
    if network == "dit":
        small_text = without(small_text, "network.hidden")
    options = [
        *without(small_text, "data.valid-share"),
        "--data.alphabet=None",
        f"--data.tokens={tokens}",
        f"--network.kind={network}",
    ]
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
    assert isinstance(loaded.modality, library.data.Text)
    written = {"kind": "text", "tokens": loaded.modality.tokens.spec(), "length": 16, "tensors": []}
    assert config["data"] == written
    (tmp_path / "vocab.txt").unlink(missing_ok=True)
    drawn = loaded.sample(1, sampler=library.samplers.Ancestral(steps=2))
    assert isinstance(drawn[0], str), "a run needs no other file"


def test_a_resumed_run_is_what_it_would_have_been(
    scud: Command, small_text: list[str], text: Path, tmp_path: Path
) -> None:
    shorter = [
        *small_text,
        "--training.steps=2",
        f"--data.train={text}",
        "--out",
        tmp_path / "resumed",
    ]
    constant = ["--training.decay=constant"]
    assert scud("train", "text", *shorter, *constant).status == 0
    config = tmp_path / "resumed" / "config.yaml"
    config.write_text(config.read_text().replace("steps: 2\n", "steps: 3\n"))
    assert scud("train", config, "--resume", "--out", tmp_path / "resumed").status == 0
    whole = [*small_text, *constant, f"--data.train={text}", "--out", tmp_path / "whole"]
    assert scud("train", "text", *whole).status == 0
    ours, theirs = (
        library.load(tmp_path / name).network.state_dict() for name in ("resumed", "whole")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("nearness", ["contexts", "embedding"])
def test_noise_on_a_graph_is_kept_with_the_run(
    scud: Command, small_text: list[str], text: Path, tmp_path: Path, nearness: str
) -> None:
    """The run needs no other file; and one that is resumed is what it would have been."""
    options = [
        *small_text,
        f"--data.train={text}",
        "--process.kind=neighbour_graph",
        "--process.nearest=4",
    ]
    path = tmp_path / "letters.npy"
    if nearness == "embedding":
        np.save(path, np.random.default_rng(0).normal(size=(11, 3)))
        options.append(f"--process.neighbours={path}")
    options += ["--training.decay=constant", "--process.marginal-rate=0.3"]
    for name in ("whole", "resumed"):
        outcome = scud(
            "train",
            "text",
            *options,
            f"--training.steps={2 if name == 'whole' else 1}",
            "--out",
            tmp_path / name,
        )
        assert outcome.status == 0, outcome.err
    config = tmp_path / "resumed" / "config.yaml"
    config.write_text(config.read_text().replace("steps: 1\n", "steps: 2\n"))
    assert scud("train", config, "--resume", "--out", tmp_path / "resumed").status == 0
    made = prepare(read_config(config)).model
    path.unlink(missing_ok=True)
    whole, resumed = (library.load(tmp_path / name) for name in ("whole", "resumed"))
    for loaded in (whole, resumed):
        ours, theirs = made.process.spec(), loaded.model.process.spec()
        assert all(
            torch.equal(ours.pop(name), theirs.pop(name)) for name in ("neighbours", "rates")
        )
        torch.testing.assert_close(ours.pop("marginal"), theirs.pop("marginal"), rtol=1e-15, atol=0)
        assert ours == theirs == {"kind": "neighbour_graph", "marginal_rate": 0.3}
    weights = [run.network.state_dict() for run in (whole, resumed)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    short = library.samplers.Ancestral(steps=3)
    drawn = [
        run.sample(2, sampler=short, generator=torch.Generator().manual_seed(0))
        for run in (whole, resumed)
    ]
    assert drawn[0] == drawn[1]


def test_a_graph_that_has_changed_is_not_resumed(
    scud: Command, refuse: Callable[..., str], small_text: list[str], text: Path, tmp_path: Path
) -> None:
    path, out = tmp_path / "letters.npy", tmp_path / "run"
    np.save(path, np.random.default_rng(0).normal(size=(11, 3)))
    options = [
        *small_text,
        f"--data.train={text}",
        "--process.kind=neighbour_graph",
        "--process.nearest=4",
    ]
    options += [f"--process.neighbours={path}", "--training.steps=1"]
    assert scud("train", "text", *options, "--out", out).status == 0
    np.save(path, np.random.default_rng(1).normal(size=(11, 3)))
    said = refuse("train", "text", *options, "--resume", "--out", out)
    assert (
        "the noise must be that which the run was trained on, got other neighbours, rates; restore the file"
        in said
    )
    np.save(path, np.random.default_rng(0).normal(size=(11, 3)))
    assert scud("train", "text", *options, "--resume", "--out", out).status == 0


def test_weights_are_taken_from_runs_of_the_same_tokens(
    scud: Command,
    refuse: Callable[..., str],
    small_text: list[str],
    run: Path,
    text: Path,
    tmp_path: Path,
) -> None:
    taken = [*small_text, f"--data.train={text}", f"--init-from={run}"]
    assert scud("train", "text", *taken, "--out", tmp_path / "runs" / "new").status == 0
    said = refuse("train", "text", *taken, "--data.alphabet= .abcehnstuv", "--out=x")
    assert "init_from must be of text in the 12 characters ' .abcehnstuv'" in said
    assert "of text in the 11 characters" in said
    said = refuse("train", "text", *taken, "--data.alphabet=None", "--data.tokens=bytes", "--out=x")
    assert "init_from must be of text in the bytes of UTF-8" in said


def test_bad_text(refuse: Callable[..., str], small_text: list[str], tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"

    def train(content: bytes, *options: str) -> str:
        path.write_bytes(content)
        return refuse("train", "text", *small_text, f"--data.train={path}", "--out=x", *options)

    assert "add --data.train FILE" in refuse("train", "text", *small_text, "--out=x")
    assert "empty file" in train(b"")
    assert f"{path} must be UTF-8, got byte 0xe9, byte 5 of line 2" in train(
        b"the cat\nthe \xe9t\xe9\n" * 50
    )
    said = train(b"the cat\nthe dog\n" * 50)
    assert f"line 2 of {path} must hold the 11 characters" in said
    assert (
        "got 'd'; correct it, or train with other letters (--data.alphabet) or with bytes (--data.tokens=bytes)"
        in said
    )
    assert "hold a chunk of 16 characters or more, got 8 of 8 characters" in train(b"the cat\n")
    assert "give a file by --data.valid" in train(b"the cat sat the c")
    assert "must be text, got binary data" in train(bytes(range(256)))
    assert "alphabet of text must hold two or more different characters" in train(
        b"", "--data.alphabet=aa"
    )
    (tmp_path / "bad.doc").write_bytes(b"the cat")
    assert "end in .txt" in refuse(
        "train", "text", *small_text, f"--data.train={tmp_path / 'bad.doc'}", "--out=x"
    )


def test_bad_options(
    refuse: Callable[..., str], small_text: list[str], text: Path, tmp_path: Path
) -> None:
    options = ["train", "text", *small_text, f"--data.train={text}", "--out=x"]
    (tmp_path / "vocab.txt").write_text("[UNK]\nthe\n")
    said = refuse(*options, "--data.alphabet=None", f"--data.tokens={tmp_path / 'vocab.txt'}")
    assert "must hold [UNK] and [SEP], got no [SEP] in 2 entries" in said
    assert "data.alphabet must be given for characters only" in refuse(
        *options, "--data.tokens=bytes"
    )
    assert "data.tokens must be characters, bytes, or" in refuse(
        *options, "--data.alphabet=None", "--data.tokens=words"
    )
    plain = without(options, "network.")
    assert "use a ByteNet for rows of positions" in refuse(*plain, "--network.kind=unet")
    layers = refuse(*options, "--network.kind=unet")
    assert (
        "network.layers must be left out for network.kind unet, got 2; it is an option of bytenet and dit"
        in layers
    )
    assert "blosum62 is for proteins" in refuse(*options, "--process.kind=blosum62")
    flips = refuse(*options, "--data.flips")
    assert (
        "data.flips must be left out for data.kind text, got true; it is an option of images"
        in flips
    )
    preset = refuse(*plain, "--network.kind=dit", "--network.preset=1M")
    assert "network.preset must be one of tiny, small, medium, paper for dit, got 1M" in preset


def test_what_other_kinds_can_do_is_refused(run: Path) -> None:
    text = library.load(run).modality
    with pytest.raises(UserError, match="run must model sequences, got texts"):
        _ = text.scoring

"""Text by the command line: from a text file to bounds, samples, filled gaps and quality, for letters, bytes and vocabularies."""

import csv
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.integration.conftest import Command

WORDS = [
    word * size
    for word in ("in", "the", "word", "light", "god", "man", "name", "sent")
    for size in (1, 2)
]
LENGTH = 24
KNOWN = "in the word god "


@dataclass(frozen=True)
class Case:
    """What the positions of a text are, and what evaluation leads with."""

    tokens: str
    unit: str
    headline: str
    vocabulary: tuple[str, ...] = ()


CASES = {
    "characters": Case("characters", "character", "bits/character"),
    "bytes": Case("bytes", "byte", "bits/byte"),
    "subword": Case(
        "vocab.txt", "token", "per word", ("[PAD]", "[UNK]", "[SEP]", *sorted(WORDS), "##s", "##ed")
    ),
}


@pytest.fixture
def trained(
    scud: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Case], tuple[Path, Path]]:
    """A run of three steps on 150 lines of eight words each, and the file that it was trained on."""
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))

    def train(case: Case) -> tuple[Path, Path]:
        run, text = tmp_path / "runs" / "mine", tmp_path / "text.txt"
        random = np.random.default_rng(0)
        text.write_text("".join(" ".join(random.choice(WORDS, 8)) + "\n" for _ in range(150)))
        tokens = case.tokens
        if case.vocabulary:
            pytest.importorskip("tokenizers")
            (tmp_path / tokens).write_text("\n".join(case.vocabulary) + "\n")
            tokens = str(tmp_path / tokens)
        options = {
            "data.train": text,
            "data.tokens": tokens,
            "data.length": LENGTH,
            "data.valid-share": 0.2,
            "network.width": 16,
            "network.layers": 1,
            "training.steps": 3,
            "training.batch-size": 4,
            "training.warmup": 1,
            "training.validate-every": 3,
            "training.validation-repeats": 1,
        }
        outcome = scud(
            "train", "text", *(f"--{name}={value}" for name, value in options.items()), "--out", run
        )
        assert outcome.status == 0, outcome.err
        return run, text

    return train


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_from_a_text_file_to_samples(
    scud: Command, trained: Callable[[Case], tuple[Path, Path]], tmp_path: Path, case: Case
) -> None:
    run, text = trained(case)
    evaluated = scud("evaluate", run, "--repeats=8")
    assert evaluated.status == 0, evaluated.err
    assert case.headline in evaluated.last_line
    assert f"nats per {case.unit}" in evaluated.out
    assert all(
        name in evaluated.out
        for name in ("prior term", "bits/byte", "perplexity per word", "counted: ")
    )
    check_figures(json.loads((run / "evaluation-valid.json").read_text()), case)

    span = scud("evaluate", run, "--repeats=2", "--span=0.25", "--split=train")
    assert span.status == 0, span.err
    assert f"per {case.unit}" in span.last_line
    assert "evaluation-train-span.json" in span.last_line

    sampled = scud("sample", run, "--num=5", "--steps=4", "--seed=4")
    assert sampled.status == 0, sampled.err
    assert f"5 texts of {LENGTH} {case.unit}s each by 4 steps" in sampled.last_line
    states = np.load(run / "samples" / "samples.npz")["x"]
    assert states.shape == (5, LENGTH)
    written = (run / "samples" / "samples.txt").read_bytes()
    assert written.count(b"\n----------\n") == 4
    again = scud("sample", run, "--num=5", "--steps=4", "--seed=4", "--out", tmp_path / "again")
    assert again.status == 0
    assert (tmp_path / "again" / "samples.txt").read_bytes() == written
    short = scud("sample", run, "--num=2", "--steps=2", "--length=7", "--out", tmp_path / "short")
    assert short.status == 0, short.err
    assert np.load(tmp_path / "short" / "samples.npz")["x"].shape == (2, 7)

    compared = scud("evaluate", run, "--samples", run / "samples" / "samples.npz")
    assert compared.status == 0, compared.err
    with (run / "quality.csv").open() as file:
        rows = {row[0]: row[1:] for row in csv.reader(file)}
    assert rows["texts"] == ["5"] * 3
    assert rows["tokens"] == [str(5 * LENGTH)] * 3
    assert float(rows["entropy of 1-grams (bits)"][0]) > float(rows["entropy of 1-grams (bits)"][1])
    assert compared.last_line == (
        f"wrote {run / 'quality.csv'}: 5 texts of {run / 'samples' / 'samples.npz'} beside valid and training data"
    )
    text.write_text(text.read_text().replace("word", "world"))
    assert "be those that the run was trained on" in scud("evaluate", run).err.replace("\n", " ")


def check_figures(figures: dict[str, object], case: Case) -> None:
    """The figures of a file agree with one another, and with the counts."""
    counts = figures["counts"]
    assert isinstance(counts, dict)
    nats = figures["nats_per_token"]["value"] * counts["tokens"]
    assert counts["tokens"] == figures["positions"] == figures["examples"] * LENGTH
    assert nats / counts["tokens"] == pytest.approx(figures["bits_per_dim"] * math.log(2))
    assert figures["bits_per_character"]["value"] == pytest.approx(
        nats / counts["characters"] / math.log(2)
    )
    assert figures["bits_per_byte"]["value"] == pytest.approx(nats / counts["bytes"] / math.log(2))
    assert figures["perplexity_per_word"]["value"] == pytest.approx(
        math.exp(nats / counts["words"])
    )
    assert figures["perplexity_per_token"]["value"] == pytest.approx(figures["perplexity"])
    for name in (
        "nats_per_token",
        "bits_per_character",
        "perplexity_per_token",
        "perplexity_per_word",
    ):
        assert figures[name]["low"] < figures[name]["value"] < figures[name]["high"]
    assert counts["characters"] == counts["bytes"]
    assert (counts["tokens"] == counts["characters"]) == (case.unit != "token")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_gaps_are_filled_in_and_the_rest_is_kept(
    scud: Command, trained: Callable[[Case], tuple[Path, Path]], case: Case
) -> None:
    run, _ = trained(case)
    infilled = scud("infill", run, f"--text={KNOWN}[[3]]", "--num=4", "--steps=3")
    assert infilled.status == 0, infilled.err
    target = run / "samples" / "infilled.txt"
    length = len(KNOWN.split() if case.unit == "token" else KNOWN) + 3
    assert (
        infilled.last_line == f"wrote {target}: 4 designs of 3 of {length} {case.unit}s by 3 steps"
    )
    designs = target.read_bytes().decode().removesuffix("\n").split("\n----------\n")
    assert len(designs) == 4
    assert all(design.startswith(KNOWN.strip()) for design in designs)


def test_what_does_not_fit_is_refused(
    scud: Command, trained: Callable[[Case], tuple[Path, Path]], tmp_path: Path
) -> None:
    run, text = trained(CASES["characters"])
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def refuse(*arguments: object) -> str:
        outcome = scud(*arguments)
        assert outcome.status == 2, outcome
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
        return " ".join(outcome.err.split())

    for length in ("0", "25", "5-9"):
        assert "length must be one number in 1..24 for text" in refuse(
            "sample", run, f"--length={length}"
        )
    nothing = refuse("infill", run)
    assert "text must be given for a run of text, got nothing" in nothing
    assert 'as in "in the [[20]] was the word"' in nothing
    sequences = refuse("infill", run, f"--input={text}", "--positions=1", "--text=a [[2]]")
    assert "--input must be left out for the data of this run, got --input=" in sequences
    assert "it is an option of sequences" in sequences
    assert "have a gap to fill in" in refuse("infill", run, "--text=in the beginning")
    assert "got [[0]]" in refuse("infill", run, "--text=in the [[0]] beginning")
    assert "at most 24 characters long, its gaps included" in refuse(
        "infill", run, "--text=in the [[18]]"
    )
    assert "'é'" in refuse("infill", run, "--text=né [[3]]")
    assert "give the samples.npz that scud sample wrote" in refuse(
        "evaluate", run, f"--samples={text}"
    )
    np.savez(tmp_path / "foreign.npz", x=np.full((3, 9), 200))
    assert "hold states in 0..26" in refuse(
        "evaluate", run, f"--samples={tmp_path / 'foreign.npz'}"
    )
    assert "run must model sequences" in refuse("score", run, f"--input={text}")


def test_runs_of_other_data_fill_in_no_text(
    scud: Command, small: list[str], proteins: Path, tiny: list[str], tmp_path: Path
) -> None:
    sequences, images = tmp_path / "sequences", tmp_path / "images"
    assert (
        scud("train", "proteins", *small, f"--data.train={proteins}", "--out", sequences).status
        == 0
    )
    assert scud("train", "images", *tiny, "--out", images).status == 0
    outcome = scud("infill", sequences)
    assert outcome.status == 2
    assert "input must name a FASTA file, got nothing; add --input FILE" in " ".join(
        outcome.err.split()
    )
    for options in (
        ("--text=A [[2]]",),
        (f"--input={proteins}", "--positions=1", "--text=A [[2]]"),
    ):
        outcome = scud("infill", sequences, *options)
        assert outcome.status == 2
        assert "--text must be left out for the data of this run, got --text=A [[2]]" in outcome.err
        assert not (sequences / "samples").exists()
    outcome = scud("infill", images, "--text=A [[2]]")
    assert outcome.status == 2
    assert "run must model sequences or text, got images" in outcome.err

"""How bounds on each kind of data are told; and the commands on text, with a stand-in for a run."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scud import Masking, Run
from scud.cli import infill, sample
from scud.cli.evaluate import Evaluate, bound, compare
from scud.cli.figures import show, write
from scud.cli.together import Command
from scud.data import Arrays, Data, Images, Modality, Sequences, Text, find_alphabet, load_text
from scud.data.text.store import Extent, TextSet
from scud.data.text.tokenizers import Bytes, Characters
from scud.errors import UserError
from scud.evaluation import Evaluation
from scud.ranks import ALONE
from scud.samplers import Ancestral, Samples
from scud.typing import Conditioning, ExampleSet
from tests.unit.test_evaluation_text import evaluation
from tests.unit.texts import vocabulary

RESULT = evaluation(200.0, 4, 400.0, 0.08)
COUNTS = Extent(tokens=400, characters=1600, words=320, bytes=1640)

IMAGES = Images(17, (1, 8, 8))
ARRAYS = Arrays(17, (8, 8))
PROTEINS = Sequences(find_alphabet("protein"), torch.tensor([0, 1]))
LETTERS, BYTES, PARTS = Text(Characters(), 8), Text(Bytes(), 8), Text(vocabulary(), 8)


class Covering(TextSet):
    """Stands for chunks that cover so much text."""

    def __init__(self, text: Extent) -> None:
        self._text = text

    @property
    def text(self) -> Extent:
        return self._text


def reported(
    modality: Modality, counts: Extent | None = None, result: Evaluation = RESULT
) -> Evaluation:
    """A bound in the figures of a kind of data; without counts that of spans."""
    examples: ExampleSet | None = None if counts is None else Covering(counts)
    return result.reported(modality, examples)


@pytest.mark.parametrize(
    ("result", "headline"),
    [
        (RESULT, "2.885 ± 0.115 bits/dim"),
        (reported(IMAGES), "2.885 ± 0.115 bits/dim"),
        (reported(ARRAYS), "2.885 ± 0.115 bits/dim"),
        (reported(PROTEINS), "perplexity per residue 7.389, 95% interval 6.317 to 8.643"),
        (reported(PARTS), "perplexity per token 7.389, 95% interval 6.317 to 8.643"),
        (reported(LETTERS), "perplexity per character 7.389, 95% interval 6.317 to 8.643"),
        (reported(LETTERS, COUNTS), "0.721 bits/character, 95% interval 0.665 to 0.778"),
        (reported(BYTES, COUNTS), "0.704 bits/byte, 95% interval 0.649 to 0.759"),
        (
            reported(PARTS, COUNTS),
            "perplexity per token 7.389, 95% interval 6.317 to 8.643; "
            "perplexity per word 12.182, 95% interval 10.014 to 14.820",
        ),
    ],
)
def test_headlines(result: Evaluation, headline: str) -> None:
    assert result.headline == headline
    assert str(result).startswith(f"{headline}, of 4 examples by 4 draws each\n")


def test_of_tokens_the_perplexity_of_words_is_told_with_that_of_tokens() -> None:
    first, second, *_ = reported(PARTS, COUNTS).figures
    told = "perplexity per token 7.389, 95% interval 6.317 to 8.643"
    assert str(first) == f"{told}; {second}"
    assert str(second) == "perplexity per word 12.182, 95% interval 10.014 to 14.820"
    assert str(second) in str(reported(PARTS, COUNTS)).splitlines()


def test_table_of_text_says_what_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    counts = PARTS.counts(Covering(COUNTS))
    show(reported(PARTS, COUNTS), "test", counts)
    text = capsys.readouterr().out
    assert "counted: 400 tokens, 1,600 characters, 320 words, 1,640 bytes of test" in text
    for line in ("bits/byte", "0.7038 (0.6486 to 0.7589)", "nats per token"):
        assert line in text
    assert "12.1825 (10.0142 to" in text
    assert "14.8203)" in text
    show(reported(PARTS), "test, spans of 20%", {})
    text = capsys.readouterr().out
    assert "7.3891 (6.3167 to 8.6434)" in text
    assert "counted" not in text


def test_table_of_images_is_in_bits(capsys: pytest.CaptureFixture[str]) -> None:
    show(reported(IMAGES), "valid", {})
    text = capsys.readouterr().out
    for part in ("bits/dim", "2.8854 ± 0.1154", "2.5969", "0.2885", "nats per example"):
        assert part in text
    assert "perplexity" not in text


def test_files_hold_all_figures_and_null_where_one_is_not_defined(tmp_path: Path) -> None:
    target = tmp_path / "bound.json"
    single = reported(PARTS, COUNTS, evaluation(200.0, 1, 400.0, math.nan))
    write(single, target, {"split": "test"}, PARTS.counts(Covering(COUNTS)))
    figures = json.loads(target.read_text())
    assert figures["split"] == "test"
    assert figures["perplexity_interval"] == [None, None]
    assert figures["standard_error"] is None
    assert figures["counts"] == {"tokens": 400, "characters": 1600, "words": 320, "bytes": 1640}
    per_word = {"value": pytest.approx(math.exp(200 / 320)), "low": None, "high": None}
    assert figures["perplexity_per_word"] == per_word
    write(RESULT, target, {}, {})
    plain = json.loads(target.read_text())
    assert "bits_per_byte" not in plain
    assert plain["bits_per_dim"] == pytest.approx(2 / math.log(2))
    assert "figures" not in plain
    assert "counts" not in plain


class Constant(nn.Module):
    """Predicts the same law everywhere, and notes the shapes that it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x_t: Tensor, _: Conditioning) -> Tensor:
        self.shapes.append(tuple(x_t.shape))
        return torch.zeros(*x_t.shape, 27)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """40 chunks of 8 letters to train on, and 12 for validation."""
    random = np.random.default_rng(0)
    for name, count in (("train", 40), ("valid", 12)):
        drawn = "".join(random.choice(list(" abcdefghijklmnopqrstuvwxyz"), 8 * count))
        (tmp_path / f"{name}.txt").write_text(drawn)
    files = {"valid": tmp_path / "valid.txt"}
    return load_text(tmp_path / "train.txt", Characters(), 8, files=files, cache=tmp_path / "cache")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Stands for a run of text in the folder of the test; commands find it there."""
    p0 = torch.full((27,), 1 / 27, dtype=torch.float64)
    made = Run(Masking(27, p0=p0), Constant(), LETTERS, (), tmp_path)
    for command in (infill, sample):
        monkeypatch.setattr(command, "load_run", lambda *_: made)
    monkeypatch.setattr(infill, "modality_of", lambda _: LETTERS)
    return made


ONE = Command("evaluate", (), ALONE)


def shapes(run: Run) -> list[tuple[int, ...]]:
    assert isinstance(run.network, Constant)
    return run.network.shapes


def test_bound_of_text_is_in_batches_of_both_sizes(
    run: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    valid = data.split("valid")
    assert isinstance(valid, TextSet)
    options = Evaluate(run=tmp_path, repeats=64, batch_size=5, batch_tokens=31)
    bound(run, options, valid, "valid", ONE)
    assert set(shapes(run)) == {(3, 8)}
    figures = json.loads((tmp_path / "evaluation-valid.json").read_text())
    words = valid.text.words
    expected = {"tokens": 96, "characters": 96, "words": words, "bytes": 96}
    assert figures["counts"] == expected
    assert figures["bits_per_character"]["value"] == pytest.approx(math.log2(27), abs=2e-3)
    assert (figures["split"], figures["span"], figures["repeats"]) == ("valid", None, 64)
    said = capsys.readouterr().out
    assert f"counted: 96 tokens, 96 characters, {words} words, 96 bytes of valid" in said
    assert "bits/character, 95% interval" in said.splitlines()[-1]


def test_bound_on_spans_of_text_counts_these_alone(
    run: Run, data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bound(run, Evaluate(run=tmp_path, repeats=4, span=0.25), data.split("valid"), "valid", ONE)
    figures = json.loads((tmp_path / "evaluation-valid-span.json").read_text())
    assert figures["positions"] == 12 * 2
    low, high = figures["perplexity_interval"]
    assert low < 27 < high
    assert "counts" not in figures
    assert "bits_per_character" not in figures
    said = capsys.readouterr().out.splitlines()[-1]
    assert f"perplexity per character {figures['perplexity']:.3f}" in said


@pytest.mark.usefixtures("run")
def test_samples_of_text_are_its_states_and_its_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample.main(["run", "--num", "4", "--steps", "3", "--out", str(tmp_path)])
    states = np.load(tmp_path / "samples.npz")["x"]
    assert states.shape == (4, 8)
    texts = LETTERS.decode([torch.from_numpy(row) for row in states])
    assert (tmp_path / "samples.txt").read_text() == "\n----------\n".join(texts) + "\n"
    out = capsys.readouterr().out
    ends = "samples.npz and samples.txt, 4 texts of 8 characters each by 3 steps"
    assert "".join(out.split()).endswith("".join(ends.split()))
    assert texts[2] in out
    arguments = ["run", "--num", "2", "--steps", "1", "--out", str(tmp_path), "--overwrite"]
    sample.main([*arguments, "--length", "5"])
    assert np.load(tmp_path / "samples.npz")["x"].shape == (2, 5)
    for wrong in ("0", "9", "3-4"):
        with pytest.raises(UserError, match=r"length must be one number in 1\.\.8 for text"):
            sample.main([*arguments, "--length", wrong])


def test_samplers_have_options_of_their_own(run: Run, tmp_path: Path) -> None:
    arguments = ["run", "--num", "2", "--out", str(tmp_path)]
    sample.main([*arguments, "--steps", "3", "--grid", "information", "--temperature", "0.5"])
    assert len(shapes(run)) == 3
    for wrong, message in (
        (["--grid", "wavy"], "grid must be one of cosine, information, got 'wavy'"),
        (["--temperature", "0"], "temperature must be positive"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--sampler", "fast"], "sampler must be one of ancestral, got 'fast'"),
        (["--num", "0"], "num must be at least 1"),
    ):
        with pytest.raises(UserError, match=message):
            sample.main([*arguments, *wrong])


def test_a_sampler_of_ones_own(run: Run, tmp_path: Path) -> None:
    own = f"{__name__}:Twice"
    sample.main(["run", "--num", "2", "--out", str(tmp_path), "--sampler", own, "--steps", "2"])
    assert len(shapes(run)) == 4
    arguments = ["run", "--num", "2", "--sampler", own, "--temperature", "2"]
    with pytest.raises(UserError, match=r"--temperature must suit the sampler .*:Twice, got .*"):
        sample.main(arguments)


class Twice(Ancestral):
    """Takes twice as many steps."""

    def __init__(self, steps: int = 4) -> None:
        super().__init__(steps=2 * steps)


@pytest.mark.usefixtures("run")
def test_gaps_of_a_text_are_drawn_and_the_rest_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["run", "--text", "ab[[2]]c[[1]]d", "--num", "5", "--steps", "2"]
    (tmp_path / "new").mkdir()
    target = tmp_path / "new" / "infilled.txt"
    infill.main([*arguments, "--out", str(target)])
    designs = target.read_text().removesuffix("\n").split("\n----------\n")
    assert len(designs) == 5
    assert len(set(designs)) > 1
    assert all(len(text) == 7 and text[:2] + text[4] + text[6] == "abcd" for text in designs)
    said = "".join(capsys.readouterr().out.split())
    assert "5designsof3of7charactersby2steps" in said


def test_a_text_with_gaps_must_be_given(run: Run) -> None:
    """And the options of sequences are none of text's."""
    with pytest.raises(UserError, match="text must be given for a run of text, got nothing; "):
        infill.main(["run"])
    for option in (["--positions", "1"], ["--input", "x.fasta"]):
        with pytest.raises(UserError, match=f"{option[0]} must be left out"):
            infill.main(["run", "--text", "a[[1]]", *option])
    assert not shapes(run)


def test_quality_of_samples_of_text(run: Run, data: Data, tmp_path: Path) -> None:
    train = data.split("train").batch(torch.arange(5)).x0[:, :7]
    LETTERS.write(Samples(list(train), []), tmp_path)
    samples = LETTERS.read(tmp_path / "samples.npz")
    rows = {row.measure: row for row in LETTERS.quality(samples, data, "valid", 0)}
    assert rows["texts"][1:] == (5, 5, 5)
    assert rows["tokens"][1:] == (35, 35, 35)
    assert rows["share of 32-grams found in training text"][1:] == (None, None, None)
    assert rows["entropy of 1-grams (bits)"].samples is not None
    assert rows["entropy of 1-grams (bits)"].samples > 3
    compare(run, data, "valid", Evaluate(run=tmp_path, samples=tmp_path / "samples.npz"))
    with (tmp_path / "quality.csv").open(newline="", encoding="utf-8") as file:
        header, *written = csv.reader(file)
    assert header == ["measure", "samples", "valid", "training"]
    assert [row[0] for row in written] == list(rows)

"""How bounds on each kind of data are told; and the commands on text, with a stand-in for a run."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scud.cli.quality import text_rows
from torch import Tensor, nn

from scud import Masking
from scud.cli.evaluate import Evaluate, bound, describe
from scud.cli.figures import Report
from scud.cli.infill import Infill, infill_text
from scud.cli.sample import Sample, draw_texts
from scud.data.text.figures import text_figures
from scud.errors import UserError
from scud.evaluation import Evaluation
from scud.typing import Batch, Conditioning
from tests.unit.test_cli_gaps import Letters
from tests.unit.test_evaluation_text import Counts, evaluation

RESULT = evaluation(200.0, 4, 400.0, 0.08)
COUNTS = Counts(400, 1600, 320, 1640)
WHOLE = (text_figures(RESULT, COUNTS), COUNTS)


@pytest.mark.parametrize(
    ("report", "headline"),
    [
        (Report(RESULT, None), "2.885 ± 0.115 bits/dim"),
        (Report(RESULT, "residue"), "perplexity 7.389 per residue, 95% interval 6.317 to 8.643,"),
        (Report(RESULT, "token"), "perplexity 7.389 per token, 95% interval 6.317 to 8.643,"),
        (Report(RESULT, "character", WHOLE), "0.721 bits/character, 95% interval 0.665 to 0.778,"),
        (Report(RESULT, "byte", WHOLE), "0.704 bits/byte, 95% interval 0.649 to 0.759,"),
        (
            Report(RESULT, "token", WHOLE),
            "perplexity per token 7.3891 (6.3167 to 8.6434), per word 12.182 (10.014 to 14.82), 95% intervals,",
        ),
    ],
)
def test_headlines(report: Report, headline: str) -> None:
    assert report.headline == headline


def test_table_of_text_says_what_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    Report(RESULT, "token", WHOLE).show("test")
    text = capsys.readouterr().out
    assert "counted: 400 tokens, 1,600 characters, 320 words, 1,640 bytes of test" in text
    for line in (
        "bits per byte",
        "0.7038 (0.6486 to 0.7589)",
        "12.182 (10.014 to 14.82)",
        "nats per token",
    ):
        assert line in text
    Report(RESULT, "token").show("test, spans of 20%")
    text = capsys.readouterr().out
    assert "7.3891 (6.3167 to 8.6434)" in text
    assert "counted" not in text


def test_files_hold_all_figures_and_null_where_one_is_not_defined(tmp_path: Path) -> None:
    single = evaluation(200.0, 1, 400.0, math.nan)
    Report(single, "token", (text_figures(single, COUNTS), COUNTS)).write(
        tmp_path / "bound.json", {"split": "test"}
    )
    figures = json.loads((tmp_path / "bound.json").read_text())
    assert figures["split"] == "test"
    assert figures["perplexity_interval"] == [None, None]
    assert figures["standard_error"] is None
    assert figures["counts"] == {"tokens": 400, "characters": 1600, "words": 320, "bytes": 1640}
    assert figures["perplexity_per_word"] == {
        "value": pytest.approx(math.exp(200 / 320)),
        "low": None,
        "high": None,
    }
    Report(RESULT, None).write(tmp_path / "bound.json", {})
    assert "bits_per_byte" not in json.loads((tmp_path / "bound.json").read_text())


class Constant(nn.Module):
    """Predicts the same law everywhere, and notes the shapes that it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, x_t: Tensor, _: Conditioning) -> Tensor:
        self.shapes.append(tuple(x_t.shape))
        return torch.zeros(*x_t.shape, 27)


class Chunks:
    """A split of text."""

    text = Counts(12 * 8, 12 * 8, 20, 12 * 8)

    def __init__(self, count: int = 12) -> None:
        self.x = torch.randint(27, (count, 8), generator=torch.Generator().manual_seed(count))

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Tensor) -> Batch:
        return Batch(self.x[index])

    def batches(self, size: int, tokens: int) -> tuple[Tensor, ...]:  # noqa: ARG002
        return torch.arange(len(self)).split(size)

    def part(self, most: int) -> "Chunks":
        return Chunks(min(most, len(self)))


@dataclass
class TextRun:
    """Stands for a run of text."""

    model: Masking
    network: Constant
    tokens: Letters
    kind: str = "text"
    length: int = 8


@dataclass
class TextSource:
    """Stands for a source of text."""

    valid: Chunks
    train: Chunks

    def split(self, name: str) -> Chunks:
        return {"valid": self.valid, "train": self.train}[name]


@pytest.fixture
def run() -> Any:
    p0 = torch.full((27,), 1 / 27, dtype=torch.float64)
    return TextRun(Masking(27, p0=p0), Constant(), Letters())


def test_bound_of_text_is_in_batches_of_both_sizes(run: Any) -> None:
    chunks = Chunks()
    options = Evaluate(Path("run"), repeats=4, batch_size=5, batch_tokens=31)
    result = bound(run, chunks, options, "valid")
    assert set(run.network.shapes) == {(3, 8)}
    report = describe(run, result, chunks)
    assert report.text is not None
    figures, counts = report.text
    assert counts is chunks.text
    assert figures.bits_per_character.value == pytest.approx(math.log2(27), abs=2e-3)
    assert report.position == "character"


def test_bound_on_spans_of_text_counts_these_alone(run: Any) -> None:
    result = bound(run, Chunks(), Evaluate(Path("run"), repeats=4, span=0.25), "valid")
    assert result.positions == 12 * 2
    assert isinstance(result, Evaluation)
    low, high = result.perplexity_interval
    assert low < 27 < high
    assert describe(run, result, None).headline.startswith(
        f"perplexity {result.perplexity:.3f} per character"
    )


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_samples_of_text_are_its_states_and_its_text(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_texts(run, Sample(Path("run"), num=4, steps=3), None, tmp_path, generator())
    states = np.load(tmp_path / "samples.npz")["x"]
    assert states.shape == (4, 8)
    texts = [Letters().decode(row) for row in states]
    assert (tmp_path / "samples.txt").read_text() == "\n----------\n".join(texts) + "\n"
    out = capsys.readouterr().out
    assert out.rstrip().endswith(
        "samples.npz and samples.txt, 4 texts of 8 characters each by 3 steps"
    )
    assert texts[2] in out
    draw_texts(run, Sample(Path("run"), num=2, steps=1), (5, 5), tmp_path, generator())
    assert np.load(tmp_path / "samples.npz")["x"].shape == (2, 5)
    for wrong in ((0, 0), (9, 9), (3, 4)):
        with pytest.raises(UserError, match=r"length must be one number in 1\.\.8 for text"):
            draw_texts(run, Sample(Path("run")), wrong, tmp_path, generator())


def test_gaps_of_a_text_are_drawn_and_the_rest_is_kept(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    infill_text(
        run,
        Infill(Path("run"), text="ab[[2]]c[[1]]d", num=5, steps=2),
        tmp_path / "new" / "infilled.txt",
    )
    designs = (
        (tmp_path / "new" / "infilled.txt").read_text().removesuffix("\n").split("\n----------\n")
    )
    assert len(designs) == 5
    assert len(set(designs)) > 1
    assert all(len(text) == 7 and text[:2] + text[4] + text[6] == "abcd" for text in designs)
    assert "5 designs of 3 of 7 characters by 2 steps" in capsys.readouterr().out
    for options, found in (
        (Infill(Path("run")), "no --text"),
        (Infill(Path("run"), text="a[[1]]", positions="1"), "--positions"),
        (Infill(Path("run"), text="a[[1]]", input=Path("x.fasta")), "--input"),
    ):
        with pytest.raises(
            UserError, match=f"options must give a text for a run of text, got {found};"
        ):
            infill_text(run, options, tmp_path / "infilled.txt")


def test_quality_of_samples_of_text(run: Any, tmp_path: Path) -> None:
    source: Any = TextSource(Chunks(12), Chunks(40))
    np.savez(tmp_path / "samples.npz", x=source.train.x[:5, :7].numpy().astype(np.uint8))
    rows = {row.measure: row for row in text_rows(run, source, "valid", tmp_path / "samples.npz")}
    assert rows["texts"][1:] == (5, 5, 5)
    assert rows["tokens"][1:] == (35, 35, 35)
    assert rows["share of 32-grams found in training text"][1:] == (None, None, None)
    assert rows["entropy of 1-grams (bits)"].samples > 3

"""Scans of all point mutations, names of mutations as HGVS writes them, and other numberings."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scud.cli import main
from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.edits import apply_variant, parse_variant
from scud.errors import UserError
from scud.plots import heat_map, save_figure
from tests.integration.conftest import Command
from tests.unit.sequences import random_fasta

PROTEIN = find_alphabet("protein")
WILD = "ACDEFGHIKL"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on random proteins, and beside it a wild type."""
    folder = tmp_path_factory.mktemp("scan")
    fasta = random_fasta(folder / "proteins.fasta", 40, 8, 20)
    (folder / "wild.fasta").write_text(f">wild\n{WILD}\n")
    options = ["--network.width=8", "--network.layers=1", "--network.hidden=4"]
    options += ["--training.steps=2", "--training.warmup=1", "--training.batch-tokens=300"]
    options += ["--training.validation-repeats=1", "--data.valid-share=0.2", "--device=cpu"]
    files = [f"--data.train={fasta}", "--out", str(folder / "run")]
    assert main(["train", "proteins", *options, *files]) == 0
    return folder / "run"


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_scan_is_all_its_single_scores(scud: Command, run: Path, tmp_path: Path) -> None:
    wild, out = run.parent / "wild.fasta", tmp_path / "scan.csv"
    told = scud("scan", run, "--wild-type", wild, "--repeats=16", "--device=cpu", "--out", out)
    assert told.status == 0, told.err
    scanned = rows_of(out)
    assert len(scanned) == len(WILD) * 19
    assert [row["mutation"] for row in scanned[:2]] == ["A1C", "A1D"]
    assert [scanned[-1][name] for name in ("position", "wild_type", "letter")] == ["10", "L", "Y"]
    with Image.open(tmp_path / "scan.png") as picture:
        assert picture.width > 300
    some = scanned[3::17]
    table = tmp_path / "m.csv"
    table.write_text("mutation\n" + "\n".join(row["mutation"] for row in some) + "\n")
    scores = tmp_path / "scores.csv"
    ours = ("--wild-type", wild, "--mutations", table, "--repeats=16", "--device=cpu")
    assert scud("score", run, *ours, "--out", scores).status == 0
    for one, other in zip(rows_of(scores), some, strict=True):
        assert one["mutation"] == other["mutation"]
        assert float(one["difference"]) == pytest.approx(float(other["difference"]), abs=1e-5)
    again = scud("scan", run, "--wild-type", wild, "--device=cpu", "--out", out)
    assert again.status == 2
    assert "out must not be there already" in again.err


def test_some_positions_alone(scud: Command, run: Path, tmp_path: Path) -> None:
    wild, out = run.parent / "wild.fasta", tmp_path / "scan.csv"
    options = ("--wild-type", wild, "--repeats=16", "--device=cpu", "--positions=2-3,9")
    assert scud("scan", run, *options, "--out", out).status == 0
    assert [row["position"] for row in rows_of(out)[::19]] == ["2", "3", "9"]


def test_silent_variants_and_the_wild_type_score_0(
    scud: Command, run: Path, tmp_path: Path
) -> None:
    """By any numbering, and by any way to write them."""
    table, out = tmp_path / "m.csv", tmp_path / "out.csv"
    table.write_text(
        "mutation\nWT\np.Ala101=\nA101A\np.Cys102Gly\nC102G\np.[Cys102Gly;Leu110Val]\n"
    )
    options = ("--wild-type", run.parent / "wild.fasta", "--mutations", table, "--offset=100")
    told = scud("score", run, *options, "--repeats=16", "--device=cpu", "--out", out)
    assert told.status == 0, told.err
    found = [float(row["difference"]) for row in rows_of(out)]
    assert found[:3] == [0, 0, 0]
    assert found[3] == found[4] != 0
    assert found[5] not in (0, found[3])


def test_ways_to_write_a_variant() -> None:
    same = ["A24G", "p.Ala24Gly", "Ala24Gly", "p.(Ala24Gly)", "p.A24G"]
    assert len({parse_variant(text) for text in same}) == 1
    assert parse_variant("p.[Ala24Gly;Leu30Val]") == parse_variant("A24G:L30V")
    assert parse_variant("wt") == parse_variant("p.=") == ()
    assert [str(mutation) for mutation in parse_variant("p.Leu3=")] == ["L3L"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p.Ala24del", "be a letter, a position and a letter"),
        ("p.Ala24_Gly25insLeu", "be a letter, a position and a letter"),
        ("p.Xaa24Gly", "name one of the twenty amino acids"),
        ("p.Ala24Ter", "name one of the twenty amino acids"),
        ("p.[Ala24Gly;]", "be a letter, a position and a letter"),
    ],
)
def test_what_is_no_substitution_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_variant(text)


def test_positions_by_an_offset() -> None:
    codes = PROTEIN.encode(WILD)
    assert PROTEIN.decode(apply_variant(codes, "A101G", PROTEIN, offset=100)) == "GCDEFGHIKL"
    with pytest.raises(UserError, match=r"have a position in 101\.\.110"):
        apply_variant(codes, "A1G", PROTEIN, offset=100)


def test_bad_input_is_told_in_a_line(scud: Command, run: Path, tmp_path: Path) -> None:
    wild, two = run.parent / "wild.fasta", tmp_path / "two.fasta"
    two.write_text(">a\nACD\n>b\nACD\n")
    refused = {
        (): "wild_type must be given",
        ("--wild-type", two): "hold one sequence, the wild type",
        ("--wild-type", wild, "--positions=0-3"): "positions must lie in 1..10",
        ("--wild-type", wild, "--repeats=0"): "repeats must be at least 1",
        ("--wild-type", wild, "--out", tmp_path / "scan.png"): "out must name a CSV file",
    }
    for options, message in refused.items():
        told = scud("scan", run, *options, "--device=cpu")
        assert told.status == 2
        assert message in told.err
    told = scud("score", run, "--input", wild, "--offset=3", "--device=cpu")
    assert "offset must be given with mutations only" in told.err


def test_a_long_protein_is_drawn_in_rows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values, wild = random.normal(size=(170, 20)), random.integers(0, 20, 170)
    figure = heat_map(values, PROTEIN.letters, np.arange(1, 171), wild, "nats")
    assert len(figure.axes) == 4, "three rows and what colours mean"
    save_figure(figure, tmp_path / "scan.png")

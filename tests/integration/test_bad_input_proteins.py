"""What goes wrong with sequence files and how it is told: exit status 2, the record named, a remedy, no file changed."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.conftest import Command, without


@pytest.fixture
def run(
    scud: Command, small: list[str], proteins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A finished run, runs/old, in the working directory."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "old"
    assert (
        scud("train", "proteins", *small, f"--data.train={proteins}", "--out", folder).status == 0
    )
    return folder


@pytest.fixture
def train(refuse: Callable[..., str], small: list[str], tmp_path: Path) -> Callable[..., str]:
    """Train on a file of these bytes, which must be refused; what was said."""

    def check(content: bytes, *options: object) -> str:
        path = tmp_path / "bad.fasta"
        path.write_bytes(content)
        return refuse("train", "proteins", *small, f"--data.train={path}", "--out=x", *options)

    return check


GOOD = b">one\nACDEFGHIKL\n>two\nMNPQRSTVWY\n"


def test_files_that_are_no_fasta(
    train: Callable[..., str], refuse: Callable[..., str], small: list[str]
) -> None:
    assert "add --data.train FILE" in refuse("train", "proteins", *small, "--out=x")
    assert "nowhere.fasta" in refuse(
        "train", "proteins", *small, "--data.train=nowhere.fasta", "--out=x"
    )
    assert "empty" in train(b"")
    assert "FASTA" in train(b"name,sequence\none,ACDEF\n")
    assert "FASTA" in train(b"ACDEFGH\nACDEFG\n")
    assert "text" in train(b">a\n\x00\x01\x02\x00\xff\xfe" * 50)
    whole = gzip.compress(GOOD * 500)
    assert "gzip" in train(whole[: len(whole) // 2])


def test_records_that_are_not_as_they_should_be(train: Callable[..., str]) -> None:
    for content, letter in (
        (GOOD + b">bad one\nACD-EF\n", "'-'"),
        (GOOD + b">bad\nACD1EF\n", "'1'"),
    ):
        message = train(content)
        assert letter in message
        assert "bad" in message
        assert "record 3" in message
    assert "alignment" in train(GOOD + b">bad\nAC..DEF\n")
    for content in (
        GOOD + b">empty\n",
        GOOD + b">empty\n>next\nACD\n",
        GOOD + b">empty\n\n>next\nACD\n",
    ):
        message = train(content)
        assert "empty" in message
        assert "record 3" in message


def test_windows_line_ends_are_no_mistake(
    scud: Command, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "windows.fasta"
    path.write_bytes(b"".join(b">p%d\r\nACDEFGHIKLMNPQ\r\nrstvwyACDE*\r\n" % i for i in range(30)))
    valid = tmp_path / "valid.fasta"
    valid.write_bytes(GOOD)
    options = [f"--data.train={path}", f"--data.valid={valid}", "--training.steps=1"]
    trained = scud(
        "train",
        "proteins",
        *without(small, "data.valid-share"),
        *options,
        "--out",
        tmp_path / "run",
    )
    assert trained.status == 0, trained.err
    assert "of length 24 to 24" in trained.err


def test_filters_that_leave_nothing(train: Callable[..., str]) -> None:
    nothing = train(GOOD, "--data.min-length=50")
    assert "dropped 2 shorter than 50" in nothing
    assert "dropped 2 longer than 5" in train(GOOD, "--data.max-length=5", "--data.long=drop")
    assert "min_length must lie in [1, 1024], got 2000" in train(GOOD, "--data.min-length=2000")
    one = train(b">a\nACDEF\n", "--data.valid-share=0.000001")
    assert "give a file by --data.valid" in one


def test_alphabets_processes_and_networks_that_do_not_fit(
    train: Callable[..., str],
    refuse: Callable[..., str],
    small: list[str],
    proteins: Path,
    tiny: list[str],
) -> None:
    data = f"--data.train={proteins}"
    dna = b"".join(b">%d\n%s\n" % (n, b"ACGT" * n) for n in range(1, 30))
    assert "be one of protein, dna, rna" in train(GOOD, "--data.alphabet=A")
    assert "blosum62 is for proteins" in train(dna, "--data.alphabet=dna")
    assert "record 1" in train(GOOD, "--data.alphabet=dna", "--process.kind=uniform")
    assert "matrix must be one of BLOSUM45" in refuse(
        "train", "proteins", *small, data, "--process.matrix=BLOSUM61", "--out=x"
    )
    plain = without(small, "network.")
    said = refuse("train", "proteins", *plain, data, "--network.kind=unet", "--out=x")
    assert "must be [channels, height, width] for a U-Net, got rows of different length" in said
    assert "use a ByteNet for rows of positions, or a DiT for any shape" in said
    said = refuse("train", "proteins", *small, data, "--network.kind=unet", "--out=x")
    assert (
        "network.layers must be left out for network.kind unet, got 2; it is an option of bytenet and dit"
        in said
    )
    assert "it is an option of bytenet and dit" in said
    said = refuse("train", "images", *tiny, "--training.infill-share=0.5", "--out=x")
    assert "training.infill_share must be left out for data.kind digits, images and arrays" in said
    assert "it is an option of sequences and text" in said
    said = refuse("train", "proteins", data, "--network.preset=7M", "--out=x")
    assert "network.preset must be one of 1M, 3M, 10M, 40M, 80M, 600M for bytenet, got 7M" in said


def test_commands_on_runs(refuse: Callable[..., str], run: Path, tmp_path: Path) -> None:
    assert "length must be a number or a range" in refuse("sample", run, "--length=short")
    assert "within 1.." in refuse("sample", run, "--length=30-5000")
    assert "within 1.." in refuse("sample", run, "--length=30-20")
    assert "num must be at least 1" in refuse("sample", run, "--num=0")
    assert "span must lie in" in refuse("evaluate", run, "--span=0")
    assert "split must be one of train, valid, got 'test'" in refuse(
        "evaluate", run, "--split=test"
    )
    assert "batch_tokens must be at least 1" in refuse("evaluate", run, "--batch-tokens=0")
    assert "nowhere.fasta" in refuse("evaluate", run, "--samples=nowhere.fasta")
    (tmp_path / "empty.fasta").write_text("")
    assert "empty" in refuse("evaluate", run, f"--samples={tmp_path / 'empty.fasta'}")
    (tmp_path / "proteins.fasta").unlink()
    assert "proteins.fasta" in refuse("evaluate", run)


def test_infilling(refuse: Callable[..., str], run: Path, tmp_path: Path) -> None:
    path = tmp_path / "input.fasta"

    def infill(content: str, *options: object) -> str:
        path.write_text(content)
        return refuse("infill", run, f"--input={path}", *options)

    assert "give --positions 10-25,40" in infill(">a\nACDEF\n")
    assert "lie in 1..5" in infill(">a\nACDEF\n", "--positions=4-6")
    assert "positions" in infill(">a\nACDEF\n", "--positions=3-1")
    assert "positions" in infill(">a\nACDEF\n", "--positions=three")
    assert "'-'" in infill(">a\nAC-EF\n", "--positions=1")
    assert "longest sequence that the model was trained on" in infill(
        f">a\n{'A' * 300}\n", "--positions=1"
    )
    assert "num must be at least 1" in infill(">a\nACDEF\n", "--positions=1", "--num=0")
    assert "steps must be at least 1" in infill(">a\nACDEF\n", "--positions=1", "--steps=0")
    assert "name each record differently" in infill(">a\nACDEF\n>a\nACDEF\n", "--positions=1")


def test_scoring(refuse: Callable[..., str], run: Path, tmp_path: Path) -> None:
    wild, variants = tmp_path / "wild.fasta", tmp_path / "variants.csv"
    wild.write_text(">wild\nACDEF\n")

    def score(text: str) -> str:
        variants.write_text(text)
        return refuse("score", run, f"--wild-type={wild}", f"--mutations={variants}")

    assert "give --input FILE to score sequences" in refuse("score", run)
    assert "only --wild-type" in refuse("score", run, f"--wild-type={wild}")
    assert "ask for one thing" in refuse("score", run, f"--input={wild}", f"--wild-type={wild}")
    wrong = score("mutation\nA1G\nC1G\n")
    assert "variants.csv, line 3: mutation C1G" in wrong
    assert "A" in wrong
    assert "A9G" in score("mutation\nA9G\n")
    assert "A1B" in score("mutation\nA1B\n")
    assert "hello" in score("mutation\nhello\n")
    assert "variants.csv" in score("")
    assert "repeats" in refuse("score", run, f"--input={wild}", "--repeats=0")
    wild.write_text(">one\nACDEF\n>two\nACDEF\n")
    assert "hold one sequence, the wild type" in score("mutation\nA1G\n")
    wild.write_text(f">long\n{'A' * 300}\n")
    assert "longest sequence that the model was trained on" in refuse(
        "score", run, f"--input={wild}"
    )


def test_data_that_have_changed(
    refuse: Callable[..., str], scud: Command, run: Path, proteins: Path
) -> None:
    whole = proteins.read_text()
    proteins.write_text(whole[: whole.rindex(">")])
    changed = "be those that the run was trained on, got another proteins"
    assert changed in refuse("evaluate", run)
    assert changed in refuse("train", run / "config.yaml", "--out", run, "--resume")
    proteins.write_text(whole)
    assert scud("train", run / "config.yaml", "--out", run, "--resume").status == 0


def test_weights_for_other_letters(
    refuse: Callable[..., str], small: list[str], run: Path, tmp_path: Path
) -> None:
    path = tmp_path / "other.fasta"
    path.write_text("".join(f">{n}\n{'VWYTSR' * n}\n" for n in range(1, 30)))
    options = [
        "--data.alphabet=YWVTSRQPNMLKIHGFEDCA",
        "--process.kind=uniform",
        f"--data.train={path}",
        "--out=x",
    ]
    assert "be of sequences of YWVT" in refuse(
        "train", "proteins", *small, *options, f"--init-from={run}"
    )


def test_options_that_exclude_each_other_or_go_too_far(
    refuse: Callable[..., str], small: list[str], run: Path, proteins: Path
) -> None:
    assert "not be given together" in refuse("evaluate", run, "--span=0.2", f"--samples={proteins}")
    sharp = ["--process.sharpness=1000", "--process.normalized=false", "--out=x"]
    assert "sharpness must leave all letters" in refuse(
        "train", "proteins", *small, f"--data.train={proteins}", *sharp
    )
    assert "length must be a number or a range" in refuse("sample", run, "--length=5-")

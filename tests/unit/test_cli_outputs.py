"""Where commands write: places are checked and held before anything is computed, and what was drawn is kept."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scud import Masking
from scud.cli import evaluate, infill, main, sample
from scud.cli.outputs import output_file, output_folder
from scud.data.arrays.modality import Arrays
from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.fasta import read_fasta
from scud.data.sequences.modality import Sequences
from scud.errors import UserError
from scud.runs import Run
from scud.typing import Conditioning

PROTEIN = find_alphabet("protein")


class Law(nn.Module):
    """Predicts the same everywhere; calls `at` before its `call`th prediction."""

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.num_states = num_states
        self.calls, self.call = 0, 0
        self.at: Callable[[], None] = lambda: None

    def forward(self, x_t: Tensor, _: Conditioning) -> Tensor:
        self.calls += 1
        if self.calls == self.call:
            self.at()
        return torch.zeros(*x_t.shape, self.num_states)


def masking(states: int) -> Masking:
    return Masking(states, p0=torch.full((states,), 1 / states, dtype=torch.float64))


@pytest.fixture
def law(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Law:
    """The network of the run that commands find: sequences of 5 to 40 letters."""
    counts = torch.zeros(41, dtype=torch.int64)
    counts[5:] = 1
    modality, network = Sequences(PROTEIN, counts), Law(20)
    made = Run(masking(20), network, modality, (), tmp_path)
    for command in (evaluate, infill, sample):
        monkeypatch.setattr(command, "load_run", lambda *_: made)
    monkeypatch.setattr(infill, "modality_of", lambda _: modality)
    return network


def draw(*options: object) -> int:
    return main(["sample", "run", "--steps=2", *map(str, options)])


def test_samples_are_replaced_only_where_that_is_asked_for(
    law: Law, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "drawn"
    assert draw("--num=3", "--out", out) == 0
    before, calls = (out / "samples.fasta").read_bytes(), law.calls
    capsys.readouterr()
    assert draw("--num=3", "--seed=1", "--out", out) == 2
    assert law.calls == calls, "told before anything is drawn"
    assert "must not be there already" in (told := capsys.readouterr().err)
    assert "add --overwrite to replace it" in told
    assert (out / "samples.fasta").read_bytes() == before
    assert draw("--num=3", "--seed=1", "--out", out, "--overwrite") == 0
    assert (out / "samples.fasta").read_bytes() != before
    assert [path.name for path in out.iterdir()] == ["samples.fasta"]


def test_designs_are_replaced_only_where_that_is_asked_for(law: Law, tmp_path: Path) -> None:
    (tmp_path / "in.fasta").write_text(">a\nAC??FG\n")
    arguments = ["infill", "run", "--input", str(tmp_path / "in.fasta"), "--steps=2", "--num=2"]
    out = tmp_path / "designs.fasta"
    assert main([*arguments, "--out", str(out)]) == 0
    calls = law.calls
    assert main([*arguments, "--out", str(out)]) == 2
    assert law.calls == calls
    assert main([*arguments, "--out", str(out), "--overwrite"]) == 0


def test_an_evaluation_is_written_where_it_is_asked_for(
    law: Law, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "data.fasta"
    data.write_text(">a\nACDEFG\n>b\nACD\n")
    arguments = ["evaluate", str(tmp_path), f"--data={data}", "--repeats=1"]
    assert main([*arguments, "--out", str(tmp_path / "bound.json")]) == 0
    assert json.loads((tmp_path / "bound.json").read_text())["examples"] == 2
    assert not list(tmp_path.glob("evaluation-*"))
    assert main(arguments) == 0
    calls = law.calls
    assert main([*arguments, "--repeats", "1000000000000"]) == 2
    assert main([*arguments, "--out", str(tmp_path / "nowhere" / "bound.json")]) == 2
    assert law.calls == calls
    assert main(arguments) == 0


def test_a_name_with_control_characters_costs_no_design_and_reaches_no_terminal(
    law: Law, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "a\x1b[31m\u2028\x85b"
    (tmp_path / "in.fasta").write_text(f">{name}\nAC??FG\n", encoding="utf-8")
    arguments = ["infill", "run", "--input", str(tmp_path / "in.fasta"), "--steps=2", "--num=1"]
    assert main([*arguments, "--out", str(tmp_path / "designs.fasta")]) == 0
    assert read_fasta(tmp_path / "designs.fasta", PROTEIN)[0].name == f"{name}_design_1"
    printed = capsys.readouterr().out
    assert all(letter.isprintable() or letter == "\n" for letter in printed)
    assert law.calls == 2


@pytest.mark.parametrize(
    ("number", "status", "how"),
    [
        (signal.SIGTERM, 143, "SIGTERM"),
        (signal.SIGHUP, 129, "SIGHUP"),
        (signal.SIGINT, 130, "Ctrl-C"),
    ],
)
def test_what_was_drawn_before_a_signal_is_written(
    law: Law,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
    status: int,
    how: str,
) -> None:
    law.call, law.at = 4, lambda: os.kill(os.getpid(), number)
    before = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)]
    assert draw("--num=1000", "--length=40", "--out", tmp_path / "drawn") == status, how
    assert len(read_fasta(tmp_path / "drawn" / "samples.fasta", PROTEIN)) == 16384 // 40
    printed = capsys.readouterr()
    assert "interrupted after 409 of 1000 sequences" in printed.out
    assert "scud sample: interrupted" in printed.err
    assert [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)] == before


def test_a_signal_before_anything_is_drawn_leaves_nothing(law: Law, tmp_path: Path) -> None:
    law.call, law.at = 1, lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert draw("--num=2", "--out", tmp_path / "drawn") == 143
    assert not (tmp_path / "drawn").exists()


def test_a_request_beyond_the_memory_is_told_in_one_line(
    law: Law, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_much() -> None:
        torch.empty(1 << 60)

    law.call, law.at = 1, too_much
    assert draw("--num=2000", "--out", tmp_path / "drawn") == 2
    assert "scud sample: --num 2000 must fit in the memory there is" in capsys.readouterr().err


def test_other_errors_of_a_network_are_not_hidden(law: Law, tmp_path: Path) -> None:
    def broken() -> None:
        raise RuntimeError("sizes do not match")

    law.call, law.at = 1, broken
    with pytest.raises(RuntimeError, match="sizes do not match"):
        draw("--num=2", "--out", tmp_path / "drawn")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--num", "1000000000000"], "num must lie in [1, 1e+07], got 1000000000000"),
        (["--steps", "1000000000"], "steps must lie in [1, 1e+06], got 1000000000"),
        (["--length", "9" * 5000], "length must have at most 18 digits"),
        (["--length", "1-" + "9" * 5000], "length must have at most 18 digits"),
    ],
)
def test_numbers_beyond_all_use_are_refused_before_anything_is_drawn(
    law: Law, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    assert main(["sample", "run", "--out", str(tmp_path / "drawn"), *options]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told) < 700
    assert law.calls == 0
    assert not (tmp_path / "drawn").exists()


def test_places_that_cannot_be_written_are_told(
    law: Law, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "circle").symlink_to("circle")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for place in ("file", "file/below", "circle", "circle/below", "n" * 300):
        assert draw("--num=1", "--out", tmp_path / place) == 2, place
        for target in (tmp_path / place, tmp_path / place / "x.csv"):
            with pytest.raises(UserError, match="must"), output_file(target, overwrite=False):
                pytest.fail("it was taken for a file to write")
    assert draw("--num=1", "--out=~nobodyofthatname/x") == 2
    assert "home folder that exists" in capsys.readouterr().err
    assert draw("--num=1", "--out", "/proc/none") == 2
    assert law.calls == 0
    assert (tmp_path / "file").read_text() == "mine"


def test_a_tilde_stands_for_the_home_folder(
    law: Law, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert draw("--num=1", "--out=~/drawn é") == 0
    assert law.calls == 2
    assert (tmp_path / "home" / "drawn é" / "samples.fasta").is_file()


def test_pipes_and_folders_are_no_files_to_write(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place, rule in (("pipe", "name a plain file"), ("", "name a file")):
        with (
            pytest.raises(UserError, match=rule),
            output_file(tmp_path / place, overwrite=True),
        ):
            pytest.fail("it was taken for a file to write")


def test_one_place_is_written_by_one_command(tmp_path: Path) -> None:
    with output_folder(tmp_path / "drawn", overwrite=False) as folder:
        with (
            pytest.raises(UserError, match="not be written by another process"),
            output_folder(folder, overwrite=True),
        ):
            pytest.fail("two commands in one folder")
        with output_file(folder / "scores.csv", overwrite=False) as target:
            with (
                pytest.raises(UserError, match="not be written by another process"),
                output_file(target, overwrite=True),
            ):
                pytest.fail("two commands for one file")
            with output_file(folder / "others.csv", overwrite=False):
                target.write_text("mine")
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["scores.csv"]


def test_what_a_killed_command_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = [".samples.npz.123.tmp", ".denoising.gif.9.tmp"]
    for name in (*left, ".others.npz.123.tmp", ".vimrc.tmp"):
        (tmp_path / name).touch()
    with output_folder(tmp_path, overwrite=False):
        pass
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {".others.npz.123.tmp", ".vimrc.tmp"}


def test_samples_of_arrays_are_those_drawn_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than one part of the file, and several batches."""
    network = Law(3)
    made = Run(masking(3), network, Arrays(3, (9, 8)), (), tmp_path)
    monkeypatch.setattr(sample, "load_run", lambda *_: made)
    assert draw("--num=3700", "--seed=3", "--out", tmp_path / "drawn") == 0
    x = np.load(tmp_path / "drawn" / "samples.npz")["x"]
    assert x.dtype == np.uint8
    drawn = made.draw(
        3700,
        sampler=sample.find_sampler(sample.Sample(run=tmp_path, steps=2)),
        generator=torch.Generator().manual_seed(3),
    )
    np.testing.assert_array_equal(x, torch.stack(list(drawn.states)).numpy())

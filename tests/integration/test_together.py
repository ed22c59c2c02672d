"""Commands of several processes: what they find does not depend on how many there are, and one that fails ends all."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scud.samplers import Ancestral
from tests.integration.conftest import Command, names
from tests.unit.sequences import random_fasta

ROOT = Path(__file__).parents[2]


class Failing(Ancestral):
    """Draws in the first process, and fails in the second as the environment says."""

    def trajectory(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        if os.environ.get("LOCAL_RANK") != "1":
            return super().trajectory(*arguments, **options)
        if os.environ["FAILS"] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("no more noise")


def test_two_processes_evaluate_as_one(scud: Command, finished: Path) -> None:
    found = []
    for devices in (1, 2):
        out = finished / f"{devices}.json"
        told = scud(
            "evaluate",
            finished,
            f"--devices={devices}",
            "--batch-size=3",
            "--repeats=3",
            "--device=cpu",
            "--out",
            out,
        )
        assert told.status == 0, told.err
        found.append((out.read_text(), told.out.replace(str(out), "OUT"), told.err))
    assert found[0] == found[1]


@pytest.mark.long
@pytest.mark.parametrize("devices", [2, 3])
def test_several_processes_do_as_one(
    scud: Command, finished: Path, small: list[str], tmp_path: Path, devices: int
) -> None:
    """1,500 images in two batches; sequences in many."""
    fasta, wild, table = tmp_path / "p.fasta", tmp_path / "w.fasta", tmp_path / "m.csv"
    random_fasta(fasta, 60, 8, 40)
    wild.write_text(">w\nACDEFGHIKL\n")
    table.write_text("mutation\nA1C\nA1C:D3E\nA1C:D3G\nC2A:K9L:L10V\nG6A\nF5Y\n")
    run = tmp_path / "run"
    assert scud("train", "proteins", *small, f"--data.train={fasta}", "--out", run).status == 0
    commands = {
        "i.npz": ("sample", finished, "--num=1500", "--steps=2"),
        "p.json": ("evaluate", run, "--batch-tokens=100", "--repeats=2"),
        "spans.json": ("evaluate", run, "--batch-tokens=100", "--repeats=2", "--span=0.3"),
        "s.csv": ("score", run, "--input", fasta, "--repeats=8", "--batch-tokens=400"),
        "v.csv": ("score", run, "--wild-type", wild, "--mutations", table, "--repeats=16"),
        "f.fasta": ("infill", run, "--input", fasta, "--positions=2-5", "--batch-tokens=100"),
    }
    for file, command in commands.items():
        for number in (1, devices):
            out = tmp_path / f"{number}-{file}"
            told = scud(*command, f"--devices={number}", "--device=cpu", "--out", out)
            assert told.status == 0, told.err
        one, several = tmp_path / f"1-{file}", tmp_path / f"{devices}-{file}"
        if one.is_dir():
            assert names(one) == names(several)
            x, y = (np.load(folder / "samples.npz")["x"] for folder in (one, several))
            assert np.array_equal(x, y)
        else:
            assert one.read_bytes() == several.read_bytes(), file


@pytest.mark.long
@pytest.mark.parametrize(
    ("fails", "message"),
    [("killed", "process 1 has ended with -9"), ("raises", "process 1: ValueError: no more noise")],
)
def test_a_process_that_fails_ends_all_and_is_named(
    scud: Command, finished: Path, monkeypatch: pytest.MonkeyPatch, fails: str, message: str
) -> None:
    monkeypatch.setenv("FAILS", fails)
    sampler = "--sampler=tests.integration.test_together:Failing"
    many = ("--num=2000", "--steps=1", "--devices=2", "--device=cpu")
    told = scud("sample", finished, sampler, *many)
    assert told.status == 2
    assert message in told.err
    assert not (finished / "samples").exists()


@pytest.mark.long
def test_a_script_needs_no_guard(finished: Path, tmp_path: Path) -> None:
    """Whether it is a file or comes from standard input, it runs once."""
    options = ["evaluate", str(finished), "--device=cpu", "--devices=2", "--repeats=1", "--out"]
    text = f"from scud.cli import main\nprint('once')\nmain({options!r} + ['{tmp_path}/OUT'])\n"
    script = tmp_path / "script.py"
    script.write_text(text.replace("OUT", "one.json"))
    for arguments, given in (([str(script)], ""), (["-"], text.replace("OUT", "two.json"))):
        done = subprocess.run(
            [sys.executable, *arguments],
            input=given,
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("once") == 1
        assert "Traceback" not in done.stderr
    assert (tmp_path / "one.json").read_text() == (tmp_path / "two.json").read_text()


def test_what_cannot_be_shared_out_is_refused(scud: Command, finished: Path) -> None:
    refused = {
        ("--devices=0",): "devices must be at least 1",
        ("--devices=two",): "",
        ("--devices=2", "--samples", finished / "x.npz"): "devices must be left out with samples",
    }
    for options, message in refused.items():
        told = scud("evaluate", finished, "--device=cpu", *options)
        assert told.status == 2
        assert message in told.err
    assert not list(finished.glob("evaluation*"))

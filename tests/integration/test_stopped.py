"""Signals stop a run after the step at hand, whatever the scheduler; a run may be given more steps."""

import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from scud.training import callbacks, checkpoint
from tests.integration.conftest import STEPS, Command, names, resume
from tests.integration.test_resume import rows, same_model

SLURM = {
    "SLURM_JOB_ID": "4242",
    "SLURM_JOB_NAME": "train",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODELIST": "node1",
}


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGXCPU"])
def test_signals_stop_after_the_step_at_hand_whatever_the_scheduler(
    scud: Command,
    tiny: list[str],
    tmp_path: Path,
    finished: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    for variable, value in SLURM.items():
        monkeypatch.setenv(variable, value)
    run, record = tmp_path / "run", callbacks.Journal._record

    def then_stop(*arguments: Any) -> Any:
        row = record(*arguments)
        if row.step == 3:
            signal.raise_signal(number)
        return row

    with monkeypatch.context() as patch:
        patch.setattr(callbacks.Journal, "_record", then_stop)
        stopped = scud("train", "images", *tiny, *STEPS, "--out", run)
    assert stopped.status == 128 + number
    assert f"continue with: scud train {run}/config.yaml --out {run} --resume" in stopped.err
    assert checkpoint.read(run / "checkpoints" / "last.ckpt").step == 3
    assert signal.getsignal(number) == before
    torch.save({"state_dict": {}}, run / "hpc_ckpt_1.ckpt")  # as version 0.1.0 left one
    assert resume(scud, run).status == 0
    assert rows(run) == rows(finished)
    assert same_model(run, finished)
    assert names(run) == {*names(finished), "hpc_ckpt_1.ckpt"}


def test_a_signal_that_is_ignored_stays_ignored(
    scud: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    record = callbacks.Journal._record

    def then_hang_up(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGHUP)
        return record(*arguments)

    monkeypatch.setattr(callbacks.Journal, "_record", then_hang_up)
    try:
        assert scud("train", "images", *tiny, *STEPS, "--out", tmp_path / "run").status == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_may_get_more_steps_where_its_learning_rates_allow(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    flat = [*tiny, "--training.decay=constant", "--training.validate-every=2"]
    long, grown = tmp_path / "long", tmp_path / "grown"
    assert scud("train", "images", *flat, "--training.steps=6", "--out", long).status == 0
    assert scud("train", "images", *flat, "--training.steps=4", "--out", grown).status == 0
    more = ["train", grown / "config.yaml", "--out", grown, "--resume", "--training.steps=6"]
    assert scud(*more).status == 0
    assert rows(grown) == rows(long)
    assert same_model(grown, long)
    assert (grown / "config.yaml").read_bytes() == (long / "config.yaml").read_bytes()
    fewer = scud(*more[:-1], "--training.steps=5")
    assert fewer.status == 2
    assert "training.steps of a resumed run must be 6 as before" in fewer.err


def test_a_cosine_of_other_steps_is_another_run(scud: Command, finished: Path) -> None:
    outcome = scud(
        "train", finished / "config.yaml", "--out", finished, "--resume", "--training.steps=6"
    )
    assert outcome.status == 2
    assert "or more where training.decay is constant, got 6" in outcome.err

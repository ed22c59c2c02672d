"""Training whose batches a thread prepares is the training without it; however it ends, the thread ends too."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from scud.data import Examples
from scud.errors import UserError
from scud.training import module
from scud.training.ahead import Ahead
from scud.typing import Batch
from tests.integration.conftest import Command
from tests.integration.test_resume import crash, rows, same_model

PLAIN = module.ahead


@pytest.fixture(autouse=True)
def by_a_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Ahead]]:
    """Let a thread prepare the batches on a CPU too; all that prepared any."""
    made: list[Ahead] = []

    def by_thread(portions: module.Stream, device: torch.device) -> Ahead:
        made.append(Ahead(portions, device))
        return made[-1]

    monkeypatch.setattr(module, "ahead", by_thread)
    yield made
    assert not [part for part in threading.enumerate() if part.name.startswith("scud-batches")]


def test_a_run_is_the_same_and_goes_on_bit_for_bit(
    scud: Command,
    tiny: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by_a_thread: list[Ahead],
    stop_after: Callable[[int, Callable[[], None]], None],
) -> None:
    run, plain = tmp_path / "run", tmp_path / "plain"
    options = [*tiny, "--training.accumulate=3"]
    stop_after(3, lambda: signal.raise_signal(signal.SIGTERM))
    assert scud("train", "images", *options, "--out", run).status == 128 + signal.SIGTERM
    stop_after(6, crash)
    with pytest.raises(RuntimeError, match="power cut"):
        scud("train", "images", *options, "--out", run, "--resume")
    assert scud("train", "images", *options, "--out", run, "--resume").status == 0
    assert len(by_a_thread) == 3
    monkeypatch.setattr(module, "ahead", PLAIN)
    assert scud("train", "images", *options, "--out", plain).status == 0
    assert rows(run) == rows(plain)
    assert same_model(run, plain)


def test_an_error_of_the_data_is_told_in_one_line(
    scud: Command, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = Examples.batch

    def batch(examples: Examples, index: torch.Tensor) -> Batch:
        if threading.current_thread() is not threading.main_thread():
            raise UserError("the data must be there, got nothing; bring them back")
        return taken(examples, index)

    monkeypatch.setattr(Examples, "batch", batch)
    outcome = scud("train", "images", *tiny, "--out", tmp_path / "run")
    assert outcome.status == 2
    assert outcome.err.splitlines()[-1] == (
        "scud train: the data must be there, got nothing; bring them back"
    )

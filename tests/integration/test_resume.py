"""A run that stops and is resumed is the run that never stopped, bit for bit."""

import dataclasses
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scud.training import metrics
from tests.integration.conftest import Command


def rows(run: Path) -> list[metrics.Metrics]:
    """All metrics but the time they took."""
    return [dataclasses.replace(row, seconds=0.0) for row in metrics.read(run / "metrics.csv")]


def same_model(run: Path, other: Path) -> bool:
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (run, other))
    return ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)


def crash() -> None:
    raise RuntimeError("power cut")


@pytest.mark.parametrize(
    ("recipe", "accumulate"),
    [pytest.param("images", 1, marks=pytest.mark.long), ("images", 3), ("proteins", 2)],
)
def test_interrupted_runs_continue_bit_for_bit(
    scud: Command,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    stop_after: Callable[[int, Callable[[], None]], None],
    recipe: str,
    accumulate: int,
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = [
        f"--training.accumulate={accumulate}",
        "--training.steps=12",
        "--training.validate-every=4",
    ]
    if recipe == "images":
        options = [*request.getfixturevalue("tiny"), *options]
    else:
        data = f"--data.train={request.getfixturevalue('proteins')}"
        options = [*request.getfixturevalue("small"), *options, data, "--training.infill-share=0.5"]
    assert scud("train", recipe, *options, "--out", whole).status == 0
    assert len(rows(whole)) == 12

    stop_after(3, lambda: signal.raise_signal(signal.SIGINT))
    stopped = scud("train", recipe, *options, "--out", broken)
    assert stopped.status == 130
    assert f"scud train {broken}/config.yaml --out {broken} --resume" in stopped.err
    assert [row.step for row in rows(broken)] == [1, 2, 3]
    assert torch.load(broken / "checkpoints" / "last.ckpt", weights_only=True)["step"] == 3

    stop_after(4, lambda: signal.raise_signal(signal.SIGINT))
    assert scud("train", broken / "config.yaml", "--out", broken, "--resume").status == 130

    stop_after(10, crash)
    with pytest.raises(RuntimeError, match="power cut"):
        scud("train", broken / "config.yaml", "--out", broken, "--resume")
    assert rows(broken)[-1].step == 10

    assert scud("train", recipe, *options, "--out", broken, "--resume").status == 0
    assert rows(broken) == rows(whole)
    assert same_model(broken, whole)
    final = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (whole, broken)
    ]
    assert all(
        final[0]["network"][name].equal(final[1]["network"][name]) for name in final[0]["network"]
    )


def test_the_saved_configuration_reproduces_the_run(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    assert scud("train", "images", *tiny, "--out", first, "--seed", 7).status == 0
    assert scud("train", first / "config.yaml", "--out", again).status == 0
    assert rows(first) == rows(again)
    assert same_model(first, again)
    assert (first / "config.yaml").read_bytes() == (again / "config.yaml").read_bytes()
    assert scud("train", first / "config.yaml", "--out", other, "--seed", 8).status == 0
    assert rows(first) != rows(other)


def test_resuming_a_finished_run_changes_nothing(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    first = scud("train", "images", *tiny, "--out", run)
    before = rows(run)
    again = scud("train", "images", *tiny, "--out", run, "--resume")
    assert again.status == 0
    assert again.last_line == first.last_line
    assert rows(run) == before


def test_training_leaves_the_global_random_state_alone(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(1)
    state, handler = torch.get_rng_state(), signal.getsignal(signal.SIGINT)
    assert scud("train", "images", *tiny, "--out", tmp_path / "run").status == 0
    assert state.equal(torch.get_rng_state())
    assert signal.getsignal(signal.SIGINT) is handler

"""A checkpoint that is not as it was written is refused, in one line."""

import math
from pathlib import Path

import pytest
import torch

from scud.errors import UserError
from scud.training import checkpoint
from scud.training.files import RunFolder
from tests.integration.conftest import Command, resume

ENTRIES: dict[str, object] = {
    "step": "4",
    "network": [1],
    "average": {"a": 1},
    "optimizer": {"state": {0: {"step": 1}}, "param_groups": []},
    "best": None,
    "seconds": "x",
    "p0": torch.ones(2, 2),
    "process": [],
    "labels": "ab",
    "label_counts": [0.5],
    "digests": {"train": 3},
    "row": {"step": 1},
    "average of sparse tensors": {"average": torch.ones(2, 2).to_sparse()},
    "further": 1,
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_checkpoint_with_an_entry_of_the_wrong_kind_is_refused(
    scud: Command, finished: Path, entry: str
) -> None:
    last = RunFolder(finished).last
    name = entry.split()[0]
    torch.save(torch.load(last, weights_only=True) | {name: ENTRIES[entry]}, last)
    outcome = resume(scud, finished)
    assert outcome.status == 2
    assert "checkpoint must" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_moments_that_share_their_memory_are_given_their_own(
    scud: Command, tiny: list[str], tmp_path: Path
) -> None:
    """AdamW's fused step would read and write beyond it."""
    flat = [*tiny, "--training.decay=constant", "--training.validate-every=2"]
    run = tmp_path / "run"
    assert scud("train", "images", *flat, "--training.steps=2", "--out", run).status == 0
    last = RunFolder(run).last
    content = torch.load(last, weights_only=True)
    for moments in content["optimizer"]["state"].values():
        for name in ("exp_avg", "exp_avg_sq"):
            moments[name] = torch.zeros(()).expand(moments[name].shape)
    torch.save(content, last)
    more = ["--out", run, "--resume", "--training.steps=4"]
    assert scud("train", run / "config.yaml", *more).status == 0


def test_a_checkpoint_that_is_nested_deeply_is_refused(finished: Path) -> None:
    last = RunFolder(finished).last
    deep: object = 1
    for _ in range(200):
        deep = [deep]
    torch.save(torch.load(last, weights_only=True) | {"process": {"rates": deep}}, last)
    with pytest.raises(UserError, match="nested deeply"):
        checkpoint.read(last)


def test_a_flipped_bit_of_a_checkpoint_is_named(finished: Path) -> None:
    last = RunFolder(finished).last
    state, content = checkpoint.read(last), last.read_bytes()
    weights = next(iter(state.network.values())).numpy().tobytes()
    damaged = bytearray(content)
    damaged[content.index(weights)] ^= 4
    last.write_bytes(damaged)
    with pytest.raises(UserError, match=r"the checksum of .* differs"):
        checkpoint.read(last)


def test_a_checkpoint_that_is_not_finite_is_not_gone_on_from(scud: Command, finished: Path) -> None:
    last = RunFolder(finished).last
    state = torch.load(last, weights_only=True)
    next(iter(state["average"].values())).fill_(math.nan)
    torch.save(state, last)
    outcome = resume(scud, finished)
    assert outcome.status == 2
    assert "NaN or infinity" in outcome.err

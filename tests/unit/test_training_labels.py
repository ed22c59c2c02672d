"""Training hands labels to networks that read them, and withholds them from a share of examples."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from scud.training.settings import TrainingConfig
from torch import Tensor, nn

from scud import Masking
from scud.data import Examples
from scud.errors import UserError
from scud.networks import UNet
from scud.seeds import Use, seeded
from scud.training.module import DiffusionTraining, label_dropout
from scud.training.stream import Portion, Stream, withhold
from scud.typing import Conditioning

COUNT, DIMS = 30, (1, 2, 2)
STATES = torch.randint(3, (COUNT, *DIMS), generator=torch.Generator().manual_seed(0))
EXAMPLES = Examples(STATES.to(torch.uint8), torch.arange(COUNT))


class Settings(TrainingConfig):
    """Settings of training with the option that is tested."""

    label_dropout: float | None = None


def portions(
    label_dropout: float, first: int = 0, ranks: int = 1, accumulate: int = 1, steps: int = 20
) -> list[Portion]:
    settings = TrainingConfig(batch_size=24, steps=steps, accumulate=accumulate)
    made: list[Portion] = []
    for rank in range(ranks):
        place = {"rank": rank, "ranks": ranks}
        made += Stream(EXAMPLES, settings, 3, first, **place, label_dropout=label_dropout)
    return made


def labels(portion: Portion) -> Tensor:
    assert portion.batch.label is not None
    return portion.batch.label


def test_a_share_of_labels_is_withheld_and_nothing_else_changes() -> None:
    """Over 480 examples the number withheld is within 6 deviations of 144 (false alarm 2e-9)."""
    withheld = 0
    for ours, plain in zip(portions(0.3), portions(0.0), strict=True):
        assert ours.batch.x0.equal(plain.batch.x0)
        assert ours.u.equal(plain.u)
        gone = labels(ours) == -1
        assert labels(ours)[~gone].equal(labels(plain)[~gone])
        withheld += int(gone.sum())
    assert abs(withheld - 144) < 61


@pytest.mark.parametrize(("accumulate", "ranks"), [(4, 1), (1, 3), (2, 3)])
def test_ranks_and_accumulation_steps_withhold_the_same(accumulate: int, ranks: int) -> None:
    (whole,) = portions(0.5, 5, steps=6)
    parts = portions(0.5, 5, ranks, accumulate, steps=6)

    def told(part: Portion) -> list[tuple[float, int]]:
        return list(zip(part.u.tolist(), labels(part).tolist(), strict=True))

    assert sorted(pair for part in parts for pair in told(part)) == sorted(told(whole))


def test_a_step_withholds_the_same_wherever_training_started() -> None:
    for ours, theirs in zip(portions(0.5, 17), portions(0.5)[17:], strict=True):
        assert labels(ours).equal(labels(theirs))


def test_all_labels_of_an_example_are_withheld_together() -> None:
    several = torch.arange(200).reshape(100, 2)
    gone = withhold(several, 0.5, seeded(0, Use.LABELS, 0)) == -1
    assert gone[:, 0].equal(gone[:, 1])
    assert 20 < int(gone[:, 0].sum()) < 80


def network(num_labels: int) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(3, DIMS, width=8, blocks=1, levels=1, num_labels=num_labels)


def training(num_labels: int, share: float | None = None) -> DiffusionTraining:
    model = Masking(3, p0=torch.full((3,), 1 / 3, dtype=torch.float64))
    return DiffusionTraining(model, network(num_labels), EXAMPLES, Settings(label_dropout=share), 0)


@pytest.mark.parametrize(
    ("num_labels", "given", "expected"),
    [(0, None, 0.0), (30, None, 0.1), (30, 0.0, 0.0), (30, 0.4, 0.4)],
)
def test_how_many_are_withheld(num_labels: int, given: float | None, expected: float) -> None:
    assert training(num_labels, given).label_dropout == expected
    usual = 0.1 if num_labels else 0.0
    assert label_dropout(TrainingConfig(), reads_labels=num_labels > 0) == usual


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_none_can_be_withheld_from_a_network_that_reads_none(share: float) -> None:
    message = r"training\.label_dropout must be left out: .*--network\.labels true"
    with pytest.raises(UserError, match=message):
        training(0, share)


@pytest.mark.parametrize("num_labels", [0, 30])
def test_a_step_hands_labels_to_networks_that_read_them(num_labels: int) -> None:
    module = training(num_labels)
    (portion,) = portions(0.2, steps=1)
    portion = replace(portion, last=False)
    handed: list[Tensor | None] = []

    def note(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        conditioning = arguments[1]
        assert isinstance(conditioning, Conditioning)
        handed.append(conditioning.label)

    module.network.register_forward_pre_hook(note)
    with torch.random.fork_rng():
        module.training_step(portion, 0).backward()
    (label,) = handed
    if num_labels:
        assert label is not None
        assert label.equal(labels(portion))
    else:
        assert label is None

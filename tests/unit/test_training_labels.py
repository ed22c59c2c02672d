"""Training hands labels to networks that read them, and withholds them from a share of examples."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from scud import Masking
from scud.data import Examples
from scud.errors import UserError
from scud.networks import UNet
from scud.training.job import Job
from scud.training.module import DiffusionTraining
from scud.training.options import ByExamples
from scud.training.stream import Portion, Stream, without_labels
from scud.typing import Conditioning

COUNT, DIMS = 30, (1, 2, 2)
STATES = torch.randint(3, (COUNT, *DIMS), generator=torch.Generator().manual_seed(0))
EXAMPLES = Examples(STATES.to(torch.uint8), torch.arange(COUNT))


MODEL = Masking(3, p0=torch.full((3,), 1 / 3, dtype=torch.float64))


def portions(
    label_dropout: float, first: int = 0, ranks: int = 1, accumulate: int = 1, steps: int = 20
) -> list[Portion]:
    settings = ByExamples(
        batch_size=24, steps=steps, accumulate=accumulate, label_dropout=label_dropout
    )
    job = Job(MODEL, network(COUNT), EXAMPLES, EXAMPLES, settings, seed=3)
    return [
        portion for rank in range(ranks) for portion in Stream(job, first, rank=rank, ranks=ranks)
    ]


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
    withheld = torch.arange(100) % 3 == 0
    told = without_labels(several, withheld)
    assert (told == -1).equal(withheld[:, None].expand(100, 2))
    assert told[~withheld].equal(several[~withheld])
    examples = Examples(STATES.to(torch.uint8), torch.arange(2 * COUNT).reshape(COUNT, 2))
    job = Job(
        MODEL,
        network(2 * COUNT),
        examples,
        examples,
        ByExamples(batch_size=24, steps=5, label_dropout=0.5),
    )
    gone = torch.cat([labels(portion) == -1 for portion in Stream(job, 0)])
    assert gone[:, 0].equal(gone[:, 1])
    assert 24 < int(gone[:, 0].sum()) < 96


def test_labels_of_a_network_that_reads_none_are_never_withheld() -> None:
    job = Job(MODEL, network(0), EXAMPLES, EXAMPLES, ByExamples(batch_size=24, steps=3))
    assert all(bool((labels(portion) >= 0).all()) for portion in Stream(job, 0))


def network(num_labels: int) -> UNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return UNet(3, DIMS, width=8, blocks=1, levels=1, num_labels=num_labels)


def job(num_labels: int, share: float | None = None) -> Job:
    return Job(MODEL, network(num_labels), EXAMPLES, EXAMPLES, ByExamples(label_dropout=share))


@pytest.mark.parametrize(
    ("num_labels", "given", "expected"),
    [(0, None, 0.0), (30, None, 0.1), (30, 0.0, 0.0), (30, 0.4, 0.4)],
)
def test_how_many_are_withheld(num_labels: int, given: float | None, expected: float) -> None:
    assert job(num_labels, given).label_dropout == expected


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_none_can_be_withheld_from_a_network_that_reads_none(share: float) -> None:
    message = r"training\.label_dropout must be left out for a network that reads no labels.*--network\.labels true"
    with pytest.raises(UserError, match=message):
        job(0, share)


@pytest.mark.parametrize("num_labels", [0, 30])
def test_a_step_hands_labels_to_networks_that_read_them(num_labels: int) -> None:
    module = DiffusionTraining(job(num_labels))
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

"""Work that several processes share out: together they find, bit for bit, what one finds."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scud import Masking
from scud.data import Examples
from scud.evaluation import evaluate
from scud.evaluation.scores import score, score_variants
from scud.ranks import Ranks
from scud.samplers import Ancestral, draw
from scud.typing import Conditioning

P0 = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
MODEL = Masking(3, p0=P0)
X = torch.randint(3, (23, 5), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
WILD = np.array([0, 1, 2, 0, 1], dtype=np.uint8)


class Counting(nn.Module):
    """Predicts by what it sees, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        self.calls += 1
        seen = nn.functional.one_hot(x_t.long().clamp(max=2), 3).float()
        return (seen + 0.3 * seen.roll(1, 1)) * conditioning.t.float().reshape(-1, 1, 1)


@dataclass(frozen=True)
class Alone(Ranks):
    """One of several processes, without the others: what it would add to theirs is noted."""

    added: list[Tensor] = field(default_factory=list)

    def sum(self, found: Tensor) -> Tensor:
        self.added.append(found.clone())
        return found


def bound(ranks: Ranks, network: nn.Module) -> None:
    evaluate(MODEL, network, Examples(X), repeats=3, batch_size=5, ranks=ranks)


def scores(ranks: Ranks, network: nn.Module) -> None:
    score(MODEL, network, list(X.numpy()), repeats=8, tokens=160, ranks=ranks)


def variants(ranks: Ranks, network: nn.Module) -> None:
    """Of one, two and three mutations, some of which they share."""
    changes = ({1: 0}, {1: 0, 3: 2}, {1: 0, 3: 1, 4: 2}, {1: 0, 4: 2}, {0: 1}, {0: 2}, {})
    changed = [WILD.copy() for _ in changes]
    for codes, states in zip(changed, changes, strict=True):
        codes[list(states)] = list(states.values())
    score_variants(MODEL, network, WILD, changed, repeats=16, ranks=ranks)


def samples(ranks: Ranks, network: nn.Module) -> None:
    work = [torch.zeros(length, dtype=torch.int64) for length in (3, 9, 4, 6, 6, 2, 8, 5, 1, 7, 9)]
    source = torch.Generator().manual_seed(3)
    draw(Ancestral(steps=2), MODEL, network, work, positions=12, generator=source, ranks=ranks)


WORK: dict[str, Callable[[Ranks, nn.Module], None]] = {
    "bound": bound,
    "scores": scores,
    "variants": variants,
    "samples": samples,
}


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("count", [2, 3, 40])
def test_together_processes_find_what_one_finds(name: str, count: int) -> None:
    one, whole = Alone(), Counting()
    WORK[name](one, whole)
    parts = [Alone(count, rank=rank) for rank in range(count)]
    networks = [Counting() for _ in parts]
    for part, network in zip(parts, networks, strict=True):
        WORK[name](part, network)
    for number, found in enumerate(one.added):
        total = torch.stack([part.added[number] for part in parts]).sum(0)
        assert torch.equal(total, found)
        assert bool(found.any())
    calls = [network.calls for network in networks]
    assert sum(calls) == whole.calls if name != "variants" else sum(calls) >= whole.calls
    assert max(calls) < whole.calls, "each does a share"


@pytest.mark.parametrize("name", ["bound", "scores"])
def test_where_processes_hold_a_network_together_all_ask_it_equally_often(name: str) -> None:
    """Those without a batch at the end repeat one that counts for nothing."""
    one = Alone()
    WORK[name](one, Counting())
    parts = [Alone(4, rank=rank, in_step=True) for rank in range(4)]
    networks = [Counting() for _ in parts]
    for part, network in zip(parts, networks, strict=True):
        WORK[name](part, network)
    assert len({network.calls for network in networks}) == 1
    assert torch.equal(torch.stack([part.added[0] for part in parts]).sum(0), one.added[0])


def test_parts_are_dealt_out_in_turn() -> None:
    shares = [list(Ranks(3, rank=rank).share("abcde")) for rank in range(3)]
    assert [[part for part, counts in share if counts] for share in shares] == [
        ["a", "d"],
        ["b", "e"],
        ["c"],
    ]
    in_step = [list(Ranks(3, rank=rank, in_step=True).share("abcde")) for rank in range(3)]
    assert in_step[:2] == shares[:2]
    assert in_step[2] == [("c", True), ("e", False)]
    assert list(Ranks(3, in_step=True).share("")) == []
    assert list(Ranks(2, rank=1, in_step=True).share("abcd")) == [("b", True), ("d", True)]

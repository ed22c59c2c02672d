"""The law of the sampler with a grid of a few steps, by enumeration in float64: what it draws exactly, not only in the limit.

Two positions, each in one of a few states of its own ((s, x) for SCUD, x for the others). A step moves both, each by the law
predicted from where the other one was: so the joint law goes from one time to the next by two stacks of transitions, one for
each position, [where the other was, from, to]. What the library draws is compared with this chain, and the end of this chain, as
the grid refines, with the exact reversal. Laws are given at every time of the grid, [A, A] over classes of what is seen at each
position, of which the first B are the clean states.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from scud import SCUD, Classical, Masking
from tests.theory.oracle import poisson

Transitions = tuple[Tensor, Tensor]
COUNTED = 2
"""Counts from this on are one class."""


def predictions(joint: Tensor, likelihood: Tensor) -> Transitions:
    """p(x0 at a position | what is seen at the other) for likelihood [A, B] of what is seen: two of [A, B]."""
    first, second = likelihood @ joint.T, likelihood @ joint
    return normalised(first), normalised(second)


def walk(law: Tensor, steps: Iterator[Transitions]) -> list[Tensor]:
    """The joint law [A, A] before the first step and after every step."""
    laws = [law]
    for first, second in steps:
        moved = law.unsqueeze(1) * first.permute(
            1, 2, 0
        )  # [from, to, other], `other` being where the second was
        law = torch.bmm(moved, second).sum(0)
        laws.append(law)
    return laws


def normalised(weights: Tensor) -> Tensor:
    """Along the last axis; what has no weight at all cannot be reached, and stays without."""
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-300)


def of_events(
    model: SCUD, joint: Tensor, table: Tensor, grid: Tensor, known: int | None
) -> list[Tensor]:
    """Laws of what SCUD draws, with the powers of its jump kernel [S, B, B]; `known` is kept at the first position.

    The class of a position is min(s, COUNTED) * B + x.
    """
    most, size = table.shape[0], table.shape[1]
    tau = model.schedule.tau(grid)
    start = (poisson(model.rate * tau[0], most - 1).unsqueeze(1) * (model.p0 @ table)).flatten()
    first = start if known is None else torch.eye(len(start), dtype=torch.float64)[known]
    s, after = torch.arange(most).unsqueeze(1), torch.arange(most)
    undone = (
        table[(s - after).clamp_min(0)] * (s >= after)[..., None, None]
    )  # K^(s - n)[y, x], [s, n, y, x]
    fixed = []
    for p in predictions(joint, table.mT.reshape(-1, size)):
        before = torch.einsum("ab,nby->any", p, table)
        fixed.append(normalised(torch.einsum("any,snyx->asxny", before, undone)))

    def steps() -> Iterator[Transitions]:
        for now, end in itertools.pairwise(tau):
            kept = end / now
            chance = (
                (s + 1.0).lgamma()
                - (after + 1.0).lgamma()
                - ((s - after).clamp_min(0) + 1.0).lgamma()
            )
            chance = (
                chance
                + torch.xlogy(after.double(), kept)
                + torch.xlogy((s - after).clamp_min(0), 1 - kept)
            )
            chance = (chance.exp() * (s >= after))[:, None, :, None]
            yield tuple((moves * chance).reshape(len(start), len(start), -1) for moves in fixed)

    place = after.clamp_max(COUNTED).unsqueeze(1) * size + torch.arange(size)
    member = torch.eye((COUNTED + 1) * size, dtype=torch.float64)[place.flatten()]
    return [member.T @ law @ member for law in walk(torch.outer(first, start), steps())]


def of_time(
    model: Classical, joint: Tensor, generator: Tensor, grid: Tensor, known: int | None
) -> list[Tensor]:
    """Laws of what the classical model draws, by states; `known` is kept at the first position."""
    identity = torch.eye(len(generator), dtype=torch.float64)
    tau = model.schedule.tau(grid)
    start = model.p0 @ torch.linalg.matrix_exp(tau[0] * generator)
    first = start if known is None else identity[known]

    def steps() -> Iterator[Transitions]:
        for now, end in itertools.pairwise(tau):
            seen, past, recent = (
                torch.linalg.matrix_exp(amount * generator) for amount in (now, end, now - end)
            )
            ends = predictions(joint, seen.T)
            moves = [normalised((p @ past).unsqueeze(1) * recent.T) for p in ends]
            if (
                known is not None
            ):  # a position that is known has had no noise: it stays, and tells all
                moves = [
                    identity.expand_as(moves[0]),
                    normalised((predictions(joint, identity)[1] @ past)[:, None] * recent.T),
                ]
            yield moves[0], moves[1]

    return walk(torch.outer(first, start), steps())


def of_masking(model: Masking, joint: Tensor, grid: Tensor, known: int | None) -> list[Tensor]:
    """Laws of what masking draws, by states; the last of B + 1 states is the mask, `known` is kept at the first position."""
    size = len(joint)
    identity = torch.eye(size + 1, dtype=torch.float64)
    masked = -(-model.schedule.tau(grid)).expm1()
    start = torch.cat([(1 - masked[0]) * model.p0, masked[:1]])
    first = start if known is None else identity[known]
    ends = predictions(
        joint, torch.cat([identity[:size, :size], torch.ones(1, size, dtype=torch.float64)])
    )

    def steps() -> Iterator[Transitions]:
        for now, end in itertools.pairwise(masked):
            moves = [identity.repeat(size + 1, 1, 1) for _ in ends]
            for p, move in zip(ends, moves, strict=True):
                move[:, size] = torch.cat([(1 - end / now) * p, (end / now).expand(size + 1, 1)], 1)
            yield moves[0], moves[1]

    return walk(torch.outer(first, start), steps())

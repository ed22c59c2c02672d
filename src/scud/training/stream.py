"""Batches of training examples as a function of (seed, step).

A plan says which examples a step takes; the stream adds one systematic sample of times, u [batch], which positions are kept
clean, and which images are mirrored. Ranks and accumulation steps each take every n-th example: together they see exactly the
batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scud.numerics import stratified_uniform
from scud.seeds import Use, seeded
from scud.training.infilling import draw_known
from scud.training.settings import TrainingConfig
from scud.typing import Batch, BatchSize, ExampleSet, Order


@dataclass(frozen=True)
class Portion:
    """What one rank sees in one accumulation step.

    Attributes:
        step: optimiser steps before this one.
        part: which part of the batch this is, counted over ranks and accumulation steps.
        last: whether the optimiser steps after it.
        batch: the examples.
        u: [batch] in [0, 1), the quantiles of t they are noised at.
        known: [batch, *dims], True where an example is kept clean, or None.
        positions: the whole batch's positions that count, over the number of parts: what a part's nats are divided by, so
            that the mean over parts is nats per position of the whole batch.
    """

    step: int
    part: int
    last: bool
    batch: Batch
    u: Tensor
    known: Tensor | None
    positions: float


def plan(examples: ExampleSet, settings: TrainingConfig, seed: int, ranks: int = 1) -> Order:
    """Which examples every step of a training run on `ranks` devices takes.

    Raises:
        UserError: batch_size is not divisible by accumulate * ranks.
    """
    size = BatchSize(settings.batch_size, settings.batch_tokens)
    return examples.order(size, seed, settings.accumulate * ranks)


class Stream:
    """Portions of the steps first, …, settings.steps - 1 for one rank, in order.

    Args:
        examples: the training split.
        settings: batch, accumulation and infilling.
        seed: what order, times and known positions derive from.
        first: the step to begin with.
        rank, ranks: this process, and how many there are.

    Raises:
        UserError: as in `plan`.
    """

    def __init__(
        self,
        examples: ExampleSet,
        settings: TrainingConfig,
        seed: int,
        first: int,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.plan = plan(examples, settings, seed, ranks)
        self.examples, self.settings, self.seed = examples, settings, seed
        self.first, self.rank, self.ranks = first, rank, ranks

    def __iter__(self) -> Iterator[Portion]:
        accumulate = self.settings.accumulate
        parts = accumulate * self.ranks
        for step in range(self.first, self.settings.steps):
            batch = self.examples.batch(self.plan.examples(step))
            if self.settings.flips:
                batch = replace(batch, x0=mirror_half(batch.x0, seeded(self.seed, Use.FLIPS, step)))
            u = stratified_uniform(len(batch.x0), seeded(self.seed, Use.TIMES, step))
            known, counted = None, batch.mask
            if self.settings.infill_share:
                real = torch.ones_like(batch.x0, dtype=torch.bool) if batch.mask is None else batch.mask
                known = draw_known(real, self.settings.infill_share, seeded(self.seed, Use.KNOWN, step))
                counted = real & ~known
            positions = (batch.x0.numel() if counted is None else int(counted.sum())) / parts
            for micro in range(accumulate):
                part = self.rank * accumulate + micro
                mine = slice(part, None, parts)
                label, mask = (None if held is None else held[mine] for held in (batch.label, batch.mask))
                share = Batch(batch.x0[mine], mask, label)
                kept = None if known is None else known[mine]
                yield Portion(step, part, micro == accumulate - 1, share, u[mine], kept, positions)


def mirror_half(x0: Tensor, generator: torch.Generator) -> Tensor:
    """Images [batch, channels, height, width], each mirrored left to right with probability 1/2."""
    mirrored = torch.rand(len(x0), generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], x0.flip(-1), x0)

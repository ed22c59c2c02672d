"""Batches of training examples as a function of (seed, step).

A plan says which examples a step takes; the stream adds one systematic sample of times, u [batch],
which positions are kept clean, which images are mirrored, and whose labels are withheld. Ranks and
accumulation steps each take every n-th example: together they see exactly the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from scud.data import LikeLengths, SequenceSet
from scud.errors import fail
from scud.evaluation import ExampleSet
from scud.numerics import stratified_uniform
from scud.seeds import Use, derive, seeded
from scud.training.infilling import draw_known
from scud.training.settings import TrainingConfig
from scud.typing import Batch


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


class Plan(Protocol):
    """Which examples every step takes."""

    def examples(self, step: int) -> Tensor:
        """Indices [batch] int64, at least one per part; a function of the step alone."""
        ...


class Shuffled:
    """Batches of equal size: step i takes positions [i b, (i + 1) b) of the concatenation of one permutation per epoch."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, batch_size, seed

    def examples(self, step: int) -> Tensor:
        start = step * self.batch_size
        epochs = range(start // self.count, (start + self.batch_size - 1) // self.count + 1)
        orders = [torch.randperm(self.count, generator=seeded(self.seed, Use.ORDER, epoch)) for epoch in epochs]
        offset = start - epochs[0] * self.count
        return torch.cat(orders)[offset : offset + self.batch_size]


class ByTokens:
    """Batches of sequences of like length within a budget of positions, padding included (see `scud.data.sequences.buckets`)."""

    def __init__(self, sequences: SequenceSet, tokens: int, parts: int, seed: int) -> None:
        self.sequences = sequences
        self.plan = LikeLengths(sequences.length_counts, tokens, derive(seed, Use.ORDER), multiple=parts)

    def examples(self, step: int) -> Tensor:
        return self.sequences.by_length(self.plan.ranks(step))


def plan(examples: ExampleSet, settings: TrainingConfig, seed: int, ranks: int = 1) -> Plan:
    """The plan of a training run on `ranks` devices.

    Raises:
        UserError: batch_size is not divisible by accumulate * ranks.
    """
    parts = settings.accumulate * ranks
    if isinstance(examples, SequenceSet):
        return ByTokens(examples, settings.batch_tokens, parts, seed)
    if settings.batch_size % parts:
        rule = f"be divisible by accumulation steps times devices ({settings.accumulate} x {ranks})"
        remedy = "change training.batch_size or training.accumulate"
        raise fail("training.batch_size", rule, settings.batch_size, remedy)
    return Shuffled(len(examples), settings.batch_size, seed)


class Stream:
    """Portions of the steps first, …, settings.steps - 1 for one rank, in order.

    Args:
        examples: the training split.
        settings: batch, accumulation and infilling.
        seed: what order, times and known positions derive from.
        first: the step to begin with.
        rank, ranks: this process, and how many there are.
        label_dropout: share of examples whose labels are withheld.

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
        label_dropout: float = 0.0,
    ) -> None:
        self.plan = plan(examples, settings, seed, ranks)
        self.examples, self.settings, self.seed = examples, settings, seed
        self.first, self.rank, self.ranks, self.label_dropout = first, rank, ranks, label_dropout

    def __iter__(self) -> Iterator[Portion]:
        accumulate = self.settings.accumulate
        parts = accumulate * self.ranks
        for step in range(self.first, self.settings.steps):
            batch = self.examples.batch(self.plan.examples(step))
            if self.settings.flips:
                batch = replace(batch, x0=mirror_half(batch.x0, seeded(self.seed, Use.FLIPS, step)))
            if self.label_dropout and batch.label is not None:
                generator = seeded(self.seed, Use.LABELS, step)
                batch = replace(batch, label=withhold(batch.label, self.label_dropout, generator))
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


def withhold(label: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Labels [batch] or [batch, most], each example's replaced by -1 with probability `share`."""
    gone = torch.rand(len(label), generator=generator) < share
    return label.masked_fill(gone.reshape(-1, *[1] * (label.ndim - 1)), -1)

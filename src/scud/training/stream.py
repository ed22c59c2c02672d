"""Batches of training examples as a function of (seed, step).

The data's order says which examples a step takes; the stream adds one systematic sample of times, u [batch], which positions are
kept clean, what is changed at random, and whose labels are withheld. Ranks and accumulation steps each take every n-th example:
together they see exactly the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scud.errors import fail
from scud.numerics import stratified_uniform
from scud.seeds import Use, seeded
from scud.training.infilling import draw_known
from scud.training.job import Job
from scud.typing import Batch, Order


@dataclass(frozen=True)
class Portion:
    """What one rank sees in one accumulation step.

    Attributes:
        step: optimiser steps before this one.
        part: which part of the batch this is, counted over ranks and accumulation steps.
        last: whether the optimiser steps after it.
        batch: the examples.
        u: [batch] in [0, 1), the quantiles of t they are noised at.
        positions: the whole batch's positions that count, over the number of parts: what a part's nats are divided by, so
            that the mean over parts is nats per position of the whole batch.
    """

    step: int
    part: int
    last: bool
    batch: Batch
    u: Tensor
    positions: float

    def to(self, device: torch.device) -> "Portion":
        """The same on a device, to which page-locked memory is copied while the host goes on."""
        return replace(
            self,
            batch=self.batch.to(device, non_blocking=True),
            u=self.u.to(device, non_blocking=True),
        )

    def pinned(self) -> "Portion":
        """The same in page-locked memory."""
        return replace(self, batch=self.batch.pinned(), u=self.u.pin_memory())


def order(job: Job, multiple: int) -> Order:
    """Which examples every step takes, in batches of a multiple of so many.

    Raises:
        UserError: the batch cannot be divided so.
    """
    return job.train.order(job.settings.size, job.seed, multiple)


def order_version(job: Job) -> int:
    """The version of the order of a job's examples: its attribute `version`, which an order has that was another once, or 1."""
    version: int = getattr(order(job, job.settings.accumulate), "version", 1)
    return version


class Stream:
    """Portions of the steps first, …, settings.steps - 1 for one rank, in order.

    Args:
        job: what is trained.
        first: the step to begin with.
        rank, ranks: this process, and how many there are.
        multiple: batches are of a multiple of so many examples; of as many as there are parts by default. A run keeps what it
            began with: examples of different length are divided into other batches with another one.

    Raises:
        UserError: as in `order`.
    """

    def __init__(
        self, job: Job, first: int, *, rank: int = 0, ranks: int = 1, multiple: int | None = None
    ) -> None:
        self.parts = job.settings.accumulate * ranks
        self.job, self.order = job, order(job, self.parts if multiple is None else multiple)
        self.first, self.rank, self.ranks = first, rank, ranks

    def __iter__(self) -> Iterator[Portion]:
        accumulate, parts = self.job.settings.accumulate, self.parts
        for step in range(self.first, self.job.settings.steps):
            batch = self.batch(step)
            if len(batch) < parts:
                rule = f"have an example for each of {parts} parts of every batch"
                remedy = "train with fewer devices, as the run began, or with larger batches"
                raise fail("training.devices", rule, f"a batch of {len(batch)}", remedy)
            u = stratified_uniform(len(batch), seeded(self.job.seed, Use.TIMES, step))
            counted = batch.counted
            positions = (batch.x0.numel() if counted is None else int(counted.sum())) / parts
            for micro in range(accumulate):
                part = self.rank * accumulate + micro
                mine = slice(part, None, parts)
                yield Portion(step, part, micro == accumulate - 1, batch[mine], u[mine], positions)

    def batch(self, step: int) -> Batch:
        """The examples of a step."""
        seed = self.job.seed
        batch = self.job.train.batch(self.order.examples(step))
        if self.job.augment is not None:
            batch = replace(batch, x0=self.job.augment(batch.x0, seeded(seed, Use.FLIPS, step)))
        if self.job.settings.kept_clean:
            real = torch.ones_like(batch.x0, dtype=torch.bool) if batch.mask is None else batch.mask
            known = draw_known(real, self.job.settings.kept_clean, seeded(seed, Use.KNOWN, step))
            batch = replace(batch, known=known)
        if self.job.label_dropout and batch.label is not None:
            withheld = (
                torch.rand(len(batch), generator=seeded(seed, Use.LABELS, step))
                < self.job.label_dropout
            )
            batch = replace(batch, label=without_labels(batch.label, withheld))
        return batch


def without_labels(label: Tensor, withheld: Tensor) -> Tensor:
    """Labels [batch] or [batch, most], -1 (none) where `withheld` [batch] is True."""
    return label.masked_fill(withheld.reshape(-1, *[1] * (label.ndim - 1)), -1)

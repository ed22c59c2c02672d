"""Batches of training examples as a function of (seed, step).

Step i takes positions [i b, (i + 1) b) of the concatenation of one permutation of the examples per epoch, and one
systematic sample of times, u [b]. Ranks and accumulation steps each take every n-th of both: together they see exactly
the batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from scud.errors import fail
from scud.evaluation import ExampleSet
from scud.numerics import stratified_uniform
from scud.training.seeds import Use, seeded
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
    """

    step: int
    part: int
    last: bool
    batch: Batch
    u: Tensor


class Stream:
    """Portions of the steps first, …, end - 1 for one rank, in order.

    Args:
        examples: the training split.
        batch_size: examples per step over all ranks and accumulation steps.
        accumulate: accumulation steps.
        seed: what order and times derive from.
        first, end: which steps.
        rank, ranks: this process, and how many there are.

    Raises:
        UserError: batch_size is not divisible by accumulate * ranks.
    """

    def __init__(
        self,
        examples: ExampleSet,
        batch_size: int,
        accumulate: int,
        seed: int,
        first: int,
        end: int,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        if batch_size % (accumulate * ranks):
            rule = f"be divisible by accumulation steps times devices ({accumulate} x {ranks})"
            raise fail("training.batch_size", rule, batch_size, "change training.batch_size or training.accumulate")
        self.examples, self.batch_size, self.accumulate, self.seed = examples, batch_size, accumulate, seed
        self.first, self.end, self.rank, self.ranks = first, end, rank, ranks

    def __iter__(self) -> Iterator[Portion]:
        parts = self.accumulate * self.ranks
        for step in range(self.first, self.end):
            index = examples_of_step(len(self.examples), self.batch_size, self.seed, step)
            u = stratified_uniform(self.batch_size, seeded(self.seed, Use.TIMES, step))
            for micro in range(self.accumulate):
                part = self.rank * self.accumulate + micro
                batch = self.examples.batch(index[part::parts])
                yield Portion(step, part, micro == self.accumulate - 1, batch, u[part::parts])


def examples_of_step(count: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Which of `count` examples step `step` takes: [batch_size] int64."""
    start = step * batch_size
    epochs = range(start // count, (start + batch_size - 1) // count + 1)
    order = torch.cat([torch.randperm(count, generator=seeded(seed, Use.ORDER, epoch)) for epoch in epochs])
    offset = start - epochs[0] * count
    return order[offset : offset + batch_size]

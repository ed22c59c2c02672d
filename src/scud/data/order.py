"""The order in which training takes examples of one shape: batches of equal size, shuffled."""

import torch
from torch import Tensor

from scud.errors import fail
from scud.seeds import Use, seeded
from scud.typing import BatchSize


class Shuffled:
    """Batches of equal size, cut from one permutation per epoch after another.

    Step i takes the places [i b, (i + 1) b) of the concatenated permutations.

    Args:
        count: how many examples there are.
        batch_size: b.
        seed: of the permutations.
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed

    def examples(self, step: int) -> Tensor:
        """Indices [batch] int64; a function of the step alone."""
        start = step * self.batch_size
        epochs = range(start // self.count, (start + self.batch_size - 1) // self.count + 1)
        orders = [
            torch.randperm(self.count, generator=seeded(self.seed, Use.ORDER, epoch))
            for epoch in epochs
        ]
        offset = start - epochs[0] * self.count
        return torch.cat(orders)[offset : offset + self.batch_size]


def shuffled(count: int, size: BatchSize, seed: int, parts: int) -> Shuffled:
    """The order of `count` examples of one shape, in batches of `size.examples`.

    Raises:
        UserError: the batch size cannot be divided among so many parts.
    """
    if size.examples % parts:
        rule = f"be divisible by accumulation steps times devices ({parts})"
        remedy = "change training.batch_size or training.accumulate"
        raise fail("training.batch_size", rule, size.examples, remedy)
    return Shuffled(count, size.examples, seed)

"""The order in which training takes examples of one shape: batches of equal size, shuffled."""

import torch
from torch import Tensor

from scud.data.permutation import one_after_another
from scud.errors import fail
from scud.seeds import Use
from scud.typing import BatchSize


class Shuffled:
    """Batches of equal size, cut from one permutation per epoch after another; a step costs the same whatever their number.

    Step i takes the places [i b, (i + 1) b) of the concatenated permutations (see `scud.data.permutation`).

    Args:
        count: how many examples there are.
        batch_size: b.
        seed: of the permutations.

    Attributes:
        version: 2; the first one, of version 0.1.0, drew each permutation as a whole.
    """

    version = 2

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count = count
        self.batch_size = batch_size
        self.seed = seed

    def examples(self, step: int) -> Tensor:
        """Indices [batch] int64; a function of the step alone."""
        seed = self.seed, int(Use.ORDER)
        first = step * self.batch_size
        return torch.from_numpy(one_after_another(first, self.batch_size, self.count, seed))


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

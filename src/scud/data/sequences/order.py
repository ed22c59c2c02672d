"""The order in which training takes sequences: batches of like length within a budget."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from scud.data.sequences.buckets import LikeLengths
from scud.seeds import Use, derive


class Ranked(Protocol):
    """Sequences that can be named by their rank in the order of length."""

    @property
    def length_counts(self) -> NDArray[np.int64]:
        """How many there are of each length, [longest + 1]."""
        ...

    def by_length(self, rank: Tensor) -> Tensor:
        """The sequences of these ranks, int64, of the same shape."""
        ...


class ByTokens:
    """Batches of sequences of like length (see `scud.data.sequences.buckets`).

    Args:
        sequences: what is trained on.
        tokens: positions of a batch, padding included.
        parts: batches are of a multiple of so many sequences.
        seed: of the order.

    Raises:
        UserError: there are no sequences, or tokens or parts is below 1.
    """

    def __init__(self, sequences: Ranked, tokens: int, parts: int, seed: int) -> None:
        self.sequences = sequences
        counts = sequences.length_counts
        self.plan = LikeLengths(counts, tokens, derive(seed, Use.ORDER), multiple=parts)

    def examples(self, step: int) -> Tensor:
        """Indices [batch] int64; a function of the step alone."""
        return self.sequences.by_length(self.plan.ranks(step))

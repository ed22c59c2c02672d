"""The quality of generated arrays, beside that of held-out arrays and of as many training arrays.

With p and q the frequencies of the states at one position in two sets, their total variation is

    TV = 1/2 sum_x |p_x - q_x|, in [0, 1], 0 only where p = q;

it is averaged over positions, and over pairs of neighbours along the last axis (x then stands for
a pair of states). Two finite sets of one law have TV > 0, about in proportion to 1/sqrt(n) and to
the square root of the number of states that occur. So the figure to compare with is that of the
*training subset*: as many training arrays as there are samples, against the same held-out set.
A model that knows single positions alone does well in the first of the two and badly in the
second; one that repeats its training data does well in both, which is why copies are counted.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.errors import check_states, fail
from scud.evaluation.report import Row, rows_of


@dataclass(frozen=True)
class ArraySet:
    """The figures of one set of arrays; None where one has no meaning.

    Attributes:
        arrays: N.
        single: total variation of single positions from held-out arrays, mean over positions.
        pairs: the same of neighbours along the last axis; None for a last axis of length 1.
        copied: share of arrays equal to a training array.
        distinct: number of different arrays over N.
    """

    arrays: int
    single: float | None
    pairs: float | None
    copied: float | None
    distinct: float


@dataclass(frozen=True)
class ArrayQuality:
    """The figures of the samples, the held-out arrays and the training subset."""

    samples: ArraySet
    heldout: ArraySet
    training: ArraySet

    def rows(self) -> list[Row]:
        """The report as a table, plain numbers or None: to print, or to write as CSV."""
        names = {
            "arrays": "arrays",
            "single": "total variation from held-out, single positions, mean",
            "pairs": "total variation from held-out, neighbours on the last axis, mean",
            "copied": "share equal to a training array",
            "distinct": "share of distinct arrays",
        }
        return rows_of(names, self.samples, self.heldout, self.training)


def array_quality(
    samples: Tensor, heldout: Tensor, training: Tensor, num_states: int, seed: int = 0
) -> ArrayQuality:
    """Measure samples, held-out arrays and a training subset alike.

    Args:
        samples: states [N, *dims] of what was generated.
        heldout: states the model was not trained on; the reference of the total variation.
        training: all that it was trained on.
        num_states: B.
        seed: of the training subset.

    Raises:
        UserError: a set is empty or of another shape, or holds a state outside 0..B-1.
    """
    sets = {"samples": samples, "held-out arrays": heldout, "training arrays": training}
    for name, part in sets.items():
        check_states(name, part, num_states)
        if part.shape[1:] != training.shape[1:]:
            rule = f"have the shape of the training arrays, {list(training.shape[1:])}"
            raise fail(name, rule, list(part.shape[1:]), "give what this model has drawn")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(training), generator=generator)
    subset = training[order[: len(samples)]]
    known = set(_texts(training))

    def describe(part: Tensor, *, compared: bool, drawn: bool) -> ArraySet:
        texts = _texts(part)
        return ArraySet(
            arrays=len(part),
            single=variation(_singles(part), _singles(heldout)) if compared else None,
            pairs=variation(_pairs(part), _pairs(heldout)) if compared else None,
            copied=sum(text in known for text in texts) / len(texts) if drawn else None,
            distinct=len(set(texts)) / len(texts),
        )

    return ArrayQuality(
        describe(samples, compared=True, drawn=True),
        describe(heldout, compared=False, drawn=True),
        describe(subset, compared=True, drawn=False),
    )


def variation(p: Iterator[NDArray[np.int64]], q: Iterator[NDArray[np.int64]]) -> float | None:
    """Mean total variation of columns of numbers, [n] and [m] each; None where there are none."""
    values: list[float] = []
    for ours, theirs in zip(p, q, strict=True):
        keys, inverse = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
        place, other = inverse[: len(ours)], inverse[len(ours) :]
        shares = np.bincount(place, minlength=len(keys)) / len(ours)
        others = np.bincount(other, minlength=len(keys)) / len(theirs)
        values.append(float(np.abs(shares - others).sum()) / 2)
    return float(np.mean(values)) if values else None


def _singles(x: Tensor) -> Iterator[NDArray[np.int64]]:
    """The states [N] at one position after another."""
    columns = x.flatten(1)
    for place in range(columns.shape[1]):
        yield columns[:, place].long().numpy()


def _pairs(x: Tensor) -> Iterator[NDArray[np.int64]]:
    """A number [N] for each pair of neighbours along the last axis; same states, same number."""
    lines = x.reshape(len(x), -1, x.shape[-1])
    for line in range(lines.shape[1]):
        for place in range(lines.shape[2] - 1):
            first, second = lines[:, line, place].long(), lines[:, line, place + 1].long()
            yield (first << 32 | second).numpy()


def _texts(x: Tensor) -> list[bytes]:
    """The content of each array, in numbers of one size."""
    return [row.tobytes() for row in x.long().numpy()]

"""A set of examples, and a source of them: named splits that share a number of states and a shape.

What training and evaluation ask of a split is `len(split)` and `split.batch(index)`; what they ask of a source is
`num_states`, `dims`, `split(name)` and `marginal()`. The order of examples is fixed; shuffling is the caller's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from scud.errors import check_states, fail
from scud.typing import Batch


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples of one shape, kept in memory as bytes.

    Attributes:
        x: states [N, *dims], uint8.
        label: class labels [N], int64, or None.
    """

    x: Tensor
    label: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Tensor) -> Batch:
        """The examples at `index` [batch]: x0 [batch, *dims] int64, label [batch] or None."""
        return Batch(x0=self.x[index].long(), label=None if self.label is None else self.label[index])


@dataclass(frozen=True, eq=False)
class Source:
    """A data set, split.

    Attributes:
        name: what to call the data set in reports.
        num_states: number of states B; every example holds 0..B-1.
        dims: shape of one example.
        splits: the examples of "train", of "valid" and, where there is one, of "test".
    """

    name: str
    num_states: int
    dims: tuple[int, ...]
    splits: Mapping[str, Examples]

    def __post_init__(self) -> None:
        for name in ("train", "valid"):
            self.split(name)
        for name, examples in self.splits.items():
            shape = tuple(examples.x.shape[1:])
            if shape != self.dims:
                raise fail(
                    f"split {name!r}", f"hold examples of shape {self.dims}", shape, "give every split the same shape"
                )
            check_states(f"split {name!r}", examples.x, self.num_states)

    def split(self, name: str) -> Examples:
        """The examples of the split called `name`."""
        if name not in self.splits:
            raise fail("split", f"be one of {', '.join(self.splits)}", repr(name), f"choose one that {self.name} has")
        return self.splits[name]

    def marginal(self) -> Tensor:
        """p0 [B] float64: add-one counts of the states over the training split, normalised, so that none is zero."""
        counts = torch.bincount(self.split("train").x.flatten(), minlength=self.num_states).double() + 1
        return counts / counts.sum()

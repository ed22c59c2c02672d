"""A set of examples, and a source of them: named splits that share a number of states, and a shape or an alphabet.

What training and evaluation ask of a split is `len(split)`, `split.batch(index)`, `split.batches(size, tokens)` and
`split.state_counts()`; what they ask of a source is `kind`, `num_states`, `dims`, `split(name)`, `marginal()` and `spec()`. The
order of examples is fixed; shuffling is the caller's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from scud.data.sequences.alphabets import Alphabet
from scud.data.sequences.store import SequenceSet
from scud.data.text.tokenizers import Characters, Subword, Tokenizer
from scud.errors import check_states, fail
from scud.typing import Batch, ExampleSet

Kind = Literal["images", "sequences", "text"]
"""What examples are: images of one shape; sequences of letters, which differ in length; chunks of text of one length."""


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

    def batches(self, size: int, tokens: int) -> Iterable[Tensor]:  # noqa: ARG002
        """All indices in order, `size` at a time."""
        return torch.split(torch.arange(len(self)), size)

    def part(self, most: int) -> "Examples":
        """At most so many of the examples, spread evenly over their order; always the same ones."""
        if len(self) <= most:
            return self
        index = torch.arange(most) * len(self) // most
        return Examples(self.x[index], None if self.label is None else self.label[index])

    def state_counts(self) -> Tensor:
        """How often every state occurs, up to the largest one: [at most B] int64."""
        return torch.bincount(self.x.flatten())


class Split(ExampleSet, Protocol):
    """The examples of a split."""

    def part(self, most: int, /) -> ExampleSet:
        """At most so many of the examples; always the same ones."""
        ...

    def state_counts(self) -> Tensor:
        """How often every state occurs, [at most B]."""
        ...


@dataclass(frozen=True, eq=False)
class Source:
    """A data set, split.

    Attributes:
        name: what to call the data set in reports.
        num_states: number of states B; every example holds 0..B-1.
        dims: shape of one example, of text its length; None for sequences, which differ in length.
        splits: the examples of "train", of "valid" and, where there is one, of "test".
        kind: what the examples are.
        alphabet: which letters the states stand for, of sequences.
        tokens: what the states stand for, of text.
        report: what was read, replaced and left out, a line each.
    """

    name: str
    num_states: int
    dims: tuple[int, ...] | None
    splits: Mapping[str, Split]
    kind: Kind = "images"
    alphabet: Alphabet | None = None
    tokens: Tokenizer | None = None
    report: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("train", "valid"):
            self.split(name)
        for name, examples in self.splits.items():
            if not isinstance(examples, Examples):
                continue  # a store was checked letter by letter when it was made
            shape = tuple(examples.x.shape[1:])
            if shape != self.dims:
                raise fail(
                    f"split {name!r}", f"hold examples of shape {self.dims}", shape, "give every split the same shape"
                )
            check_states(f"split {name!r}", examples.x, self.num_states)

    def split(self, name: str) -> Split:
        """The examples of the split called `name`."""
        if name not in self.splits:
            raise fail("split", f"be one of {', '.join(self.splits)}", repr(name), f"choose one that {self.name} has")
        return self.splits[name]

    def marginal(self) -> Tensor:
        """p0 [B] float64: add-one counts of the states over the training split, normalised, so that none is zero."""
        counts = torch.ones(self.num_states, dtype=torch.float64)
        found = self.split("train").state_counts()
        counts[: len(found)] += found
        return counts / counts.sum()

    @property
    def state_names(self) -> Sequence[str]:
        """What each state is called, [B]."""
        if isinstance(self.tokens, Subword):
            return self.tokens.entries()
        if isinstance(self.tokens, Characters):
            return list(self.tokens.letters)
        return [str(state) for state in range(self.num_states)]

    def spec(self) -> dict[str, Any]:
        """What of the data a trained model needs to be used: letters and training lengths; of text, tokens and length."""
        train = self.split("train")
        if self.tokens is not None and self.dims is not None:
            return {"tokens": self.tokens.spec(), "length": self.dims[0]}
        if self.alphabet is None or not isinstance(train, SequenceSet):
            return {}
        return {"alphabet": self.alphabet.letters, "length_counts": torch.as_tensor(train.length_counts)}

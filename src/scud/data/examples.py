"""Examples of one shape, in memory."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from scud.data.order import Shuffled, shuffled
from scud.data.splits import hold_out
from scud.errors import check_states, fail, printable, shown
from scud.typing import Batch, BatchSize, Shape

T = TypeVar("T")

_SLICE = 1 << 20
"""Numbers hashed or counted at a time."""

_ALONE = 1 << 15
"""Numbers for which PyTorch takes one thread: of more its threads wait for one another, longer than they save."""

_PIECE, _LARGE = 1 << 24, 1 << 26
"""Numbers that a thread hashes or counts at a time; and from how many on what is hashed is large."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples of one shape, in memory as the smallest integers that hold their states.

    Attributes:
        x: states [N, *dims], of any integer type.
        label: class labels [N], or several of each example [N, most]; int64, -1 where there is
            none. None: no labels.
        report: what reading their file turned, took and left out, a line each; of a part of them, none.
    """

    x: Tensor
    label: Tensor | None = None
    report: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, index: Tensor) -> Batch:
        """The examples at `index` [batch]: x0 [batch, *dims] int64, and their labels."""
        label = None if self.label is None else self.label[index]
        return Batch(x0=self.x.index_select(0, index).long(), label=label)

    def batches(self, size: BatchSize) -> Iterable[Tensor]:
        """All indices in order, `size.examples` at a time."""
        return torch.split(torch.arange(len(self)), size.examples)

    def order(self, size: BatchSize, seed: int, parts: int) -> Shuffled:
        """The order in which training takes them; errors as in `shuffled`."""
        return shuffled(len(self), size, seed, parts)

    def take(self, index: Tensor) -> "Examples":
        """The examples at `index` [n]."""
        return Examples(self.x[index], None if self.label is None else self.label[index])

    def part(self, most: int) -> "Examples":
        """At most so many of the examples, spread evenly over their order; always the same."""
        if len(self) <= most:
            return self
        return self.take(torch.arange(most) * len(self) // most)

    def digest(self) -> str:
        """A hash of the types, shapes and contents of states and labels: other data have another."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        content = hashlib.blake2b(digest_size=16)
        for tensor in (self.x, self.label):
            if tensor is None:
                content.update(b"none")
                continue
            content.update(f"{tensor.dtype} {list(tensor.shape)} ".encode())
            if tensor.numel() > _LARGE:
                content.update(b"".join(_in_pieces(tensor, _hashed)))
                continue
            for part in _slices(tensor, _SLICE):
                content.update(part.cpu().contiguous().numpy().data)
        return content.hexdigest()

    def label_counts(self) -> Tensor:
        """How often every label occurs, up to the largest one, [at most the number of labels] int64."""
        label = torch.zeros(0, dtype=torch.int64) if self.label is None else self.label
        return torch.bincount(label[label >= 0])

    def state_counts(self) -> Tensor:
        """How often every state occurs, up to the largest one: [at most B] int64."""
        return self._state_counts.clone()

    @cached_property
    def _state_counts(self) -> Tensor:
        """Counted once, because of a million images it takes seconds."""
        counts = torch.zeros(0, dtype=torch.int64)
        for found in _in_pieces(self.x, _counted):
            counts = _sum(counts, found)
        return counts


def _slices(tensor: Tensor, size: int) -> tuple[Tensor, ...]:
    """A tensor [N, ...] in slices of whole rows, of about so many numbers."""
    return torch.split(tensor, max(1, size * len(tensor) // max(1, tensor.numel())))


def _in_pieces(tensor: Tensor, function: Callable[[Tensor], T]) -> Iterator[T]:
    """What a function makes of pieces of a tensor, in order; it is called on as many threads as PyTorch has."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        yield from pool.map(function, _slices(tensor, _PIECE))


def _hashed(piece: Tensor) -> bytes:
    """By sha256, for which processors have instructions: of 4 GB blake2b takes 9 seconds of a core, this 4."""
    return hashlib.sha256(piece.cpu().contiguous().numpy().data).digest()


def _counted(piece: Tensor) -> Tensor:
    """How often every number occurs in a piece, slice by slice, which stay in the processor's cache."""
    counts = torch.zeros(0, dtype=torch.int64)
    for part in _slices(piece, _SLICE if torch.get_num_threads() == 1 else _ALONE):
        counts = _sum(counts, torch.bincount(part.flatten(), minlength=len(counts)))
    return counts


def _sum(counts: Tensor, more: Tensor) -> Tensor:
    """The sum of counts of different lengths; the longer ones are overwritten by it."""
    if len(more) < len(counts):
        counts, more = more, counts
    more[: len(counts)] += counts
    return more


def lines_of(report: Iterable[str]) -> tuple[str, ...]:
    """The lines of a report as a terminal may show them: names in them are of files that others made."""
    return tuple(printable(shown(line)) for line in report)


def hold_out_examples(
    argument: str, examples: Examples, valid_share: float, noun: str
) -> dict[str, Examples]:
    """Examples divided into "train" and "valid" by `scud.data.splits.hold_out`.

    Raises:
        UserError: there are fewer than two, which are called by `noun`.
    """
    if len(examples) < 2:
        remedy = f"add {noun}, or {noun} for validation"
        raise fail(argument, f"hold two {noun} or more", "one", remedy)
    parts = hold_out(len(examples), valid_share)
    return {name: examples.take(torch.from_numpy(index)) for name, index in parts.items()}


def smallest_dtype(num_states: int) -> torch.dtype:
    """The smallest integer type that holds the states 0..B-1."""
    if num_states <= 1 << 8:
        return torch.uint8
    if num_states <= 1 << 15:
        return torch.int16
    return torch.int32 if num_states <= 1 << 31 else torch.int64


def check_examples(splits: Mapping[str, Examples], num_states: int, dims: Shape) -> None:
    """Raise `UserError` unless all splits hold examples of the shape `dims` and states below B."""
    for name, examples in splits.items():
        argument = f"split {name!r}"
        shape = tuple(examples.x.shape[1:])
        if shape != dims:
            rule = f"hold examples of shape {dims}"
            raise fail(argument, rule, shape, "give every split the same shape")
        check_states(argument, examples.x, num_states)


def check_shape(argument: str, examples: Examples, num_states: int, dims: Shape) -> None:
    """Raise `UserError` unless examples have the shape `dims` and the states of a run."""
    shape = tuple(examples.x.shape[1:])
    if shape != dims:
        rule = f"have the shape of the run's, {list(dims)}"
        raise fail(argument, rule, list(shape), "give a file of examples of that shape")
    check_states(argument, examples.x, num_states)

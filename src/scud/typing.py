"""The types that cross module borders: what a denoiser is given and returns, what a batch holds, and what data offer.

Shapes are written [batch, *dims] for data (any number of dimensions: [batch, length] for sequences,
[batch, channels, height, width] for images) and B for the number of states.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scud.numerics.logits import Logits

Shape = tuple[int, ...]
"""Sizes of dimensions."""

Time = float | Tensor
"""A time of a whole batch; on a GPU a tensor [] there, which the host need not know."""


class Evidence(Protocol):
    """What the noised state at a position says about the clean state there, before any neighbour is looked at.

    e_b = p0_b M[b, x_t] / (p0 M)[x_t], with M = K^s (events) or exp(tau Q) (time): the posterior over x0 from this position
    alone. At no noise it is one-hot at x_t; with much noise it fades into the marginal p0.
    """

    def embed(self, weight: Tensor) -> Tensor:
        """The evidence times an embedding: weight [B, d] -> e @ weight [batch, *dims, d], differentiable in weight."""
        ...

    def probs(self) -> Tensor:
        """The evidence itself, [batch, *dims, B]; for small B only, `embed` never builds it."""
        ...


@dataclass(frozen=True)
class Conditioning:
    """All that a denoiser may know besides the noised state.

    Attributes:
        t: time in [0, 1], 0 = data; [batch], or [batch, *dims] where positions differ (infilling).
        s: event counts [batch, *dims], or None for a model that is told the time alone. Masking: 1 = masked.
        mask: [batch, *dims], True at real positions; None means that all are real.
        label: class labels [batch], or several of each example [batch, most]; -1 where there is none. None: no labels.
        evidence: what x_t says of x0 at its own position; None only for hand-made conditioning.
    """

    t: Tensor
    s: Tensor | None = None
    mask: Tensor | None = None
    label: Tensor | None = None
    evidence: Evidence | None = None


class Denoiser(Protocol):
    """Any callable from a noised state [batch, *dims] to logits over the clean state [batch, *dims, B], as they are or as
    `LinearLogits`.

    softmax(logits) stands for p(x0 at a position | x_t at the *other* positions, conditioning): the diffusion adds what
    x_t says at the position itself.
    """

    def __call__(self, x_t: Tensor, conditioning: Conditioning, /) -> Logits: ...


@dataclass(frozen=True)
class Noisy:
    """A noised batch.

    Attributes:
        x_t: states [batch, *dims]; for masking, B where masked.
        t: time [batch], or [batch, *dims] where positions differ; float64.
        s: event counts [batch, *dims] int64 (masking: 1 = masked), or None for the classical model.
    """

    x_t: Tensor
    t: Tensor
    s: Tensor | None = None


@dataclass(frozen=True)
class Given:
    """What is given of examples that are drawn, or whose likelihood is bounded; nothing by default.

    Attributes:
        x0: clean states [batch, *dims], used where `known` is True.
        known: [batch, *dims] bool, True at positions whose state is given: they have no noise and never change.
        mask: [batch, *dims] bool, True at real positions, for examples of different length; all are real when None.
        label: class labels [batch], or several of each example [batch, most]; -1 where there is none.
    """

    x0: Tensor | None = None
    known: Tensor | None = None
    mask: Tensor | None = None
    label: Tensor | None = None

    def to(self, device: torch.device | str) -> "Given":
        """The same on a device."""
        return Given(*(_on(part, device) for part in (self.x0, self.known, self.mask, self.label)))


@dataclass(frozen=True)
class Batch:
    """Clean examples.

    Attributes:
        x0: states [batch, *dims] int64.
        mask: [batch, *dims] bool, True at real positions; all are when None.
        label: class labels [batch], or several of each example [batch, most]; -1 where there is none; int64, or None.
        known: [batch, *dims] bool, True where x0 is given, as around a gap: no noise there, and no loss; nowhere when None.
    """

    x0: Tensor
    mask: Tensor | None = None
    label: Tensor | None = None
    known: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x0)

    @property
    def given(self) -> Given:
        """What of the examples is given to whoever models the rest."""
        return Given(None if self.known is None else self.x0, self.known, self.mask, self.label)

    @property
    def counted(self) -> Tensor | None:
        """The positions that a bound counts, real and not known, [batch, *dims]; None where all are."""
        if self.known is None:
            return self.mask
        return ~self.known if self.mask is None else self.mask & ~self.known

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Batch":
        """The same examples on a device; a copy of page-locked memory need not be waited for."""
        rest = (_on(part, device, non_blocking) for part in (self.mask, self.label, self.known))
        return Batch(self.x0.to(device, non_blocking=non_blocking), *rest)

    def pinned(self) -> "Batch":
        """The same examples in page-locked memory, from which a GPU copies by itself."""
        rest = (self.mask, self.label, self.known)
        return Batch(
            self.x0.pin_memory(), *(None if part is None else part.pin_memory() for part in rest)
        )

    def __getitem__(self, rows: slice | Tensor) -> "Batch":
        """Some of the examples."""
        return Batch(
            self.x0[rows],
            *(None if part is None else part[rows] for part in (self.mask, self.label, self.known)),
        )


def _on(
    part: Tensor | None, device: torch.device | str, non_blocking: bool = False
) -> Tensor | None:
    return None if part is None else part.to(device, non_blocking=non_blocking)


class Reversible(Protocol):
    """What a sampler asks of a model: a start from noise, steps back in time, and what its denoiser must be told."""

    num_states: int
    t_max: float
    p0: Tensor

    def start(self, shape: Shape, generator: torch.Generator | None = None) -> Noisy:
        """Draw a state at t_max from the factorised prior, `shape` = (batch, *dims)."""
        ...

    def keep(self, noisy: Noisy, x0: Tensor, known: Tensor) -> Noisy:
        """Set the positions where `known` [batch, *dims] is True to clean states x0, which no step will change."""
        ...

    def condition(self, noisy: Noisy, given: Given = ...) -> Conditioning:
        """What a denoiser is told about a noised batch."""
        ...

    def reverse(
        self, noisy: Noisy, logits: Logits, u: Time, generator: torch.Generator | None = None
    ) -> Noisy:
        """Draw the state at an earlier time u given the one now and a prediction of x0. At u = 0 all noise is undone."""
        ...

    def informative_time(self, share: Tensor) -> Tensor:
        """When noise has destroyed this share of the information that it destroys by t_max: [n] in (0, 1) -> t [n]."""
        ...

    def check_logits(self, logits: Logits, x: Tensor) -> None:
        """Raise `UserError` unless a denoiser's logits fit states x [batch, *dims]."""
        ...


@dataclass(frozen=True)
class BatchSize:
    """How much is computed at once.

    Attributes:
        examples: of data whose examples have one shape.
        positions: padding included; of data whose examples differ in length.

    Either number means nothing to data of the other sort.
    """

    examples: int = 1
    positions: int = 1


class Order(Protocol):
    """Which examples every training step takes."""

    def examples(self, step: int) -> Tensor:
        """Indices [batch] int64; a function of the step alone."""
        ...


class ExampleSet(Protocol):
    """Examples in a fixed order, such as a split of `scud.Data`: what training and evaluation ask of it."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, /) -> Batch:
        """The examples at index [batch]."""
        ...

    def batches(self, size: BatchSize, /) -> Iterable[Tensor]:
        """All indices once, in batches."""
        ...

    def order(self, size: BatchSize, seed: int, parts: int, /) -> Order:
        """The order in which training takes examples; batches are of a multiple of `parts`.

        Raises:
            UserError: the batch size cannot be divided among so many parts.
        """
        ...

    def part(self, most: int, /) -> "ExampleSet":
        """At most so many of the examples, spread evenly over their order; always the same ones."""
        ...

    def state_counts(self) -> Tensor:
        """How often every state occurs, up to the largest one that does, [at most B] int64."""
        ...


class DataView(Protocol):
    """What noise, schedule and network may know of data."""

    @property
    def name(self) -> str:
        """What to call the data in messages."""
        ...

    @property
    def num_states(self) -> int:
        """B."""
        ...

    @property
    def dims(self) -> Shape | None:
        """The shape of one example; None where examples differ in it."""
        ...

    @property
    def state_names(self) -> Sequence[str]:
        """What each state is called, [B]: a letter, an entry of a vocabulary, a number."""
        ...

    @property
    def label_names(self) -> Sequence[str]:
        """What each class label is called; none where examples have no labels."""
        ...

    def p0(self) -> Tensor:
        """The training marginal over states, [B] float64."""
        ...

    def split(self, name: str) -> ExampleSet:
        """The examples of the split called `name`."""
        ...

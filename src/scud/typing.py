"""The types that cross module borders: what a denoiser is given, what it returns, and what a batch holds.

Shapes are written [batch, *dims] for data (any number of dimensions: [batch, length] for sequences,
[batch, channels, height, width] for images) and B for the number of states.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from scud.logits import Logits


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
        label: [batch] class labels, or None.
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
class Batch:
    """Clean examples: x0 [batch, *dims] int64, mask [batch, *dims] (True = real) or None, label [batch] or None."""

    x0: Tensor
    mask: Tensor | None = None
    label: Tensor | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same examples on a device."""
        mask, label = (None if part is None else part.to(device) for part in (self.mask, self.label))
        return Batch(self.x0.to(device), mask, label)


class ExampleSet(Protocol):
    """Examples in a fixed order, such as a split of `scud.data.Source`."""

    def __len__(self) -> int: ...

    def batch(self, index: Tensor, /) -> Batch:
        """The examples at index [batch]."""
        ...

    def batches(self, size: int, tokens: int, /) -> Iterable[Tensor]:
        """All indices once, in batches: of `size` examples, or of sequences that take up `tokens` positions."""
        ...

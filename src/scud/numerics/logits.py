"""Logits that exist only where they are asked for.

Of tens of thousands of states, logits at every position are larger than all the rest of a model together, and only those of
noised positions are ever used. A network may therefore return its last features with the output layer that makes logits of them,
logits = features weightᵀ + bias; the loss and the samplers apply it to the rows at hand.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class LinearLogits:
    """Logits [..., B] as features [..., d], weight [B, d] and bias [B]. Used as a tensor is: shape, reshape, index, detach, /."""

    features: Tensor
    weight: Tensor
    bias: Tensor

    @property
    def shape(self) -> torch.Size:
        """[..., B]."""
        return torch.Size([*self.features.shape[:-1], self.weight.shape[0]])

    @property
    def dtype(self) -> torch.dtype:
        """What its rows are computed in."""
        return self.features.dtype

    def reshape(self, *shape: int) -> "LinearLogits":
        """The same rows in another shape [..., B]."""
        assert shape[-1] == self.weight.shape[0], "the states stay the last dimension"
        return LinearLogits(
            self.features.reshape(*shape[:-1], self.features.shape[-1]), self.weight, self.bias
        )

    def detach(self) -> "LinearLogits":
        """The same logits, without gradients."""
        return LinearLogits(self.features.detach(), self.weight.detach(), self.bias.detach())

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: Tensor | slice | tuple[slice | int, ...]) -> Tensor:
        """The logits of some positions [n]: -> [n, B]."""
        return F.linear(self.features[index], self.weight.to(self.dtype), self.bias.to(self.dtype))

    def __truediv__(self, number: float) -> "LinearLogits":
        """The same logits, divided by a number."""
        return LinearLogits(self.features / number, self.weight, self.bias / number)

    def dense(self) -> Tensor:
        """All of them, [..., B]."""
        return F.linear(self.features, self.weight.to(self.dtype), self.bias.to(self.dtype))


Logits = Tensor | LinearLogits
"""What a denoiser may return, [batch, *dims, B]."""


def all_finite(logits: Logits) -> Tensor:
    """Whether no row has NaN or +inf, and each has a finite entry; of `LinearLogits`, whether its parts are finite: []."""
    if isinstance(logits, LinearLogits):
        parts = (logits.features, logits.weight, logits.bias)
        return torch.stack([part.isfinite().all() for part in parts]).all()
    return (0 * logits.amax(-1) == 0).all()

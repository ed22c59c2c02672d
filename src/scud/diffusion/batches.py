"""Batches and the shapes of what belongs to them: checked, and brought to the shape of states."""

from dataclasses import dataclass

import torch
from torch import Tensor

from scud.errors import check_flags, check_states, fail
from scud.numerics import is_fixed
from scud.typing import Batch, Noisy, Time


@dataclass(frozen=True, eq=False)
class Noised:
    """A batch and its noise: all that is drawn at random before a denoiser is asked.

    Attributes:
        batch: clean examples, x0 int64.
        noisy: what noise made of them.
        weight: one over the density of the times, [batch] float64.
    """

    batch: Batch
    noisy: Noisy
    weight: Tensor


def check_batch(batch: Batch, num_states: int) -> None:
    """Raise `UserError` unless a batch holds states below B, and flags that fit them."""
    if not is_fixed(batch.x0):  # elsewhere the host would have to wait for the numbers
        check_states("x0", batch.x0, num_states)
    if batch.mask is not None:
        check_flags("mask", batch.mask, batch.x0.shape)
    if batch.known is not None:
        check_flags("known", batch.known, batch.x0.shape)
    if batch.label is not None and (batch.label.ndim < 1 or len(batch.label) != len(batch)):
        rule = f"have one row for each of {len(batch)} examples"
        shape = f"shape {list(batch.label.shape)}"
        raise fail("label", rule, shape, "give [batch] or [batch, most]")


def at_time(u: Time, like: Tensor) -> Tensor:
    """A time for each example, as `like`."""
    return u.expand_as(like) if isinstance(u, Tensor) else torch.full_like(like, u)


def spread(per_batch: Tensor, like: Tensor) -> Tensor:
    """Shape [batch], or already [batch, *dims], to broadcast against `like` [batch, *dims]."""
    if per_batch.ndim == like.ndim:
        return per_batch
    return per_batch.reshape(-1, *[1] * (like.ndim - 1))

"""What the options of all networks have in common: sizes by name, and a network built for data."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Self

from torch import nn

from scud.errors import fail
from scud.numerics.memory import check_memory
from scud.options import Options, kind_of
from scud.typing import DataView, Shape

DROPOUT = 0.1
"""Dropout by default, of every network."""


WIDEST = 1 << 20
"""The most features."""

DEEPEST = 1000
"""The most blocks, of a stage or of the network."""

MOST_LABELS = 1 << 31
"""The most class labels."""

MOST_STATES = 1 << 31
"""The most states."""

MOST_POSITIONS = 1 << 20
"""The most positions of an example, such as the pixels of a picture of 1,024 x 1,024."""


def check_size(name: str, value: int, most: int, remedy: str) -> None:
    """Raise unless a size is a whole number in 1..most."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {value!r}; {remedy}")
    if value < 1:
        raise fail(name, "be at least 1", value, remedy)
    if value > most:
        raise fail(name, f"be at most {most:,}", value, remedy)


def check_shape(dims: Shape) -> None:
    """Raise unless the shape of an example has sizes of at least 1, and not too many positions."""
    remedy = "give the shape of an example"
    for size in dims:
        check_size("dims", size, MOST_POSITIONS, remedy)
    if math.prod(dims) > MOST_POSITIONS:
        raise fail("dims", f"have at most {MOST_POSITIONS:,} positions", list(dims), remedy)


def check_labels(num_labels: int) -> None:
    """Raise `UserError` for more labels than a network may have."""
    if num_labels > MOST_LABELS:
        remedy = "0 builds a network without labels"
        raise fail("num_labels", f"be at most {MOST_LABELS:,}", num_labels, remedy)


def check_weights(least: int) -> int:
    """The weights that a network will have at least; raises `UserError` where they do not fit into memory."""
    remedy = "lower its width or its depth, or the number of states"
    check_memory("network", 4 * least, f"{least:,} weights", remedy)
    return least


@dataclass(frozen=True, kw_only=True)
class SizedOptions(Options, ABC):
    """Base of the options of a network.

    Attributes:
        network: the class that is built; a saved run builds it again from its `spec()`.
        presets: options that make up a size, by its name.
    """

    network: ClassVar[type[nn.Module]]
    presets: ClassVar[Mapping[str, Mapping[str, int]]]

    @classmethod
    def sizes(cls, preset: str) -> Mapping[str, int]:
        """The options that make up a size, by its name; raises `UserError` if there is no such size."""
        if preset not in cls.presets:
            remedy = "choose one of these, or leave it out and give a width"
            rule = f"be one of {', '.join(cls.presets)} for {kind_of(cls)}"
            raise fail("network.preset", rule, preset, remedy)
        return cls.presets[preset]

    @classmethod
    def preset(cls, name: str, **options: Any) -> Self:
        """The options of a size, changed by those that are given.

        Raises:
            UserError: there is no such size, or an option breaks its rule.
        """
        return cls(**{**cls.sizes(name), **options})

    @abstractmethod
    def build(self, data: DataView) -> nn.Module:
        """A new network for these data, its first weights drawn from PyTorch's global generator.

        Raises:
            UserError: the network does not suit the data.
        """

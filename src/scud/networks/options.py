"""What the options of all networks have in common: sizes by name, and a network built for data."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from torch import nn

from scud.errors import fail
from scud.options import Options, kind_of
from scud.typing import DataView

DROPOUT = 0.1
"""Dropout by default, of every network."""


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

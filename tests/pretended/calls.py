"""One operation of PyTorch as the pretended GPU sees it: what is computed, from what, and what lies where."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

NAME = "pretended"
"""The type of the pretended GPU's device."""

ONTO = frozenset({"copy_", "_to_copy", "_foreach_copy_"})
"""Operations that carry numbers from one device to the other."""

INDEXING = frozenset({"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"})
"""Operations whose second argument is a list of indices, which may be on the CPU."""


def is_there(device: object) -> bool:
    """Whether a device that was asked for is the pretended GPU."""
    return device is not None and torch.device(device).type == NAME  # type: ignore[call-overload]


def on_gpu(tensor: Tensor) -> bool:
    """Whether a tensor says that it is on the pretended GPU."""
    return tensor.device.type == NAME


def leaves(parts: Iterable[Any]) -> list[Any]:
    """All that is in arguments, some of which may be lists."""
    found: list[Any] = []
    for part in parts:
        if isinstance(part, list | tuple):
            found.extend(leaves(part))
        else:
            found.append(part)
    return found


def mapped(change: Callable[[Any], Any], part: Any) -> Any:
    """An argument or a result, of which each leaf is changed."""
    if not isinstance(part, list | tuple):
        return change(part)
    return type(part)(
        [mapped(change, one) if isinstance(one, list | tuple) else change(one) for one in part]
    )


class Call:
    """An operation and its arguments.

    Attributes:
        function, arguments, options: what was called.
        name: without the variant: aten::add.Tensor is an add.
        leaves: all arguments, those in lists one by one.
        there, here: its tensors on the GPU, and on the CPU.
        answers_there: whether its result is on the GPU.
        computes_there: whether the GPU has something to do with it.
    """

    def __init__(
        self, function: OpOverload, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self.function, self.arguments, self.options = function, arguments, options
        self.name = name_of(function)
        self.leaves = leaves((*arguments, *options.values()))
        tensors = [part for part in self.leaves if isinstance(part, Tensor)]
        self.there = [tensor for tensor in tensors if on_gpu(tensor)]
        self.here = [tensor for tensor in tensors if not on_gpu(tensor)]
        asked = options.get("device")
        self.answers_there = bool(self.there) if asked is None else is_there(asked)
        self.computes_there = bool(self.there) or self.answers_there

    @property
    def indices(self) -> list[Tensor]:
        """The tensors that it indexes by."""
        if self.name not in INDEXING:
            return []
        return [part for part in self.arguments[1] if isinstance(part, Tensor)]

    @property
    def written(self) -> list[Tensor]:
        """The tensors that it writes to."""
        names = written_by(self.function)
        if not names:
            return []
        values = [self.argument(name) for name in names]
        return [part for part in leaves(values) if isinstance(part, Tensor)]

    @property
    def brings_back(self) -> bool:
        """Whether it carries numbers from the GPU to the CPU."""
        if self.name == "_to_copy":
            return bool(self.there) and not self.answers_there
        return self.name in ONTO and bool(self.there) and not all(map(on_gpu, self.written))

    @property
    def sends(self) -> bool:
        """Whether it carries numbers from the CPU to the GPU."""
        if self.name == "_to_copy":
            return not self.there and self.answers_there
        return self.name in ONTO and bool(self.here) and any(map(on_gpu, self.written))

    def argument(self, name: str) -> Any:
        """The value of an argument, given by place or by name; None where it was left out."""
        place = places_in(self.function).get(name, len(self.arguments))
        return self.arguments[place] if place < len(self.arguments) else self.options.get(name)


@cache
def name_of(function: OpOverload) -> str:
    """The name of an operation, without the variant."""
    return function._schema.name.split("::")[1]


@cache
def places_in(function: OpOverload) -> dict[str, int]:
    """At which place an operation takes each of its arguments."""
    return {argument.name: place for place, argument in enumerate(function._schema.arguments)}


@cache
def written_by(function: OpOverload) -> list[str]:
    """The arguments that an operation writes to."""
    arguments = [part for part in function._schema.arguments if part.alias_info is not None]
    return [argument.name for argument in arguments if argument.alias_info.is_write]

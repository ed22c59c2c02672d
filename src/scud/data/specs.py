"""Specs of modalities, checked: files of others may hold anything."""

from collections.abc import Collection, Mapping
from typing import Any

from scud.errors import fail
from scud.typing import Shape

_REMEDY = "write the run again with scud.save"


def check_names(kind: str, spec: Mapping[str, Any], names: Collection[str]) -> None:
    """Raise `UserError` unless a spec has exactly the entries of these names."""
    for name in names:
        if name not in spec:
            raise fail(f"the data of a run of {kind}", f"have an entry {name}", "none", _REMEDY)
    for name in spec:
        if name not in names:
            rule = f"have no entries but {', '.join(names)}"
            raise fail(f"the data of a run of {kind}", rule, repr(name), _REMEDY)


def integer_of(spec: Mapping[str, Any], name: str, low: int, high: int) -> int:
    """An entry that is an integer in low..high; raises `UserError` for any other."""
    value = spec[name]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise fail(f"data.{name}", f"be an integer in {low}..{high}", repr(value), _REMEDY)
    return value


def text_of(spec: Mapping[str, Any], name: str) -> str:
    """An entry that is text; raises `UserError` for any other."""
    value = spec[name]
    if not isinstance(value, str):
        raise fail(f"data.{name}", "be text", repr(value), _REMEDY)
    return value


def shape_of(spec: Mapping[str, Any], name: str, ndim: int | None = None) -> Shape:
    """An entry that is a list of `ndim` sizes (any number if it is None), at least 1 each."""
    value = spec[name]
    sizes = list(value) if isinstance(value, list | tuple) else []
    right = all(isinstance(size, int) and not isinstance(size, bool) for size in sizes)
    if not sizes or not right or min(sizes) < 1 or ndim not in (None, len(sizes)):
        rule = f"be a list of {ndim or 'one or more'} sizes, at least 1 each"
        raise fail(f"data.{name}", rule, repr(value), _REMEDY)
    return tuple(sizes)

"""Options of a thing: a frozen dataclass in the file of that thing, with `build` (of data: `read`), which makes it.

Options of one section of a configuration differ in their `kind`; the union of them is the section's registry. What a field
means stands in the text below it: the command line shows it. A value that breaks a rule is refused when the options are made,
by the check that the thing itself makes of its arguments.
"""

import ast
import inspect
import textwrap
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, get_args

from scud.files import absolute


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all options. Paths are kept in full, so that a saved configuration means the same in every folder."""

    # Read by pydantic, which turns files into options: a name that is none of the fields is refused.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Path):
                object.__setattr__(self, field.name, absolute(value, field.name))
        self.check()

    def check(self) -> None:
        """Raise `UserError` for a value that breaks a rule."""


def by_kind(union: Any) -> dict[str, type[Options]]:
    """The classes of a union of options, or the single class, by their `kind`."""
    classes = get_args(union) or (union,)
    return {kind_of(options): options for options in classes}


def kind_of(options: type[Options]) -> str:
    """The `kind` of a class of options."""
    (field,) = (field for field in fields(options) if field.name == "kind")
    return str(field.default)


def texts(options: type) -> dict[str, str]:
    """What each field of a dataclass means: the text below it, of its own and of the classes it is based on."""
    meanings: dict[str, str] = {}
    for base in reversed(options.__mro__):
        if is_dataclass(base) and base is not Options:
            meanings |= _own_texts(base)
    return meanings


@cache
def _own_texts(options: type) -> dict[str, str]:
    """The texts below the fields that a class itself declares; none where there is no source, as of a class made by code."""
    if "__texts__" in vars(options):
        return dict(vars(options)["__texts__"])
    body = ast.parse(textwrap.dedent(inspect.getsource(options))).body[0]
    assert isinstance(body, ast.ClassDef), "the source of a class is its definition"
    meanings = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            meanings[field.target.id] = " ".join(str(text.value.value).split())
    return meanings

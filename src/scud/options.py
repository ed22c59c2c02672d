"""Options of a thing: a frozen dataclass in the file of that thing, with `build` (of data: `read`), which makes it.

Options of one section of a configuration differ in their `kind`; the union of them is the section's registry. What a field
means stands in the text below it: the command line shows it, and messages quote it. A value that breaks a rule is refused when
the options are made, by the check that the thing itself makes of its arguments.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all options. Paths are kept in full, so that a saved configuration means the same in every folder."""

    # Read by pydantic, which turns files into options: a name that is none of the fields is refused.
    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "allow_inf_nan": False,
        "arbitrary_types_allowed": True,
    }

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Path):
                object.__setattr__(self, field.name, value.expanduser().resolve())
        self.check()

    def check(self) -> None:
        """Raise `UserError` for a value that breaks a rule."""

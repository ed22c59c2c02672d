"""What commands share: reading options."""

from collections.abc import Sequence
from typing import Literal, TypeVar

import tyro

Options = TypeVar("Options")

Split = Literal["train", "valid", "test"]


def parse(options: type[Options], command: str, arguments: Sequence[str], default: Options | None = None) -> Options:
    """Read a command's options into a dataclass; exits with status 2 and a message when they make no sense."""
    settings = (tyro.conf.FlagCreatePairsOff,)
    if default is None:
        return tyro.cli(options, args=arguments, prog=f"scud {command}", config=settings)
    return tyro.cli(options, args=arguments, prog=f"scud {command}", config=settings, default=default)

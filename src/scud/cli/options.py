"""What commands share: reading options."""

from collections.abc import Sequence
from typing import Literal, TypeVar

import tyro

from scud.errors import check_in_interval, fail

Options = TypeVar("Options")

Split = Literal["train", "valid", "test"]


LARGEST_SEED = 2**63 - 1


def check_seed(seed: int) -> None:
    """Raise `UserError` unless `seed` is one."""
    check_in_interval("seed", seed, 0, LARGEST_SEED, "any smaller number will do")


def parse(options: type[Options], command: str, arguments: Sequence[str], default: Options | None = None) -> Options:
    """Read a command's options into a dataclass; exits with status 2 and a message when they make no sense."""
    settings = (tyro.conf.FlagCreatePairsOff,)
    if default is None:
        return tyro.cli(options, args=arguments, prog=f"scud {command}", config=settings)
    return tyro.cli(options, args=arguments, prog=f"scud {command}", config=settings, default=default)


def parse_range(argument: str, text: str) -> tuple[int, int]:
    """First and last number of a range "80-120", or of a single number "100".

    Raises:
        UserError: the text is neither.
    """
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal()):
        raise fail(argument, "be a number or a range of them", repr(text), "write it as 100 or 80-120")
    return int(first), int(last)

"""How much memory what is read may take: half of what there is, so that it can be changed into what is needed of it."""

from scud.errors import fail
from scud.numerics.memory import check_memory

SHARE = 2
"""One part in so many of the memory may be taken by what is read."""

RATIO, PLAIN = 100, 1 << 30
"""What is compressed may hold so many times its size, or so many bytes whatever its size: more is a trap, or nearly empty."""


def check_read(argument: str, size: int, what: str, remedy: str) -> None:
    """Raise `UserError` for what would take more than its share of the memory; arguments as in `check_memory`."""
    check_memory(argument, size, what, remedy, share=SHARE)


def check_ratio(argument: str, size: int, compressed: int, remedy: str) -> None:
    """Raise `UserError` for so many bytes that are said to be in so few compressed ones."""
    if size > PLAIN and size > RATIO * compressed:
        rule = f"hold at most {RATIO} times its size where that is more than {PLAIN:,} bytes"
        raise fail(argument, rule, f"{size:,} bytes in {compressed:,}", remedy)

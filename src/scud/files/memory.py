"""How much memory what is read may take: half of what there is, so that it can be changed into what is needed of it."""

import os
from pathlib import Path

from scud.errors import fail

SHARE = 2
"""One part in so many of the memory may be taken by what is read."""

RATIO, PLAIN = 100, 1 << 30
"""What is compressed may hold so many times its size, or so many bytes whatever its size: more is a trap, or nearly empty."""

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_UNKNOWN = 16 << 30


def memory() -> int:
    """Bytes of memory: what the machine has, or the limit of this process or its container where that is less."""
    found = [_UNKNOWN]
    if hasattr(os, "sysconf"):
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    found += [int(text) for text in map(_content, _LIMITS) if text.isdecimal()]
    return min(found + _address_space())


def check_memory(argument: str, size: int, what: str, remedy: str) -> None:
    """Raise `UserError` for what would take more than its share of the memory.

    Args:
        argument: what it is called in messages.
        size: bytes that it would take.
        what: what it holds, such as "images [10, 3, 32, 32]".
        remedy: what to do.
    """
    share = memory() // SHARE
    if size > share:
        rule = f"take at most {share:,} bytes, one part in {SHARE} of the memory"
        raise fail(argument, rule, f"{what}, {size:,} bytes", remedy)


def check_ratio(argument: str, size: int, compressed: int, remedy: str) -> None:
    """Raise `UserError` for so many bytes that are said to be in so few compressed ones."""
    if size > PLAIN and size > RATIO * compressed:
        rule = f"hold at most {RATIO} times its size where that is more than {PLAIN:,} bytes"
        raise fail(argument, rule, f"{size:,} bytes in {compressed:,}", remedy)


def _content(name: str) -> str:
    """What a file of the system says; nothing where there is no such file."""
    path = Path(name)
    return path.read_text().strip() if path.is_file() else ""


def _address_space() -> list[int]:
    """The limit that the shell has set on the memory of this process, if it has."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if limit == resource.RLIM_INFINITY else [limit]

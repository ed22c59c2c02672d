"""How much memory there is: what clearly cannot fit is refused before it is begun, in place of a process that is killed."""

import os
from pathlib import Path

from scud.errors import fail

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says how much a container may have: a number, or "max"."""

_UNKNOWN = 1 << 50


def memory() -> int:
    """Bytes that this process may have at most: the machine's, its container's, or what `ulimit -v` allows."""
    found = [_UNKNOWN]
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    found += [int(text) for text in map(_content, _LIMITS) if text.isdecimal()]
    return min(found + _address_space())


def check_memory(argument: str, size: int, value: object, remedy: str, *, share: int = 1) -> None:
    """Raise `UserError` if something of `size` bytes cannot fit into memory.

    Args:
        argument: what asks for it.
        size: the bytes that it takes at least.
        value: what was asked for.
        remedy: what to do.
        share: it may take one part in so many of the memory.
    """
    most = memory() // share
    if size > most:
        part = "" if share == 1 else f"one part in {share} of "
        rule = f"fit into {part}memory, which is {in_bytes(most)}"
        raise fail(argument, rule, f"{value}, which takes {in_bytes(size)}", remedy)


def in_bytes(size: int) -> str:
    """A number of bytes as people say it, such as 3.2 GB."""
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}" if size < 10**18 else f"more than a million {unit}"
    return f"{size:,} bytes"


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

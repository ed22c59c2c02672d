"""How much memory there is: what clearly cannot fit is refused before it is begun, in place of a process that is killed."""

import os
from contextlib import suppress
from pathlib import Path

from scud.errors import fail

_OF_CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says how much a container may have."""

_UNKNOWN = 1 << 50


def memory() -> int:
    """Bytes that this process may have at most: the machine's, its container's, or what `ulimit -v` allows."""
    limits = [_UNKNOWN]
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # no container, or one without a limit, which says "max"
        limits.append(int(_OF_CONTAINER.read_text()))
    try:
        import resource
    except ImportError:  # Windows
        return min(limits)
    allowed = resource.getrlimit(resource.RLIMIT_AS)[0]
    return min(limits) if allowed == resource.RLIM_INFINITY else min(*limits, allowed)


def check_memory(argument: str, size: int, value: object, remedy: str) -> None:
    """Raise `UserError` if something of `size` bytes cannot fit into memory.

    Args:
        argument: what asks for it.
        size: the bytes that it takes at least.
        value: what was asked for.
        remedy: what to do.
    """
    most = memory()
    if size > most:
        rule = f"fit into memory, of which there are {in_bytes(most)}"
        raise fail(argument, rule, f"{value}, which takes {in_bytes(size)}", remedy)


def in_bytes(size: int) -> str:
    """A number of bytes as people say it, such as 3.2 GB."""
    for unit, scale in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}" if size < 10**18 else f"more than a million {unit}"
    return f"{size:,} bytes"

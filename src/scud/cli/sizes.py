"""Whether what is asked for fits in memory, before it is computed."""

from pathlib import Path
from typing import TYPE_CHECKING

from scud.errors import check_in_interval, fail

if TYPE_CHECKING:
    from scud.runs import Run

MOST = 100_000
"""Draws of an example."""

PER_DRAW = 64
"""Bytes that a draw at a position, or of an example, takes at least."""


def check_batch(tokens: int, total: int, run: "Run") -> None:
    """Raise `UserError` where a batch of so many positions, of so many in all, has no room for the network's predictions."""
    if run.device.type == "cpu":
        check_fits("batch_tokens", min(tokens, total), 8 * run.modality.num_states)


def check_draws(name: str, draws: int, each: int) -> None:
    """Raise `UserError` unless so many draws can be made.

    Args:
        name: of the option.
        draws: how many.
        each: examples, or positions, that each of them is of.
    """
    check_in_interval(name, draws, 1, MOST, "errors fall with its square root")
    check_fits(name, draws, PER_DRAW * each)


def check_fits(name: str, number: int, each: int) -> None:
    """Raise `UserError` where the number of an option takes more memory than there is, each of it so many bytes."""
    free = free_memory()
    if number * each > free:
        most = max(free // each, 1)
        rule = f"be at most {most:,} for the {free / 1e9:.1f} GB of memory that are free"
        raise fail(name, rule, number, "ask for less at once")


def free_memory() -> int:
    """Bytes of memory that are free, or that can be freed; where the system does not say, all that this process may have."""
    from scud.numerics.memory import memory  # loads PyTorch, which help does not wait for

    table, most = Path("/proc/meminfo"), memory()
    if table.is_file():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return min(int(line.split()[1]) * 1024, most)
    return most

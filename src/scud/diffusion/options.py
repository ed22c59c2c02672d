"""What the options of every model share."""

from dataclasses import dataclass
from typing import ClassVar

from scud.errors import check_in_interval
from scud.options import Options

T_MAX = 0.999
"""The largest time, by default."""


@dataclass(frozen=True, kw_only=True)
class DiffusionOptions(Options):
    """Base of the options of models, whose `build(data, process, schedule)` makes one of the options of its parts.

    Attributes:
        takes_process: whether the model works with any noise; if not, it has its own, and `process` is None.
    """

    takes_process: ClassVar[bool] = True

    t_max: float = T_MAX
    """Largest time; the prior term of the bound covers the rest."""

    def check(self) -> None:
        check_t_max(self.t_max)


def check_t_max(t_max: float) -> None:
    """Raise `UserError` unless a largest time lies in (0, 1)."""
    check_in_interval(
        "t_max", t_max, 0, 1, f"{T_MAX} is the default", open_low=True, open_high=True
    )

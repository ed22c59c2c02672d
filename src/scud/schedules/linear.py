"""Linear schedule: alpha = 1 - t."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from scud.options import Options
from scud.processes import Process
from scud.schedules.base import Schedule


class Linear(Schedule):
    """tau = -log(1 - t), beta = 1 / (1 - t)."""

    def tau(self, t: Tensor) -> Tensor:
        return -(-t).log1p()

    def beta(self, t: Tensor) -> Tensor:
        return 1 / (1 - t)

    def inverse(self, tau: Tensor) -> Tensor:
        return -(-tau).expm1()

    def spec(self) -> dict[str, Any]:
        return {"kind": "linear"}


@dataclass(frozen=True, kw_only=True)
class LinearOptions(Options):
    """The share of the data that noise has not reached falls linearly, alpha = 1 - t."""

    kind: Literal["linear"] = "linear"

    def build(self, process: Process | None, p0: Tensor, gamma: float) -> Linear:  # noqa: ARG002
        """The schedule, which is the same for every process, p0 and gamma."""
        return Linear()

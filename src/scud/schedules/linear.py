"""Linear schedule: alpha = 1 - t."""

from typing import Any

from torch import Tensor

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

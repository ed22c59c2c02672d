"""Cosine schedule: alpha = 1 - cos((1 - t) pi / 2) = 1 - sin(pi t / 2)."""

import math
from typing import Any

from torch import Tensor

from scud.schedules.base import Schedule


class Cosine(Schedule):
    """tau = -log(1 - sin(pi t / 2)), beta = (pi / 2) cos(pi t / 2) / (1 - sin(pi t / 2))."""

    def tau(self, t: Tensor) -> Tensor:
        return -(-(t * math.pi / 2).sin()).log1p()

    def beta(self, t: Tensor) -> Tensor:
        # cos / (1 - sin) = cot of half the angle that is left: no difference of near-equal numbers as t -> 1.
        return (math.pi / 2) / ((1 - t) * math.pi / 4).tan()

    def inverse(self, tau: Tensor) -> Tensor:
        return 1 - (4 / math.pi) * ((-tau).exp() / 2).sqrt().asin()

    def spec(self) -> dict[str, Any]:
        return {"kind": "cosine"}

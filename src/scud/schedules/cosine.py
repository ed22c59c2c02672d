"""Cosine schedule: alpha = 1 - cos((1 - t) pi / 2) = 1 - sin(pi t / 2)."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from scud.options import Options
from scud.processes import Process
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


@dataclass(frozen=True, kw_only=True)
class CosineOptions(Options):
    """alpha = 1 - cos((1 - t) pi / 2)."""

    kind: Literal["cosine"] = "cosine"

    def build(self, process: Process | None, p0: Tensor, gamma: float) -> Cosine:  # noqa: ARG002
        """The schedule, which is the same for every process, p0 and gamma."""
        return Cosine()

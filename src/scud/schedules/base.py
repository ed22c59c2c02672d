"""Schedules: when noise happens. t in [0, 1] runs from data to noise; tau(t) is the effective time spent in the process.

tau(0) = 0, tau increases, beta = d tau / dt, alpha = exp(-tau). A process with event rate r has had
lambda(t) = r tau(t) events on average. Times are float64: they are one number per example, and ratios such as
beta / tau lose digits near the ends.
"""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn


class Schedule(nn.Module, ABC):
    """tau(t), its exact derivative and its inverse, element-wise on float64 tensors of any shape, for t in [0, 1)."""

    @abstractmethod
    def tau(self, t: Tensor) -> Tensor:
        """Effective time tau(t) >= 0."""

    @abstractmethod
    def beta(self, t: Tensor) -> Tensor:
        """The exact derivative d tau / dt of what `tau` returns."""

    def at(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """tau(t) and beta(t), which may be made together."""
        return self.tau(t), self.beta(t)

    @abstractmethod
    def inverse(self, tau: Tensor) -> Tensor:
        """The t with tau(t) = tau."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """The registered `kind`: enough to build the schedule again, beside the process and p0."""

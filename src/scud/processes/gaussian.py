"""Gaussian noise for ordered states: near states are likelier than far ones (Austin et al. 2021; Amin et al. 2025).

Q_ij = exp(-(i - j)² / (2 (bandwidth B)²)) / c off the diagonal, with c = (largest row sum of the exponentials, diagonal
included) - 1, so that r* = 1.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from scud.errors import check_positive, fail
from scud.options import Options
from scud.processes.base import MatrixProcess, Process, check_num_states
from scud.processes.kernels.base import check_small
from scud.typing import DataView

BANDWIDTH = 0.05
"""The paper's, for images."""

NARROWEST = 1e-3
"""The narrowest jump, in states: narrower ones are all to the nearest neighbour, as this one is."""


WIDEST = 1e150
"""The widest jump, in states: wider ones are to all states alike, as this one is."""


class Gaussian(MatrixProcess):
    """Gaussian jumps on the line of states 0..B-1.

    Args:
        num_states: B >= 2.
        bandwidth: standard deviation of a jump as a fraction of B; > 0.
        normalized: divide each row by its exit rate, so that states at the ends jump as often as those inside.

    Raises:
        UserError: bandwidth not positive, not finite or far below the distance of two states.
    """

    def __init__(
        self, num_states: int, bandwidth: float = BANDWIDTH, normalized: bool = False
    ) -> None:
        check_num_states(num_states)
        check_bandwidth(bandwidth)
        check_small(num_states, "Gaussian noise")
        width = min(float(bandwidth) * num_states, WIDEST)
        if width < NARROWEST:
            raise fail(
                "bandwidth",
                f"be at least {NARROWEST:g} of one state",
                bandwidth,
                f"use {1 / num_states:.2g} or more",
            )
        self.bandwidth, self.normalized = bandwidth, normalized
        states = torch.arange(num_states, dtype=torch.float64)
        distance = (states.unsqueeze(1) - states) / width
        # The nearest state's exponential is divided out first: a narrow kernel must not underflow.
        nearest = -0.5 / width**2
        rates = (-0.5 * distance**2 - nearest).exp().fill_diagonal_(0.0)
        if normalized:
            rates = rates / rates.sum(1, keepdim=True)
        rates = rates / rates.sum(1).max()
        super().__init__(rates - rates.sum(1).diag())

    def spec(self) -> dict[str, Any]:
        return {
            "kind": "gaussian",
            "num_states": self.num_states,
            "bandwidth": self.bandwidth,
            "normalized": self.normalized,
        }


def check_bandwidth(bandwidth: float) -> None:
    """Raise `UserError` unless a bandwidth is positive and finite."""
    check_positive("bandwidth", bandwidth, f"{BANDWIDTH} is the paper's for images")


@dataclass(frozen=True, kw_only=True)
class GaussianOptions(Options):
    """Near states are likelier than far ones."""

    process: ClassVar[type[Process]] = Gaussian

    kind: Literal["gaussian"] = "gaussian"

    bandwidth: float = BANDWIDTH
    """Standard deviation of a jump as a fraction of the number of states."""

    normalized: bool = False
    """Let all states jump equally often, those at the ends too."""

    def check(self) -> None:
        check_bandwidth(self.bandwidth)

    def build(self, data: DataView) -> Gaussian:
        """Gaussian noise over the data's states."""
        return Gaussian(data.num_states, self.bandwidth, self.normalized)

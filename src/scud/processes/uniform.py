"""Uniform noise: every other state is equally likely. Q_ij = 1 / (B - 1) off the diagonal, so r* = 1."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from scud.options import Options
from scud.processes.base import Process, check_forgets, check_num_states
from scud.processes.kernels.base import Kernel, check_small
from scud.processes.kernels.rank_one import RankOneKernel
from scud.typing import DataView


class Uniform(Process):
    """Q = rho (11ᵀ / B - I) with rho = B / (B - 1).

    At gamma = 1 - 1/B one event forgets everything (K = 11ᵀ / B) and SCUD is masking diffusion.

    Args:
        num_states: B >= 2.
    """

    def __init__(self, num_states: int) -> None:
        check_num_states(num_states)
        self.num_states = num_states
        self.stationary = torch.full((num_states,), 1 / num_states, dtype=torch.float64)
        self.exit_rates = torch.ones(num_states, dtype=torch.float64)
        self._forgetting = num_states / (num_states - 1)

    def generator(self) -> Tensor:
        check_small(self.num_states, "a generator")
        flat = torch.full(
            (self.num_states, self.num_states), 1 / self.num_states, dtype=torch.float64
        )
        return self._forgetting * (flat - torch.eye(self.num_states, dtype=torch.float64))

    def events(self, gamma: float) -> Kernel:
        kept = 1 - self._forgetting / self.rate(gamma)
        check_forgets(torch.tensor([1.0, kept], dtype=torch.complex128), gamma)
        return RankOneKernel(kept, self.stationary)

    def time(self) -> Kernel:
        return RankOneKernel(
            float(torch.tensor(-self._forgetting, dtype=torch.float64).exp()), self.stationary
        )

    def spec(self) -> dict[str, Any]:
        return {"kind": "uniform", "num_states": self.num_states}


@dataclass(frozen=True, kw_only=True)
class UniformOptions(Options):
    """Every other state is equally likely."""

    process: ClassVar[type[Process]] = Uniform

    kind: Literal["uniform"] = "uniform"

    def build(self, data: DataView) -> Uniform:
        """Uniform noise over the data's states."""
        return Uniform(data.num_states)

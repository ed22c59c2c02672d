"""Any generator the user has."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from scud.errors import fail
from scud.files import check_file
from scud.files.arrays import npy_array
from scud.options import Options
from scud.processes.base import MatrixProcess, Process
from scud.processes.kernels.base import check_small
from scud.typing import DataView


class Dense(MatrixProcess):
    """The process of a given generator Q [B, B], reversible or not (see `MatrixProcess` for what is checked)."""

    def __init__(self, generator: Tensor) -> None:
        super().__init__(generator)

    def spec(self) -> dict[str, Any]:
        return {"kind": "dense", "generator": self.generator()}


@dataclass(frozen=True, kw_only=True)
class DenseOptions(Options):
    """Rates from a file."""

    process: ClassVar[type[Process]] = Dense

    kind: Literal["dense"] = "dense"

    generator: Path | None = None
    """A .npy file of rates [B, B], off-diagonal >= 0, rows that sum to 0."""

    def build(self, data: DataView) -> Dense:
        """The process of the rates in the file.

        Raises:
            UserError: no file named, not a .npy file of numbers, or not over the data's states.
        """
        return Dense(read_generator(self.generator, data.num_states))


def read_generator(path: Path | None, num_states: int) -> Tensor:
    """Rates [B, B] float64 from a .npy file; errors as in `DenseOptions.build`."""
    if path is None:
        raise fail(
            "process.generator", "name a .npy file", "nothing", "add --process.generator FILE"
        )
    remedy = "write it with numpy.save(path, rates)"
    check_small(num_states, "rates from a file")
    check_file(path, "a .npy file of rates", "process.generator")
    rates = npy_array(path, argument="process.generator", remedy=remedy)
    if rates.dtype.kind not in "fiu":
        raise fail(
            "process.generator", "be a .npy file of numbers", f"{path} of {rates.dtype}", remedy
        )
    if rates.shape != (num_states, num_states):
        rule = f"hold rates between the data's states, [{num_states}, {num_states}]"
        raise fail("process.generator", rule, list(rates.shape), remedy)
    return torch.from_numpy(np.asarray(rates, dtype=np.float64))

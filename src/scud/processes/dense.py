"""Any generator the user has."""

from typing import Any

from torch import Tensor

from scud.processes.base import MatrixProcess


class Dense(MatrixProcess):
    """The process of a given generator Q [B, B], reversible or not (see `MatrixProcess` for what is checked)."""

    def __init__(self, generator: Tensor) -> None:
        super().__init__(generator)

    def spec(self) -> dict[str, Any]:
        return {"kind": "dense", "generator": self.generator()}

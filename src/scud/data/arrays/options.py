"""Options by which arrays are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from scud.data.arrays.load import load_arrays
from scud.data.arrays.modality import Arrays, check_num_states
from scud.data.base import Modality
from scud.data.dataset import Data
from scud.data.files import check_share, training_file
from scud.options import Options


@dataclass(frozen=True, kw_only=True)
class ArraysOptions(Options):
    """Arrays of categories of any meaning and shape, as integers from 0 on."""

    kind: Literal["arrays"] = "arrays"
    """What is modelled."""

    train: Path | None = None
    """A .npy file of integers [N, ...]; or an .npz file with x_train and perhaps x_valid and
    x_test, and class labels y_train, y_valid and y_test [N]."""

    valid: Path | None = None
    """A .npy or .npz file for validation; of an .npz file, x_valid or else x_train is read."""

    test: Path | None = None
    """A .npy or .npz file for the final test; of an .npz file, x_test or else x_train is read."""

    valid_share: float = 0.05
    """Share of the training examples held out, by a fixed shuffle, where there are none for
    validation."""

    num_states: int | None = None
    """How many categories there are; by default, one more than the largest number in training
    data."""

    modality: ClassVar[type[Modality]] = Arrays

    def check(self) -> None:
        check_share(self.valid_share)
        if self.num_states is not None:
            check_num_states(self.num_states)

    def read(self) -> Data:
        """Read the arrays; raises `UserError` naming what is wrong with a file."""
        return load_arrays(
            training_file(self.train, "a .npy or .npz file of integers"),
            self.num_states,
            self.valid_share,
            files={"valid": self.valid, "test": self.test},
        )

"""Arrays of categories, to commands: numbers, in and out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.data.arrays.read import read_examples
from scud.data.base import Modality, Spec
from scud.data.examples import Examples, check_shape
from scud.data.specs import check_names, integer_of, shape_of
from scud.errors import check_in_interval, fail
from scud.files.arrays import npz_arrays
from scud.files.npz import write_npz
from scud.typing import DataView, ExampleSet, Shape

if TYPE_CHECKING:
    from scud.evaluation import Evaluation
    from scud.evaluation.report import Figure, Row
    from scud.samplers import Samples

MOST_STATES = 1 << 31
"""The most states: they are kept as integers of four bytes at most."""

_GIVE = "give the samples.npz that scud sample wrote, or np.savez_compressed(path, x=states)"


def check_num_states(num_states: int) -> None:
    """Raise `UserError` for a number of states that arrays cannot have."""
    remedy = "give the number of categories"
    check_in_interval("num_states", num_states, 2, MOST_STATES, remedy)


class Arrays(Modality):
    """Arrays of one shape.

    Args:
        num_states: B.
        dims: the shape.
    """

    kind = "arrays"
    noun = "arrays"
    unit = "bits/dim"
    position = "dim"

    def __init__(self, num_states: int, dims: Shape) -> None:
        check_num_states(num_states)
        self._num_states = num_states
        self._dims = dims

    @property
    def num_states(self) -> int:
        return self._num_states

    @property
    def state_names(self) -> Sequence[str]:
        return [str(state) for state in range(self.num_states)]

    @property
    def dims(self) -> Shape:
        return self._dims

    def spec(self) -> Spec:
        return {"num_states": self.num_states, "dims": list(self.dims)}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        check_names(cls.noun, spec, ("num_states", "dims"))
        return cls(integer_of(spec, "num_states", 2, MOST_STATES), shape_of(spec, "dims"))

    def describe(self) -> str:
        return f"arrays of {self.num_states} states"

    def decode(self, states: Sequence[Tensor]) -> Sequence[NDArray[np.int64]]:
        """The states themselves, [*dims]."""
        return [array.cpu().numpy() for array in states]

    def write(self, samples: "Samples", folder: Path) -> list[Path]:
        """States to samples.npz (array x), in the smallest integers that hold them."""
        target = folder / "samples.npz"
        parts = (part.numpy() for part in samples.parts())
        write_npz(target, parts, samples.shape, np.min_scalar_type(self.num_states - 1))
        return [target]

    def read(self, path: Path) -> list[Tensor]:
        arrays, held = npz_arrays(path, ["x"], argument="samples", remedy=_GIVE)
        if "x" not in arrays:
            found = f"{path} with {', '.join(held) or 'no arrays'}"
            raise fail("samples", "hold an array x", found, _GIVE)
        x = arrays["x"]
        if x.dtype.kind not in "iu" or x.shape[1:] != self.dims or x.size == 0:
            rule = f"hold integers [N, {', '.join(str(size) for size in self.dims)}]"
            raise fail(f"x in {path}", rule, f"{x.dtype} {list(x.shape)}", _GIVE)
        if x.min() < 0 or x.max() >= self.num_states:
            rule = f"hold states in 0..{self.num_states - 1}"
            raise fail(f"x in {path}", rule, f"{x.min()}..{x.max()}", "give samples of this model")
        return list(torch.from_numpy(x.astype(np.int64)))

    def examples(self, path: Path) -> Examples:
        examples = read_examples(path, "test", self.num_states)
        check_shape(f"the {self.noun} of {path}", examples, self.num_states, self.dims)
        return examples

    def reading(self, examples: ExampleSet) -> Sequence[str]:
        assert isinstance(examples, Examples), "arrays are kept as examples"
        return examples.report

    def figures(self, result: "Evaluation", examples: ExampleSet | None) -> list["Figure"]:
        return [result.bits]

    def quality(
        self, samples: Sequence[Tensor], data: DataView, split: str, seed: int
    ) -> list["Row"]:
        from rich.console import Console

        from scud.data.arrays.quality import array_quality

        drawn = torch.stack(list(samples))
        heldout, training = states_of(data, split), states_of(data, "train")
        with Console(stderr=True).status("comparing with training data"):
            return array_quality(drawn, heldout, training, self.num_states, seed).rows()


def states_of(data: DataView, split: str) -> Tensor:
    """The states of a split, [N, *dims]."""
    examples = data.split(split)
    assert isinstance(examples, Examples), "arrays are kept as examples"
    return examples.x

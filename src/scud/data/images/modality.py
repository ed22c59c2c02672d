"""Images, to commands: pixels instead of levels, pictures and animations."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.data.base import Modality, Spec
from scud.data.examples import Examples, check_shape
from scud.data.images.npz import read_samples
from scud.data.images.read import quantise, read_levels
from scud.data.specs import check_names, integer_of, shape_of
from scud.errors import check_in_interval, fail
from scud.typing import DataView, ExampleSet

if TYPE_CHECKING:
    from scud.evaluation import Evaluation
    from scud.evaluation.report import Figure, Row
    from scud.samplers import Samples

ANIMATED = 16
"""Images shown in the animation: the first ones."""

SHOWN = 256
"""Most images in the grid: the first ones; the file of samples holds all."""

SECONDS = 3
"""How long the animation takes."""


def check_levels(num_states: int) -> None:
    """Raise `UserError` for a number of levels that pixels cannot have."""
    remedy = "choose the number of grey or colour levels, such as 16 or 256; pixels are bytes, so there are no more"
    check_in_interval("num_states", num_states, 2, 256, remedy)


class Images(Modality):
    """Images of one shape.

    Args:
        num_states: levels B.
        dims: (channels, height, width).
    """

    kind = "images"
    noun = "images"
    unit = "bits/dim"
    position = "dim"

    def __init__(self, num_states: int, dims: tuple[int, int, int]) -> None:
        check_levels(num_states)
        self._num_states = num_states
        self._dims = dims

    @property
    def num_states(self) -> int:
        return self._num_states

    @property
    def state_names(self) -> Sequence[str]:
        return [str(level) for level in range(self.num_states)]

    @property
    def dims(self) -> tuple[int, int, int]:
        return self._dims

    @property
    def at_once(self) -> int:
        return 256 * math.prod(self.dims)

    def spec(self) -> Spec:
        return {"num_states": self.num_states, "dims": list(self.dims)}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        check_names(cls.noun, spec, ("num_states", "dims"))
        channels, height, width = shape_of(spec, "dims", 3)
        return cls(integer_of(spec, "num_states", 2, 256), (channels, height, width))

    def describe(self) -> str:
        return f"images of {self.num_states} levels"

    def decode(self, states: Sequence[Tensor]) -> Sequence[NDArray[np.uint8]]:
        """Pixels [height, width, channels]."""
        return list(self._pixels(torch.stack(list(states))))

    def write(self, samples: "Samples", folder: Path) -> list[Path]:
        """Pixels to samples.npz (array x), a grid to samples.png, and denoising.gif.

        The animation shows `samples.frames`, and is left out where there are none.
        """
        from scud import plots
        from scud.files.npz import write_npz

        files = [folder / "samples.npz", folder / "samples.png"]
        count, channels, height, width = samples.shape
        pixels = (self._pixels(part) for part in samples.parts())
        write_npz(files[0], pixels, (count, height, width, channels), np.uint8)
        first = torch.stack(list(samples.states[:SHOWN])).numpy().astype(np.uint8)
        plots.save_image(plots.sample_grid(first, self.num_states), files[1])
        if samples.frames:
            files.append(folder / "denoising.gif")
            frames = [self._visible(frame[:ANIMATED].cpu().numpy()) for frame in samples.frames]
            animation = plots.denoising_animation(np.stack(frames), self.num_states)
            plots.save_animation(animation, files[-1], seconds=SECONDS)
        return files

    def read(self, path: Path) -> list[Tensor]:
        levels = quantise(read_samples(path, self.dims), self.num_states)
        return list(torch.from_numpy(levels))

    def examples(self, path: Path) -> Examples:
        examples = read_levels(path, "test", self.num_states)
        check_shape(f"the {self.noun} of {path}", examples, self.num_states, self.dims)
        return examples

    def reading(self, examples: ExampleSet) -> Sequence[str]:
        assert isinstance(examples, Examples), "images are kept as examples"
        return examples.report

    def figures(self, result: "Evaluation", examples: ExampleSet | None) -> list["Figure"]:
        return [result.bits]

    def quality(
        self, samples: Sequence[Tensor], data: DataView, split: str, seed: int
    ) -> list["Row"]:
        from rich.console import Console

        from scud.data.images.quality import check_images, image_quality, train_classifier

        drawn, training = torch.stack(list(samples)), levels_of(data, "train")
        train, label = labelled(data, "train")
        valid, valid_label = labelled(data, "valid")
        heldout = levels_of(data, split)
        # Training a classifier takes a while: mistakes are told before that.
        for name, images in (("samples", drawn), (f"{split} images", heldout)):
            check_images(name, images, self.num_states)
        with Console(stderr=True).status("training a classifier for its features"):
            trained = train_classifier(train, label, valid, valid_label, self.num_states, seed=seed)
        with Console(stderr=True).status("comparing with training data"):
            return image_quality(drawn, heldout, training, trained, seed).rows()

    def _pixels(self, levels: Tensor) -> NDArray[np.uint8]:
        from scud import plots

        return plots.to_pixels(levels.cpu().numpy().astype(np.uint8), self.num_states)

    def _visible(self, x_t: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """States that can be drawn: a masked position (state B) is shown as the middle level."""
        return np.where(x_t == self.num_states, self.num_states // 2, x_t)


def levels_of(data: DataView, split: str) -> Tensor:
    """The levels of a split, [N, C, H, W]."""
    examples = data.split(split)
    assert isinstance(examples, Examples), "images are kept as examples"
    return examples.x


def labelled(data: DataView, split: str) -> tuple[Tensor, Tensor]:
    """Levels [N, C, H, W] and class labels [N] of the images of a split that have one.

    Raises:
        UserError: there are no labels, or several of an image.
    """
    examples = data.split(split)
    assert isinstance(examples, Examples), "images are kept as examples"
    if examples.label is None or examples.label.ndim > 1:
        argument = f"{split} images of {data.name}"
        rule = "have a class label each, for a classifier whose features are compared"
        found = "none" if examples.label is None else "several of each"
        remedy = f"put each class in a folder of its own, or add an array y_{split} to an .npz file"
        raise fail(argument, rule, found, remedy)
    present = examples.label >= 0
    return examples.x[present], examples.label[present]

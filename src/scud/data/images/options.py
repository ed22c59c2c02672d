"""Options by which images are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from scud.data.base import Modality
from scud.data.dataset import Data
from scud.data.files import check_one_source, training_file
from scud.data.images.load import check_options, load_digits, load_hub_images, load_images
from scud.data.images.modality import Images
from scud.errors import fail
from scud.options import Options


@dataclass(frozen=True, kw_only=True)
class DigitsOptions(Options):
    """The 1,797 handwritten digits of 8x8 pixels and 17 levels that ship with scikit-learn."""

    kind: Literal["digits"] = "digits"
    """What is modelled."""

    modality: ClassVar[type[Modality]] = Images

    def read(self) -> Data:
        """The digits, in their fixed splits."""
        return load_digits()


@dataclass(frozen=True, kw_only=True)
class ImagesOptions(Options):
    """Images from a file, a folder or the Hugging Face hub."""

    kind: Literal["images"] = "images"
    """What is modelled."""

    train: Path | None = None
    """An .npz file with x_train and perhaps x_valid, x_test: uint8, [N, H, W] or [N, H, W, C], and
    labels y_train, …; a folder of pictures, perhaps one per class, perhaps below train, valid and
    test; CIFAR-10's binary version; a folder of MNIST's or downsampled ImageNet's files; a
    .parquet file or a folder of them."""

    hub: str | None = None
    """A data set of the Hugging Face hub to download instead, such as uoft-cs/cifar10, or with a
    configuration owner/name:configuration. Needs the extra `hub`."""

    valid: Path | None = None
    """Images for validation, in the same forms; of a file or folder that has a split for
    validation, that split."""

    test: Path | None = None
    """Images for the final test, in the same forms; of a file or folder that has a split for test,
    that split."""

    valid_share: float = 0.05
    """Share of the training images held out, by a fixed shuffle, where there are none for
    validation."""

    labels: Path | None = None
    """A table (TSV or CSV, plain or gzipped) of class labels by file name, for a folder of
    pictures: a header, then a line for each picture."""

    num_states: int = 256
    """Levels that the values of a pixel are evenly quantised to; a pixel is a byte, so 256 keep
    every value and there are no more."""

    flips: bool = False
    """Mirror half of the training images, chosen at random in every step, left to right."""

    modality: ClassVar[type[Modality]] = Images

    def check(self) -> None:
        check_options(self.num_states, self.valid_share)
        check_one_source(self.train, self.hub)
        if self.labels is not None and self.hub is not None:
            remedy = "leave it out: labels are a column of the data set"
            raise fail(
                "data.labels", "come with a folder of pictures", f"--data.hub {self.hub}", remedy
            )

    def read(self) -> Data:
        """Read the images; raises `UserError` naming what is wrong with a file."""
        files = {"valid": self.valid, "test": self.test}
        if self.hub is not None:
            return load_hub_images(
                self.hub, self.num_states, self.valid_share, files=files, flips=self.flips
            )
        return load_images(
            training_file(self.train, "a file or folder of images"),
            self.num_states,
            self.valid_share,
            files=files,
            labels=self.labels,
            flips=self.flips,
        )

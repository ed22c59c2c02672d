"""Images that cannot be used: each mistake ends with a short message that names the remedy and exit status 2, and nothing is
written."""

import pickle
from collections.abc import Callable
from pathlib import Path

import datasets
import huggingface_hub.constants
import numpy as np
import pytest
from PIL import Image

from tests.integration.conftest import Command
from tests.unit.image_files import png, random_pixels, write_cifar, write_idx

Refuse = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a run would be, in a working directory of its own."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "new"


@pytest.fixture
def train(refuse: Refuse, tiny: list[str], run: Path) -> Refuse:
    """Training on a file or a folder, which must be refused."""

    def check(path: Path, *options: str) -> str:
        said = refuse("train", "images", *tiny, f"--data.train={path}", f"--out={run}", *options)
        assert not run.parent.exists()
        return said

    return check


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of twelve pictures of 5 x 4 pixels in colour."""
    (tmp_path / "pictures").mkdir()
    for number, image in enumerate(random_pixels(12, 4, 5, 3)):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{number:02}.png")
    return tmp_path / "pictures"


def test_a_pickle_offered_as_cifar(train: Refuse, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": [[0] * 3072], b"labels": [3]}, 2))
    for given in (path, path.parent):
        said = train(given)
        assert f"name no pickle, because reading one can run code, got {path}" in said
        assert "use the binary version of CIFAR-10, cifar-10-binary.tar.gz" in said


def test_damaged_cifar_and_idx_files(train: Refuse, tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar")
    path = tmp_path / "cifar" / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    assert "data_batch_2.bin in" in train(tmp_path / "cifar")
    (tmp_path / "mnist").mkdir()
    write_idx(tmp_path / "mnist" / "train-images-idx3-ubyte", random_pixels(4, 5))
    assert "which starts 00 00 08 03, got 00 00 08 02" in train(tmp_path / "mnist")


def test_a_corrupt_picture(train: Refuse, folder: Path) -> None:
    path = folder / "07.png"
    path.write_bytes(path.read_bytes()[:60])
    assert f"the picture {path} must be an undamaged file" in train(folder)
    path.write_bytes(b"")
    assert "remove it or replace it" in train(folder)


def test_mixed_sizes_and_channels(train: Refuse, folder: Path) -> None:
    Image.fromarray(random_pixels(5, 4, 3)).save(folder / "07.png")
    size = train(folder)
    assert (
        f"the picture {folder / '07.png'} must have the 5 x 4 pixels and 3 channels of the first one"
        in size
    )
    assert "got 4 x 5 pixels and 3 channels; bring all to one size" in size
    Image.fromarray(random_pixels(4, 5)).save(folder / "07.png")
    assert "got 5 x 4 pixels and 1 channel; convert all to grey, or all to RGB" in train(folder)


def test_pictures_of_16_bits_with_transparency_or_many_frames(train: Refuse, folder: Path) -> None:
    for colour, width in ((0, 10), (2, 30)):
        (folder / "07.png").write_bytes(png(random_pixels(4, width), 16, colour))
        deep = train(folder)
        assert (
            f"the picture {folder / '07.png'} must have 8 bits a channel, got 16 bits; rescale"
            in deep
        )
    Image.fromarray(random_pixels(4, 5, 4)).save(folder / "07.png")
    assert "flatten it on a background" in train(folder)
    frames = [Image.fromarray(frame) for frame in random_pixels(2, 4, 5, 3)]
    frames[0].save(folder / "07.png", save_all=True, append_images=frames[1:])
    assert "must hold one frame, got 2 frames" in train(folder)


def test_a_folder_without_pictures_and_a_file_of_another_kind(
    train: Refuse, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert "must hold pictures" in train(tmp_path / "empty")
    (tmp_path / "image.bin").write_bytes(b"12345")
    assert "give an .npz or .parquet file" in train(tmp_path / "image.bin")


def test_a_damaged_parquet_file(train: Refuse, tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    assert "train.parquet must be an undamaged parquet file" in train(tmp_path / "train.parquet")


def test_more_levels_than_a_byte_has(train: Refuse, folder: Path) -> None:
    said = train(folder, "--data.num-states=257")
    assert "data.num_states must lie in [2, 256], got 257" in said
    assert "pixels are bytes, so there are no more" in said


def test_two_sources(train: Refuse, folder: Path) -> None:
    said = train(folder, "--data.hub=owner/name")
    assert "data.train and data.hub must not be given together, got both; drop one of them" in said


def test_a_name_that_the_hub_cannot_give(
    refuse: Refuse, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = refuse("train", "images", "--data.hub=nobody/nothing", f"--out={run}")
    assert "data.hub must name a data set that can be loaded, got nobody/nothing" in said
    assert "check the name (owner/name or owner/name:configuration) and the connection" in said


def test_training_on_a_folder_of_classes(scud: Command, tiny: list[str], tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "animals" / name).mkdir(parents=True)
        for number, image in enumerate(random_pixels(10, 4, 4)):
            Image.fromarray(image).save(tmp_path / "animals" / name / f"{number}.png")
    options = [
        *tiny,
        f"--data.train={tmp_path / 'animals'}",
        "--data.valid-share=0.2",
        "--training.steps=1",
    ]
    outcome = scud("train", "images", *options, "--out", tmp_path / "run")
    assert outcome.status == 0
    assert "train: 16 images" in outcome.err
    assert "valid: 4 images, held out of those for training" in outcome.err
    assert scud("evaluate", tmp_path / "run", "--repeats=1").status == 0
    assert scud("sample", tmp_path / "run", "--num=2", "--steps=2").status == 0
    assert np.asarray(Image.open(tmp_path / "run" / "samples" / "samples.png")).ndim == 2

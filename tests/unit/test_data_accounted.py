"""Readers of images and arrays use all that they are given, or say what they leave out, or refuse it."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from scud.data import Data, Examples, load_arrays, load_images
from scud.errors import UserError
from tests.unit.image_files import Pixels, random_pixels, write_cifar, write_idx, write_imagenet


def save(path: Path, **arrays: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def pictures(folder: Path, count: int = 3, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(random_pixels(count, 5, 4, seed=seed)):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def sizes(data: Data) -> dict[str, int]:
    return {name: len(part) for name, part in data.splits.items()}


def states(data: Data, split: str) -> NDArray[Any]:
    examples = data.split(split)
    assert isinstance(examples, Examples)
    return examples.x.numpy()


IMAGES = random_pixels(12, 5, 4)
Load = Callable[[Path], Data]
LOADERS: list[Load] = [lambda path: load_images(path, 256), lambda path: load_arrays(path, 256)]


# Arrays of an npz file


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "x_val", "x_test", "y_train"),
        ("X_train", "X_dev", "X_test", "Y_train"),
        ("train_images", "val_images", "test_images", "train_labels"),
        ("trainx", "validation", "testing", "training_targets"),
    ],
)
def test_splits_by_other_names_are_used_and_said(
    tmp_path: Path, load: Load, names: tuple[str, ...]
) -> None:
    x_train, x_valid, x_test, y_train = names
    labels = np.arange(6)[:, None]
    parts = {x_train: IMAGES[:6], x_valid: IMAGES[6:9], x_test: IMAGES[9:], y_train: labels}
    data = load(save(tmp_path / "a.npz", **parts, mean=np.zeros(3)))
    assert sizes(data) == {"train": 6, "valid": 3, "test": 3}
    np.testing.assert_array_equal(states(data, "valid").reshape(3, 5, 4), IMAGES[6:9])
    label = data.split("train").batch(torch.arange(6)).label
    assert label is not None
    assert label.tolist() == list(range(6))
    assert f"read {x_valid} as x_valid" in " ".join(data.report)
    assert "left out of the arrays: mean" in data.report
    assert "classes: 0, 1, 2, 3, 4, 5" in data.report


@pytest.mark.parametrize("load", LOADERS)
def test_of_two_arrays_for_a_split_that_of_the_plain_name_is_used(
    tmp_path: Path, load: Load
) -> None:
    path = save(tmp_path / "a.npz", x_val=IMAGES[:2], x_train=IMAGES, x_valid=IMAGES[:3])
    data = load(path)
    assert sizes(data)["valid"] == 3
    assert "left out of the arrays: x_val" in data.report
    path = save(tmp_path / "a.npz", x_train=IMAGES, x_val=IMAGES, x_dev=IMAGES)
    with pytest.raises(UserError, match="hold one array x_valid, got x_val and x_dev; leave out"):
        load(path)


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(12), r"hold integers or texts, got float64; convert it with .astype\(np.int64"),
        (np.eye(12, dtype=int), r"have shape \[12\], got \[12, 12\]; .*y.argmax\(1\)"),
        (np.arange(12) > 3, "hold integers or texts, got bool"),
        (np.array([b"a"] * 12), r"got \|S1; convert it with .astype\(str\)"),
        (np.full(12, 1 << 63, np.uint64), r"hold integers below 2\^63, got 9223372036854775808"),
    ],
)
def test_labels_of_other_types_are_refused(
    tmp_path: Path, load: Load, labels: NDArray[Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load(save(tmp_path / "a.npz", x_train=IMAGES, y_train=labels))


# Files named for a split


@pytest.mark.parametrize("kind", ["images", "arrays"])
def test_what_a_file_named_for_a_split_gives_is_said(tmp_path: Path, kind: str) -> None:
    def load(path: Path, **files: Path) -> Data:
        if kind == "images":
            return load_images(path, 256, files=files)
        return load_arrays(path, 256, files=files)

    path = save(tmp_path / "a.npz", x_train=IMAGES, x_valid=IMAGES[:1])
    test = save(tmp_path / "test.npz", x_test=IMAGES[:4])
    valid = save(tmp_path / "valid.npz", x_train=IMAGES[:5], x_test=IMAGES[:2])
    data = load(path, valid=valid, test=test)
    assert sizes(data) == {"train": 12, "valid": 5, "test": 4}
    assert "valid file: its train part was taken, and not test" in data.report
    assert "valid file: it stands in for the valid part of the training file" in data.report
    with pytest.raises(UserError, match="must hold valid or train, got test"):
        load(path, valid=test)
    with pytest.raises(UserError, match=r"hold an array x_train, got .* with test; add x_train"):
        load(test)
    for missing in ("valid", "test"):
        with pytest.raises(UserError, match="name a file"):
            load(path, **{missing: tmp_path / "no.npz"})


# Folders of pictures


def test_links_to_class_folders_are_followed(tmp_path: Path) -> None:
    folder = tmp_path / "some"
    pictures(folder / "cow")
    for name in ("cat", "dog"):
        pictures(tmp_path / "elsewhere" / name)
        (folder / name).symlink_to(tmp_path / "elsewhere" / name)
    (folder / "cow" / "3.png").symlink_to(tmp_path / "elsewhere" / "cat" / "0.png")
    data = load_images(folder, 256)
    assert sum(sizes(data).values()) == 10
    assert "classes: cat, cow, dog" in data.report


def test_links_to_split_folders_are_followed(tmp_path: Path) -> None:
    pictures(tmp_path / "some" / "train", 5)
    pictures(tmp_path / "elsewhere", 2)
    (tmp_path / "some" / "valid").symlink_to(tmp_path / "elsewhere")
    assert sizes(load_images(tmp_path / "some", 256)) == {"train": 5, "valid": 2}


def test_links_that_lead_nowhere_or_back_and_pipes_are_said(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "some", 4)
    (folder / "gone.png").symlink_to(tmp_path / "nothing.png")
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "again").symlink_to(folder)
    (folder / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    (folder / "photo.heic").touch()
    data = load_images(folder, 256)
    assert sum(sizes(data).values()) == 4
    assert {line for line in data.report if line.startswith("left out")} == {
        "left out 2 links that lead nowhere, such as gone.png",
        "left out 1 links that lead back into the folder that they are in, such as again",
        "left out 2 pipes or devices, such as pipe.png",
        "left out 1 files that are no pictures, such as photo.heic",
    }


def test_links_that_multiply_are_refused(tmp_path: Path) -> None:
    """Three links in each of twenty folders, to the next one: 3^20 ways to the last."""
    for number in range(20):
        (tmp_path / str(number)).mkdir()
        for name in "abc":
            (tmp_path / str(number) / name).symlink_to(tmp_path / str(number + 1))
    pictures(tmp_path / "20")
    with pytest.raises(UserError, match=r"reach folders again by at most 1,000 links, got more"):
        load_images(tmp_path / "0", 256)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("training", "testing"),
        ("images/train", "images/test"),
        ("a/b/TRAIN", "a/b/tst"),
    ],
)
@pytest.mark.parametrize("classes", [("",), ("cat", "dog")])
def test_split_folders_by_other_names(
    tmp_path: Path, train: str, test: str, classes: tuple[str, ...]
) -> None:
    for name in classes:
        pictures(tmp_path / train / name, 4)
        pictures(tmp_path / test / name, 2, 1)
    data = load_images(tmp_path, 256)
    assert sizes(data)["test"] == 2 * len(classes)
    assert sizes(data)["train"] + sizes(data)["valid"] == 4 * len(classes)
    assert data.label_names == (() if classes == ("",) else classes)


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (["seg_train/a", "seg_test/a"], "say which of its folders are splits, got seg_test, seg_t"),
        (["cat/train", "cat/test", "dog/train"], "hold splits above classes, .*folder test in cat"),
        (["Train", "cat"], "nothing beside them.*pictures in Train, cat"),
        (["train", "Train", "test"], "nothing beside them.*pictures in Train, test, train"),
    ],
)
def test_folders_that_may_be_splits_are_refused(
    tmp_path: Path, places: list[str], message: str
) -> None:
    for place in places:
        pictures(tmp_path / place)
    with pytest.raises(UserError, match=message):
        load_images(tmp_path, 256)


def test_a_class_may_be_called_like_a_split_below_a_split(tmp_path: Path) -> None:
    for name in ("car", "train", "test"):
        pictures(tmp_path / "train" / name)
    data = load_images(tmp_path, 256)
    assert data.label_names == ("car", "test", "train")


def test_names_that_a_terminal_would_obey_are_written_out(tmp_path: Path) -> None:
    for name in (b"cat\x1b[31m", b"dog\xff"):
        pictures(tmp_path / os.fsdecode(name))
    assert r"classes: cat\x1b[31m, dog\udcff" in load_images(tmp_path, 256).report


# Orientation


@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("note", range(1, 9))
def test_pictures_are_turned_upright_in_every_format(tmp_path: Path, kind: str, note: int) -> None:
    """Grey of four values in the corners, stored as a camera on its side does."""
    upright = np.kron([[0, 80], [160, 240]], np.ones((16, 16))).astype(np.uint8)
    back: list[Callable[[Pixels], Pixels]] = [
        lambda x: x,
        lambda x: x[:, ::-1],
        lambda x: x[::-1, ::-1],
        lambda x: x[::-1],
        lambda x: x.T,
        lambda x: np.rot90(x),
        lambda x: x[::-1, ::-1].T,
        lambda x: np.rot90(x, -1),
    ]
    noted = Image.Exif()
    noted[0x0112] = note
    options: dict[str, Any] = {"jpg": {"quality": 100}, "webp": {"lossless": True}}.get(kind, {})
    for number in range(3):
        stored = np.ascontiguousarray(back[note - 1](upright))
        Image.fromarray(stored).save(tmp_path / f"{number}.{kind}", exif=noted, **options)
    data = load_images(tmp_path, 256)
    for image in states(data, "train"):
        assert np.abs(image[0].astype(int) - upright).max() <= 2
    turned = [line for line in data.report if line.startswith("turned upright")]
    assert turned == ([] if note == 1 else ["turned upright, as their files note: 3 pictures"])


# Other files and columns


def test_what_else_is_in_a_folder_of_a_published_set_is_said(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar")
    (tmp_path / "mnist").mkdir()
    write_idx(tmp_path / "mnist" / "train-images.idx3-ubyte", random_pixels(4, 5, 4))
    (tmp_path / "imagenet").mkdir()
    for number in (1, 3):
        path = tmp_path / "imagenet" / f"train_data_batch_{number}.npz"
        write_imagenet(path, random_pixels(2, 8, 8, 3, seed=number), [1, 2])
    for name in ("cifar", "mnist", "imagenet"):
        (tmp_path / name / "more").mkdir()
        line = f"left out 1 others in {name}, such as {tmp_path / name / 'more'}"
        assert line in load_images(tmp_path / name, 256).report
    report = load_images(tmp_path / "imagenet", 256).report
    assert "training batches without 2: no such files" in report
    (tmp_path / "cifar" / "batches.meta.txt").touch()
    with tarfile.open(tmp_path / "cifar.tar", "w") as archive:
        for file in (tmp_path / "cifar").glob("*.*"):
            archive.add(file, f"c/{file.name}")
        archive.addfile(tarfile.TarInfo("c/data_batch_6.bin"), io.BytesIO())
    report = load_images(tmp_path / "cifar.tar", 256).report
    assert "left out 1 others in cifar.tar, such as c/data_batch_6.bin" in report


def test_columns_and_files_of_tables_that_are_not_read_are_said(tmp_path: Path) -> None:
    encoded = io.BytesIO()
    Image.fromarray(random_pixels(5, 4)).save(encoded, "PNG")
    rows = [{"bytes": encoded.getvalue(), "path": None}] * 3
    table = pa.table({"image": rows, "label": [1, 2, 3], "place": ["x", "y", "z"]})
    for name in ("Train-0", "x_dev-0", "extra-0"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    data = load_images(tmp_path, 256)
    assert sizes(data) == {"train": 3, "valid": 3}
    assert "left out of the columns: place" in data.report
    line = f"left out 1 others in {tmp_path.name}, such as {tmp_path / 'extra-0.parquet'}"
    assert line in data.report


def test_lines_of_labels_and_pictures_without_the_other_are_said(tmp_path: Path) -> None:
    pictures(tmp_path / "some", 6)
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\n0.png,a\n1.png,b\n9.png,a\n")
    report = load_images(tmp_path / "some", 256, labels=labels).report
    assert "4 pictures have no label, such as 2.png" in report
    assert "1 lines of labels name no picture, such as 9.png" in report
    labels.write_text(f"file,label\n0.png,{'9' * 5000}\n1.png,3\n")
    assert len(load_images(tmp_path / "some", 256, labels=labels).label_names) == 2


# Levels


def test_levels_given_as_pixels_are_refused_or_said(tmp_path: Path) -> None:
    levels = np.arange(4 * 17, dtype=np.uint8).reshape(4, 17, 1) % 17
    path = save(tmp_path / "a.npz", x_train=levels)
    found = r"values 0\.\.16 give 2 of 17 levels"
    with pytest.raises(UserError, match=rf"not levels in 0\.\.16, got {found}; spread the pixel"):
        load_images(path, 17)
    report = " ".join(load_images(path, 256).report)
    assert "values 0..16 give 17 of 256 levels; spread the pixel values over 0..255" in report
    path = save(tmp_path / "a.npz", x_train=levels // 16)
    assert "values 0..1 give 2 of 256 levels; spread" in " ".join(load_images(path, 256).report)
    path = save(tmp_path / "a.npz", x_train=levels * 15)
    report = " ".join(load_images(path, 17).report)
    assert "levels" not in report


# Data to evaluate


@pytest.mark.parametrize("load", LOADERS)
def test_what_reading_data_to_evaluate_left_out_is_kept(tmp_path: Path, load: Load) -> None:
    path = save(tmp_path / "a.npz", x_train=IMAGES, x_val=IMAGES[:2], other=IMAGES)
    modality = load(path).modality
    examples = modality.examples(path)
    assert len(examples) == 12
    assert modality.reading(examples) == (
        "read x_val as x_valid",
        "left out of the arrays: other",
        "its train part was taken, and not valid",
    )

"""Names of splits: which names of folders, files and arrays are which split."""

import pytest

from scud.data.splits import array_of, split_of, split_of_file


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[(name, "train") for name in ("train", "Train", "TRAINING", "training_set", "train2017")],
        *[(name, "valid") for name in ("val", "validation", "dev", "x-dev", "x_dev-", "ValSet")],
        *[(name, "test") for name in ("test", "Testing", "test images", "TST")],
        *[
            (name, None)
            for name in ("cat", "bullet_train", "trainval", "", ".", "train_cat", "дtest")
        ],
    ],
)
def test_folders(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize(
    ("stem", "split"),
    [
        ("train-00000-of-00002", "train"),
        ("Validation-0", "valid"),
        ("x-dev-0", "valid"),
        ("fashion_mnist_test", "test"),
        ("train-part-a", "train"),
        ("train_test", None),
        ("extra-0", None),
    ],
)
def test_files(stem: str, split: str | None) -> None:
    assert split_of_file(stem) == split


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("x_train", ("x", "train")),
        ("X_val", ("x", "valid")),
        ("train_images", ("x", "train")),
        ("val_labels", ("y", "valid")),
        ("testTargets", ("y", "test")),
        ("y-dev", ("y", "valid")),
        ("test", ("x", "test")),
        ("mean", None),
        ("train_ids", None),
        ("data", None),
    ],
)
def test_arrays(name: str, role: tuple[str, str] | None) -> None:
    assert array_of(name) == role

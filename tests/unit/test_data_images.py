"""Images: the fixed split of the digits, even quantisation, reading `.npz` files, and what to do when one is wrong."""

import hashlib
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import datasets

from scud.data import Data, load_digits, load_images
from scud.data.images.load import stratified_split
from scud.data.images.read import quantise
from scud.errors import UserError
from scud.plots.pictures import to_pixels

SIZES = {"train": 1350, "valid": 150, "test": 297}


@pytest.fixture(scope="module")
def digits() -> Data:
    return load_digits()


def save(folder: Path, **arrays: Any) -> Path:
    path = folder / "pictures.npz"
    np.savez(path, **arrays)
    return path


def random_images(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# Digits


def test_digits_have_the_documented_shape_and_levels(digits: Data) -> None:
    assert (digits.name, digits.num_states, digits.dims) == ("digits", 17, (1, 8, 8))
    for name, size in SIZES.items():
        examples = digits.split(name)
        assert examples.x.shape == (size, 1, 8, 8)
        assert examples.x.dtype == torch.uint8
        assert examples.label is not None
        assert examples.label.dtype == torch.int64


def test_digits_strata_are_balanced() -> None:
    label = datasets.load_digits().target
    for index in stratified_split(label, SIZES).values():
        expected = np.bincount(label) * len(index) / len(label)
        assert np.abs(np.bincount(label[index]) - expected).max() < 1


def test_digits_splits_are_disjoint_cover_everything_and_keep_labels_with_images(
    digits: Data,
) -> None:
    raw = datasets.load_digits()
    expected = sorted(
        (x.astype(np.uint8).tobytes(), int(y)) for x, y in zip(raw.images, raw.target, strict=True)
    )
    found: list[tuple[bytes, int]] = []
    for examples in digits.splits.values():
        assert examples.label is not None
        found += [
            (x.numpy().tobytes(), int(y)) for x, y in zip(examples.x, examples.label, strict=True)
        ]
    assert sorted(found) == expected


def test_digits_split_is_the_same_on_every_machine() -> None:
    parts = stratified_split(datasets.load_digits().target, SIZES)
    order = np.concatenate(list(parts.values()))
    assert sorted(order.tolist()) == list(range(1797))
    digest = hashlib.sha256(order.astype("<i8").tobytes()).hexdigest()
    assert digest == "0a58110b5c92de740bcc6e4c5cdaa3b76256a8de281cf1bd6fe8659ccc6ff6ce"


@given(st.lists(st.integers(0, 3), min_size=6, max_size=60), st.data())
def test_a_stratified_split_has_exact_sizes_and_gives_each_example_once(
    labels: list[int], data: st.DataObject
) -> None:
    valid = data.draw(st.integers(1, len(labels) // 2))
    sizes = {"train": len(labels) - valid, "valid": valid}
    parts = stratified_split(np.array(labels), sizes)
    assert {name: len(index) for name, index in parts.items()} == sizes
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(len(labels)))


# Quantisation


@given(st.integers(2, 256))
def test_quantisation_is_even_and_monotone(num_states: int) -> None:
    levels = quantise(np.arange(256, dtype=np.uint8), num_states).astype(int)
    np.testing.assert_array_equal(levels, np.arange(256) * num_states // 256)
    sizes = np.bincount(levels, minlength=num_states)
    assert len(sizes) == num_states
    assert sizes.max() - sizes.min() <= (256 % num_states != 0)
    assert (np.diff(levels) >= 0).all()


def test_quantisation_to_256_levels_changes_nothing() -> None:
    pixels = np.arange(256, dtype=np.uint8)
    assert quantise(pixels, 256) is pixels
    np.testing.assert_array_equal(pixels, np.arange(256))


@given(st.integers(2, 256))
def test_a_level_shown_as_a_picture_and_read_again_is_the_same_level(num_states: int) -> None:
    levels = np.arange(num_states, dtype=np.uint8)
    shown = to_pixels(levels[:, None, None, None], num_states)
    np.testing.assert_array_equal(quantise(shown, num_states).flatten(), levels)


def test_quantisation_is_in_place_in_any_order_of_memory() -> None:
    pixels = random_images(5, 4, 3, 2)
    for array in (pixels.copy(), pixels.copy().T, pixels.copy()[:, ::-1]):
        expected = array // 32
        assert quantise(array, 8) is array
        np.testing.assert_array_equal(array, expected)


def test_quantisation_takes_little_memory_beside_the_pixels() -> None:
    pixels = np.zeros((1000, 3, 64, 64), np.uint8)  # 12 MB
    tracemalloc.start()
    quantise(pixels, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < pixels.nbytes


# Reading


def test_grey_images_without_a_channel_axis_are_read_back(tmp_path: Path) -> None:
    train, valid, test = random_images(6, 5, 4), random_images(3, 5, 4), random_images(2, 5, 4)
    path = save(
        tmp_path, x_train=train, x_valid=valid, x_test=test, y_train=np.arange(6, dtype=np.uint8)
    )
    source = load_images(path, 256)
    assert (source.name, source.num_states, source.dims) == ("pictures", 256, (1, 5, 4))
    for name, images in (("train", train), ("valid", valid), ("test", test)):
        np.testing.assert_array_equal(source.split(name).x[:, 0].numpy(), images)
    label = source.split("train").label
    assert label is not None
    assert label.dtype == torch.int64
    assert label.tolist() == [0, 1, 2, 3, 4, 5]
    assert source.label_names == ("0", "1", "2", "3", "4", "5")
    assert source.split("valid").label is None


def test_colour_images_are_read_with_the_channels_first(tmp_path: Path) -> None:
    train, valid = random_images(6, 5, 4, 3), random_images(3, 5, 4, 3)
    source = load_images(str(save(tmp_path, x_train=train.astype(np.int64), x_valid=valid)), 8)
    assert source.dims == (3, 5, 4)
    np.testing.assert_array_equal(
        source.split("train").x.numpy(), train.transpose(0, 3, 1, 2) // 32
    )
    assert list(source.splits) == ["train", "valid"]


@pytest.mark.parametrize(
    ("count", "share", "expected"), [(2, 0.01, 1), (2, 0.99, 1), (19, 0.05, 1), (40, 0.1, 4)]
)
def test_a_share_is_held_out_when_there_is_no_validation_set(
    tmp_path: Path, count: int, share: float, expected: int
) -> None:
    images = random_images(count, 4, 4)
    path = save(tmp_path, x_train=images, y_train=images[:, 0, 0])
    source = load_images(path, 256, share)
    train, valid = source.split("train"), source.split("valid")
    assert (len(train), len(valid)) == (count - expected, expected)
    found = torch.cat([train.x, valid.x])[:, 0]
    assert sorted(found.flatten(1).tolist()) == sorted(images.reshape(count, -1).tolist())
    for examples in (train, valid):
        assert examples.label is not None
        names = torch.tensor([int(name) for name in source.label_names])
        assert torch.equal(names[examples.label], examples.x[:, 0, 0, 0].long())
    assert torch.equal(load_images(path, 256, share).split("valid").x, valid.x)


def test_what_is_held_out_is_the_same_on_every_machine(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=np.arange(200, dtype=np.uint8)[:, None, None])
    valid = load_images(path, 256).split("valid")
    assert valid.x.flatten().tolist() == [73, 195, 126, 44, 183, 45, 155, 58, 136, 82]


# Mistakes

IMAGES = np.linspace(0, 255, 100).astype(np.uint8).reshape(4, 5, 5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, "hold an array x_train, got .* with images; .*x_train=images"),
        ({"x_train": IMAGES / 255}, "x_train .*integers, got float64; convert it with .astype"),
        ({"x_train": IMAGES > 9}, "x_train .*integers, got bool; convert it with .astype"),
        ({"x_train": IMAGES.astype(int) + 1}, "x_train .*0..255, got 256; rescale it"),
        ({"x_train": IMAGES.astype(int) - 1}, "x_train .*0..255, got -1; rescale it"),
        ({"x_train": IMAGES[:0]}, "x_train .*at least one image.*; add images"),
        (
            {"x_train": IMAGES, "x_valid": IMAGES[:0]},
            "x_valid .*at least one image.*or leave the array out",
        ),
        ({"x_train": IMAGES[:1]}, "train of .*two images.*or images for validation"),
        ({"x_train": IMAGES[0]}, "x_train .*height, width.*; reshape it"),
        ({"x_train": IMAGES[None, None]}, "x_train .*height, width.*; reshape it"),
        ({"x_train": IMAGES[:, None]}, "x_train .*1 or 3 channels.*; put the channels last"),
        (
            {"x_train": IMAGES // 128},
            "train of .*more than one of the 8 levels.*; spread the pixel values",
        ),
        (
            {"x_train": IMAGES, "x_valid": IMAGES[:, 1:]},
            "split 'valid' .*give every split the same shape",
        ),
        (
            {"x_train": IMAGES, "x_valid": IMAGES[..., None].repeat(3, 3)},
            "split 'valid' .*the same shape",
        ),
        (
            {"x_train": IMAGES, "x_test": IMAGES, "y_test": [1]},
            "y_test .*\\[4\\], got \\[1\\]; give one label per example",
        ),
        (
            {"x_train": IMAGES, "x_valid": IMAGES, "y_train": np.eye(4, dtype=int)},
            r"y_train .*\[4\], got \[4, 4\]; give one label per example, such as y.argmax\(1\)",
        ),
        ({"x_train": IMAGES, "y_train": [1] * 3}, "y_train .*give one label per example"),
        ({"x_train": IMAGES, "y_train": [1] * 5}, "y_train .*give one label per example"),
        (
            {"x_train": IMAGES, "y_train": [0.5] * 4},
            "y_train .*integers or texts, got float64; convert it",
        ),
        ({"x_train": IMAGES, "y_valid": [1]}, "y_valid .*; add x_valid to the file"),
        ({"x_train": IMAGES.astype(object)}, "without pickled objects.*write it again"),
    ],
)
def test_a_wrong_array_is_named_with_a_remedy(
    tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        load_images(save(tmp_path, **arrays), 8)


def test_a_missing_file_is_a_mistake_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"name a file or folder that exists.*check the spelling"):
        load_images(tmp_path / "nothing.npz", 8)


def test_a_file_of_another_kind_is_a_mistake_with_a_remedy(tmp_path: Path) -> None:
    text, array, empty = tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "c.npz"
    text.write_text("x_train")
    with array.open("wb") as file:
        np.save(file, IMAGES)
    empty.touch()
    for path in (text, array, empty):
        with pytest.raises(UserError, match=r"not an \.npz file.*write it again with np.savez"):
            load_images(path, 8)


@pytest.mark.parametrize(
    "name", ["a.npy", "train-images-idx3-ubyte.gz", "data_batch_1.bin", "cat.png", "noending"]
)
def test_a_file_of_a_kind_that_is_not_read_is_a_mistake_with_a_remedy(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(
        UserError, match=rf"{name}; give an \.npz or \.parquet file, .* or the folder"
    ):
        load_images(tmp_path / name, 8)


@pytest.mark.parametrize("kind", ["cut short", "changed"])
def test_a_damaged_file_is_a_mistake_with_a_remedy(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path, x_train=random_images(50, 9, 9))
    content = path.read_bytes()
    middle = len(content) // 2
    changed = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
    path.write_bytes(content[:middle] if kind == "cut short" else changed)
    with pytest.raises(UserError, match=r"undamaged \.npz file.*write it again with np.savez"):
        load_images(path, 8)


@pytest.mark.parametrize("num_states", [1, 257])
def test_the_number_of_levels_has_limits(tmp_path: Path, num_states: int) -> None:
    with pytest.raises(
        UserError,
        match=r"num_states must lie in \[2, 256\].*choose the number of.*pixels are bytes",
    ):
        load_images(save(tmp_path, x_train=IMAGES), num_states)


@pytest.mark.parametrize("share", [0, 1, float("nan")])
def test_the_share_that_is_held_out_has_limits(tmp_path: Path, share: float) -> None:
    with pytest.raises(UserError, match=r"valid_share must lie in \(0, 1\).*choose 0.05"):
        load_images(save(tmp_path, x_train=IMAGES), 8, share)


# Real data


@pytest.mark.skipif("SCUD_DATA" not in os.environ, reason="SCUD_DATA names no folder of real data")
@pytest.mark.parametrize(
    ("file", "dims", "sizes"),
    [
        ("fashion_mnist.npz", (1, 28, 28), {"train": 25000, "valid": 3000}),
        ("emoji32.npz", (3, 32, 32), {"train": 1500, "valid": 200}),
    ],
)
def test_real_data_sets_are_read(file: str, dims: tuple[int, ...], sizes: dict[str, int]) -> None:
    source = load_images(Path(os.environ["SCUD_DATA"]) / file, 64)
    assert source.dims == dims
    assert {name: len(examples) for name, examples in source.splits.items()} == sizes
    marginal = source.p0()
    assert float(marginal.min()) > 0
    torch.testing.assert_close(marginal.sum(), torch.tensor(1.0, dtype=torch.float64))
    label = source.split("valid").batch(torch.arange(100)).label
    assert label is not None
    assert 0 <= int(label.min()) <= int(label.max()) < 10

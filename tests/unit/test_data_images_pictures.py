"""Folders of pictures: layouts, kinds of pictures that are read, and those that are refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from scud.data import Examples, load_images
from scud.data.images.pictures import decode
from scud.errors import UserError
from tests.unit.image_files import Pixels, png, random_pixels


def write(path: Path, pixels: Pixels) -> Pixels:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def write_many(folder: Path, count: int, seed: int = 0, kind: str = ".png") -> list[Pixels]:
    pixels = random_pixels(count, 5, 4, 3, seed=seed)
    return [write(folder / f"{number:03}{kind}", image) for number, image in enumerate(pixels)]


def pixels_of(examples: object) -> list[Pixels]:
    assert isinstance(examples, Examples)
    return list(examples.x.permute(0, 2, 3, 1).numpy())


def labels_of(examples: object) -> list[int] | None:
    assert isinstance(examples, Examples)
    return None if examples.label is None else examples.label.tolist()


# Layouts


def test_a_flat_folder_has_all_its_pictures_and_no_labels(tmp_path: Path) -> None:
    expected = write_many(tmp_path, 40)
    source = load_images(tmp_path, 256)
    assert source.dims == (3, 5, 4)
    assert len(source.split("valid")) == 2
    found = pixels_of(source.split("train")) + pixels_of(source.split("valid"))
    assert sorted(image.tobytes() for image in found) == sorted(
        image.tobytes() for image in expected
    )
    assert labels_of(source.split("train")) is None


def test_splits_and_classes_are_folders(tmp_path: Path) -> None:
    expected = {}
    for seed, (place, count) in enumerate(
        [("train/b", 2), ("train/A", 1), ("val/b", 1), ("test/b", 3), ("test/A/x", 1)]
    ):
        expected[place] = write_many(tmp_path / place, count, seed)
    source = load_images(tmp_path, 256)
    assert list(source.splits) == ["train", "valid", "test"]
    assert labels_of(source.split("train")) == [0, 1, 1]
    assert labels_of(source.split("valid")) == [1]
    assert labels_of(source.split("test")) == [0, 1, 1, 1]
    np.testing.assert_array_equal(
        pixels_of(source.split("train")), [*expected["train/A"], *expected["train/b"]]
    )
    np.testing.assert_array_equal(pixels_of(source.split("valid")), expected["val/b"])
    np.testing.assert_array_equal(
        pixels_of(source.split("test")), [*expected["test/A/x"], *expected["test/b"]]
    )


@pytest.mark.parametrize("name", ["valid", "val", "validation"])
def test_flat_splits(tmp_path: Path, name: str) -> None:
    train, valid = write_many(tmp_path / "train", 3), write_many(tmp_path / name, 2, 1)
    source = load_images(tmp_path, 256)
    np.testing.assert_array_equal(pixels_of(source.split("train")), train)
    np.testing.assert_array_equal(pixels_of(source.split("valid")), valid)


def test_a_test_split_is_never_used_for_validation(tmp_path: Path) -> None:
    train, test = write_many(tmp_path / "train", 3), write_many(tmp_path / "test", 2, 1)
    source = load_images(tmp_path, 256)
    np.testing.assert_array_equal(pixels_of(source.split("test")), test)
    found = pixels_of(source.split("train")) + pixels_of(source.split("valid"))
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in train)


def test_classes_in_a_folder_are_numbered_by_name(tmp_path: Path) -> None:
    expected = {
        name: [image.tobytes() for image in write_many(tmp_path / name, 10, seed)]
        for seed, name in enumerate(["dog", "ant", "cat"])
    }
    source = load_images(tmp_path, 256)
    for split in ("train", "valid"):
        for image, label in zip(
            pixels_of(source.split(split)), labels_of(source.split(split)) or [], strict=True
        ):
            name = ["ant", "cat", "dog"][label]
            assert image.tobytes() in expected[name]


@settings(max_examples=10)
@given(st.permutations(["b.png", "a.PNG", "c/x.png", "c/B.png", "10.png", "9.png"]))
def test_the_order_is_that_of_the_paths(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("pictures")
    shade = {
        name: np.full((2, 2), 40 * number, np.uint8) for number, name in enumerate(sorted(names))
    }
    for name in names:
        write(folder / "train" / "class" / name, shade[name])
    write(folder / "valid" / "class" / "v.png", shade["b.png"])
    found = load_images(folder, 256).split("train")
    assert [int(image[0, 0, 0]) for image in pixels_of(found)] == [0, 40, 80, 120, 160, 200]


def test_hidden_files_are_passed_over_and_others_reported(tmp_path: Path) -> None:
    write_many(tmp_path, 4)
    (tmp_path / ".ipynb_checkpoints").mkdir()
    for name in (
        ".DS_Store",
        "._000.png",
        ".ipynb_checkpoints/000.png",
        "photo.heic",
        "readme.txt",
    ):
        (tmp_path / name).write_text("something else")
    source = load_images(tmp_path, 256)
    assert "left out 2 files that are no pictures, such as photo.heic" in source.report
    assert len(source.split("train")) + len(source.split("valid")) == 4


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([], "hold pictures, got .* with 0 other files; give a folder of pictures"),
        (["a.txt"], "hold pictures, got .* with 1 other files"),
        (["a.png", "cat/a.png"], "either pictures or folders of them, got both; move"),
        (["train/a.png", "train/cat/b.png"], "train must hold either pictures or folders of them"),
        (["train/a.png", "cat/b.png"], "nothing beside them.*got pictures in cat, train; move"),
        (["train/a.png", "b.png"], r"nothing beside them.*got pictures in \., train"),
        (
            ["train/a.png", "val/b.png", "valid/c.png"],
            "nothing beside them.*got pictures in train, val, valid",
        ),
        (["valid/a.png", "test/b.png"], "got pictures in test, valid; .* add train"),
        (
            ["train/cat/a.png", "test/dog/a.png"],
            "test must hold the classes of the training pictures, cat, got dog",
        ),
        (
            ["train/cat/a.png", "test/a.png"],
            "test must hold the classes .*, cat, got pictures without a class; give",
        ),
        (
            ["train/a.png", "test/dog/a.png"],
            "test must hold the classes of the training pictures, none, got dog",
        ),
    ],
)
def test_a_layout_that_could_mean_two_things_is_refused(
    tmp_path: Path, places: list[str], message: str
) -> None:
    for place in places:
        if place.endswith(".png"):
            write(tmp_path / place, random_pixels(4, 4))
        else:
            (tmp_path / place).write_text("text")
    with pytest.raises(UserError, match=message):
        load_images(tmp_path, 256)


# Pictures


@pytest.mark.parametrize(
    "kind", [".png", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg", ".gif"]
)
@pytest.mark.parametrize("grey", [True, False])
def test_every_kind_of_picture_is_read_as_pillow_shows_it(
    tmp_path: Path, kind: str, grey: bool
) -> None:
    pixels = random_pixels(6, 5) if grey else random_pixels(6, 5, 3)
    path = tmp_path / f"a{kind}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if kind == ".webp" else {}))
    found = decode("a", path).pixels
    mode = (
        "L" if grey and kind not in (".webp", ".gif") else "RGB"
    )  # WebP has no grey, and GIF a palette
    with Image.open(path) as picture:
        expected = np.atleast_3d(np.asarray(picture.convert(mode)))
    np.testing.assert_array_equal(found, np.moveaxis(expected, -1, 0))
    if kind not in (".jpg", ".jpeg", ".gif"):
        np.testing.assert_array_equal(
            found, np.broadcast_to(np.moveaxis(np.atleast_3d(pixels), -1, 0), found.shape)
        )


def test_bitmaps_become_grey_and_palettes_colour(tmp_path: Path) -> None:
    bits, places = random_pixels(6, 5) > 127, random_pixels(6, 5) // 64
    Image.fromarray(bits).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(
        decode("bits", tmp_path / "bits.png").pixels, np.where(bits, 255, 0)[None]
    )
    palette = random_pixels(4, 3, seed=1)
    picture = Image.fromarray(places, "P")
    picture.putpalette(palette.tobytes())
    picture.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(
        decode("palette", tmp_path / "palette.png").pixels, np.moveaxis(palette[places], -1, 0)
    )


@pytest.mark.parametrize(("bits", "colour"), [(1, 0), (2, 0), (4, 0), (8, 0), (8, 2)])
def test_grey_of_fewer_bits_spans_all_values(tmp_path: Path, bits: int, colour: int) -> None:
    rows = np.array([[0] * 3, [255] * 3], np.uint8)
    (tmp_path / "a.png").write_bytes(png(rows, bits, colour))
    found = decode("a", tmp_path / "a.png").pixels
    assert found.min() == 0
    assert found.max() == 255


def transparent_palette(path: Path) -> None:
    picture = Image.fromarray(random_pixels(5, 4) // 64, "P")
    picture.putpalette(random_pixels(12).tobytes())
    picture.save(path, transparency=1)


def animation(path: Path) -> None:
    frames = [Image.fromarray(frame) for frame in random_pixels(3, 5, 4, 3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def huge(path: Path) -> None:
    Image.new("1", (10_000, 9_000)).save(path)


def cut(path: Path) -> None:
    write(path, random_pixels(5, 4, 3))
    path.write_bytes(path.read_bytes()[:-40])


def changed(path: Path) -> None:
    write(path, random_pixels(5, 4, 3))
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)


def tiff16(path: Path) -> None:
    """A colour TIFF of 16 bits, one pixel, by hand: Pillow reads it as 8 bits, and writes none."""
    entries = [
        (256, 3, 1, 1),
        (257, 3, 1, 1),
        (258, 3, 3, 122),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 128),
    ]
    entries += [(277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 6)]
    words = b"".join(
        tag.to_bytes(2, "little")
        + kind.to_bytes(2, "little")
        + count.to_bytes(4, "little")
        + value.to_bytes(4, "little")
        for tag, kind, count, value in entries
    )
    content = (
        b"II*\0" + (8).to_bytes(4, "little") + len(entries).to_bytes(2, "little") + words + bytes(4)
    )
    path.write_bytes(content + bytes([16, 0] * 3) + bytes(6))


Make = Callable[[Path], object]


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("x.png", cut, "undamaged file of the kind PNG"),
        ("x.jpg", cut, "undamaged file of the kind PNG"),
        ("x.png", changed, "undamaged file.*remove it or replace it"),
        ("x.png", lambda path: path.write_bytes(b""), "undamaged file"),
        ("x.jpg", lambda path: path.write_text("<svg/>"), "undamaged file"),
        (
            "x.png",
            lambda path: path.write_bytes(png(random_pixels(5, 24), 16, 2)),
            "8 bits a channel, got 16 bits; rescale",
        ),
        (
            "x.png",
            lambda path: path.write_bytes(png(random_pixels(5, 8), 16, 0)),
            "8 bits a channel, got 16 bits",
        ),
        (
            "x.png",
            lambda path: path.write_bytes(png(random_pixels(5, 16), 16, 4)),
            "8 bits a channel, got 16 bits",
        ),
        ("x.tif", tiff16, "8 bits a channel, got 16 bits"),
        ("x.tif", lambda path: Image.new("F", (4, 5)).save(path), "8 bits a channel, got 32 bits"),
        ("x.tif", lambda path: Image.new("I", (4, 5)).save(path), "8 bits a channel, got 32 bits"),
        (
            "x.png",
            lambda path: write(path, random_pixels(5, 4, 4)),
            "no transparency, got mode RGBA.*; flatten it",
        ),
        ("x.png", lambda path: Image.new("LA", (4, 5)).save(path), "no transparency, got mode LA"),
        ("x.png", transparent_palette, "no transparency, got mode P"),
        (
            "x.png",
            lambda path: Image.new("RGB", (4, 5)).save(path, transparency=(0, 0, 0)),
            "no transparency, got mode RGB",
        ),
        (
            "x.jpg",
            lambda path: Image.new("CMYK", (4, 5)).save(path),
            "grey or RGB, got mode CMYK; convert",
        ),
        ("x.gif", animation, "one frame, got 3 frames; save the frames"),
        ("x.png", animation, "one frame, got 3 frames"),
        ("x.tif", animation, "one frame, got 3 frames"),
        ("x.png", huge, "at most 89478485 pixels.*make it smaller"),
        (
            "x.png",
            lambda path: write(path, random_pixels(4, 5, 3)),
            "have the 4 x 5 pixels and 3 channels of the first one, got 5 x 4 .*; bring all to one size",
        ),
        (
            "x.png",
            lambda path: write(path, random_pixels(5, 4)),
            "the 4 x 5 pixels and 3 channels of the first one, got 4 x 5 pixels and 1 channel; convert all",
        ),
    ],
)
@pytest.mark.parametrize("place", ["", "valid"])
def test_a_picture_that_cannot_be_used_is_named(
    tmp_path: Path, name: str, make: Make, message: str, place: str
) -> None:
    write_many(tmp_path / "train" if place else tmp_path, 3)
    path = tmp_path / place / name
    path.parent.mkdir(exist_ok=True)
    make(path)
    with pytest.raises(UserError, match=f"the picture {path} must .*{message}"):
        load_images(tmp_path, 256)

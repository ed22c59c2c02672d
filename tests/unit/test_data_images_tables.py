"""Pictures in tables: parquet files as the hub has them, and data sets loaded by the package `datasets`."""

import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from scud.data import Data, Examples, ImagesOptions, load_hub_images, load_images
from scud.errors import UserError
from tests.unit.image_files import Pixels, random_pixels


def encoded(image: Pixels) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def table(pixels: Pixels, image: str = "img", **columns: Any) -> pa.Table:
    """A table as the hub's sets of images have: structs of bytes and path."""
    structs = [
        {"bytes": encoded(one), "path": f"{number}.png"} for number, one in enumerate(pixels)
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table({image: pa.array(structs, kind), **columns})


def write(path: Path, content: pa.Table, rows_of_group: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=rows_of_group)
    return path


def check(source: Data, split: str, pixels: Pixels, labels: list[int] | None) -> None:
    """A split holds these images [N, height, width, colour], in this order."""
    examples = source.split(split)
    assert isinstance(examples, Examples)
    np.testing.assert_array_equal(examples.x.permute(0, 2, 3, 1).numpy(), pixels)
    label = examples.label
    assert (
        None if label is None else [int(source.label_names[place]) for place in label.tolist()]
    ) == labels


# Parquet


@pytest.mark.parametrize("place", ["", "plain_text"])
@pytest.mark.parametrize(
    ("image", "label"), [("img", "label"), ("image", "labels"), ("image", "fine_label")]
)
def test_a_folder_as_the_hub_has_it(tmp_path: Path, place: str, image: str, label: str) -> None:
    parts = {
        "train-00000-of-00002": (random_pixels(7, 5, 4, 3, seed=0), [3, 1, 4, 1, 5, 9, 2]),
        "train-00001-of-00002": (random_pixels(2, 5, 4, 3, seed=1), [6, 5]),
        "validation-00000-of-00001": (random_pixels(1, 5, 4, 3, seed=2), [0]),
        "test-00000-of-00001": (random_pixels(300, 5, 4, 3, seed=3), [7] * 300),
    }
    for name, (pixels, labels) in parts.items():
        write(
            tmp_path / place / f"{name}.parquet",
            table(pixels, image, coarse_label=["x"] * len(labels), **{label: labels}),
        )
    source = load_images(tmp_path, 256)
    assert source.dims == (3, 5, 4)
    first, second, valid, test = parts.values()
    check(source, "train", np.concatenate([first[0], second[0]]), first[1] + second[1])
    check(source, "valid", *valid)
    check(source, "test", *test)


def test_a_single_file_is_divided(tmp_path: Path) -> None:
    pixels = random_pixels(40, 5, 4)
    source = load_images(write(tmp_path / "digits.parquet", table(pixels, "image")), 256)
    assert (source.name, source.dims) == ("digits", (1, 5, 4))
    assert {name: len(part) for name, part in source.splits.items()} == {"train": 38, "valid": 2}


def test_labels_are_used_or_refused(tmp_path: Path) -> None:
    pixels = random_pixels(2, 5, 4, 3)
    path = write(tmp_path / "train-0.parquet", table(pixels, label=["dog", "cat"]))
    write(tmp_path / "valid-0.parquet", table(pixels, label=[-1, 7]))
    source = load_images(path.parent, 256)
    assert source.label_names == ("7", "cat", "dog")
    for split, expected in (("train", [2, 1]), ("valid", [-1, 0])):
        assert source.split(split).batch(torch.arange(2)).label.tolist() == expected
    for column in (
        pa.array(["b", "a"]).dictionary_encode(),
        pa.array(["b", "a"], pa.large_string()),
    ):
        write(path, table(pixels, label=column))
        read = load_images(path, 256, files={"valid": path})
        assert read.label_names == ("a", "b")
        assert read.split("train").batch(torch.arange(2)).label.tolist() == [1, 0]
    for wrong in ([0.5, 1.5], [True, False], [[0, 1], [1, 0]]):
        write(path, table(pixels, label=wrong))
        with pytest.raises(UserError, match=r"label in .* hold integers or texts, got .*; convert"):
            load_images(path, 256)


PIXELS = random_pixels(3, 5, 4, 3)
BROKEN = pa.table(
    {"img": [{"bytes": encoded(PIXELS[0]), "path": None}, {"bytes": b"\x89PNG", "path": None}]}
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (table(PIXELS, "picture"), "have a column image or img, got columns picture; write it"),
        (pa.table({"img": [1, 2]}), "img in .* hold the bytes of encoded pictures, got int64"),
        (pa.table({"img": [{"url": "x"}]}), "hold the bytes of encoded pictures, got struct"),
        (pa.table({"image": [[[0, 1]]]}), "hold the bytes of encoded pictures, got list"),
        (table(PIXELS[:0]), "hold at least one image, got none"),
        (BROKEN, "the picture in row 1 of .* undamaged"),
        (table(PIXELS, label=[1, None, 2]), "label in .* a label in every row, got 1 rows without"),
        (
            pa.table({"img": [{"bytes": None, "path": "/etc/passwd"}]}),
            "the picture in row 0 of .* be in the table, got no bytes",
        ),
        (
            pa.table({"img": pa.array([None], table(PIXELS)["img"].type)}),
            "in row 0 of .* got no bytes",
        ),
    ],
)
def test_a_table_that_cannot_be_used_is_named(
    tmp_path: Path, content: pa.Table, message: str
) -> None:
    path = write(tmp_path / "train-0.parquet", content)
    for given in (path, tmp_path):
        with pytest.raises(UserError, match=message) as caught:
            load_images(given, 256)
        assert str(path) in str(caught.value)


def test_parts_that_do_not_fit_together(tmp_path: Path) -> None:
    write(tmp_path / "test-0.parquet", table(PIXELS))
    with pytest.raises(
        UserError, match="hold a part called train, got parts test; parts are called"
    ):
        load_images(tmp_path, 256)
    write(tmp_path / "train-0.parquet", table(PIXELS))
    write(tmp_path / "train-1.parquet", table(PIXELS, label=[1, 2, 3]))
    with pytest.raises(
        UserError, match=r"train-1.parquet must have the columns of train-0.parquet, got .*label"
    ):
        load_images(tmp_path, 256)
    write(tmp_path / "train-1.parquet", table(PIXELS[:, 1:]))
    with pytest.raises(
        UserError, match=r"the picture in row 0 of .*train-1\.parquet must have the 4 x 5 pixels"
    ):
        load_images(tmp_path, 256)


def test_two_sets_in_one_folder(tmp_path: Path) -> None:
    for name in ("cropped", "full"):
        write(tmp_path / name / "train-0.parquet", table(PIXELS))
    with pytest.raises(
        UserError, match=r"hold one data set, got .* with cropped, full; give one of these folders"
    ):
        load_images(tmp_path, 256)


@pytest.mark.parametrize("kind", ["cut short", "changed", "empty"])
def test_a_damaged_parquet_file_is_named(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a.parquet", table(random_pixels(40, 5, 4, 3)))
    content = path.read_bytes()
    changed = content[:200] + bytes(500) + content[700:]
    path.write_bytes({"cut short": content[:-9], "changed": changed, "empty": b""}[kind])
    with pytest.raises(UserError, match=f"{path}"):
        load_images(path, 256)


# The hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that `datasets` can load, with a cache of its own and no network."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    yield tmp_path / "cifar"
    datasets.enable_progress_bars()


def test_a_data_set_of_the_hub(hub: Path) -> None:
    train, test = random_pixels(40, 5, 4, 3), random_pixels(6, 5, 4, 3, seed=1)
    write(hub / "plain_text" / "train-00000-of-00001.parquet", table(train, label=list(range(40))))
    write(hub / "plain_text" / "test-00000-of-00001.parquet", table(test, label=[1] * 6))
    source = load_hub_images(str(hub), 256, valid_share=0.1)
    assert source.name == "cifar"
    check(source, "test", test, [1] * 6)
    for split, count in (("train", 36), ("valid", 4)):
        examples = source.split(split)
        assert isinstance(examples, Examples)
        assert examples.label is not None
        check(source, split, train[examples.label.numpy()], examples.label.tolist())
        assert len(examples) == count


def test_splits_of_other_names_are_said(hub: Path) -> None:
    for name in ("train", "dev", "extra"):
        write(hub / f"{name}.parquet", table(random_pixels(3, 5, 4)))
    files = "\n".join(
        f"  - split: {name}\n    path: {name}.parquet" for name in ("train", "dev", "extra")
    )
    head = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    (hub / "README.md").write_text(f"{head}{files}\n---\n")
    source = load_hub_images(str(hub), 256)
    assert {name: len(part) for name, part in source.splits.items()} == {"train": 3, "valid": 3}
    assert "left out of the splits: extra" in source.report


def test_a_data_set_of_picture_files(hub: Path) -> None:
    for split, count in (("train", 3), ("validation", 2)):
        for number, image in enumerate(random_pixels(count, 5, 4, 3)):
            path = hub / split / f"class{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image))
    source = load_hub_images(str(hub), 256)
    check(source, "train", random_pixels(3, 5, 4, 3)[[0, 2, 1]], [0, 0, 1])
    check(source, "valid", random_pixels(2, 5, 4, 3), [0, 1])


def test_a_data_set_that_cannot_be_loaded_is_named(hub: Path) -> None:
    write(hub / "test-0.parquet", table(PIXELS))
    with pytest.raises(UserError, match="hold a part called train, got parts test"):
        load_hub_images(str(hub), 256)
    for name in ("nobody/nothing", "nobody/nothing:plain_text", f"{hub}:nothing"):
        with pytest.raises(
            UserError, match=r"data.hub must name a data set that can be loaded.*check the name"
        ) as caught:
            load_hub_images(name, 256)
        assert name in str(caught.value)
        assert len(str(caught.value)) < 700


def test_hub_and_train_are_not_given_together(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"data.train and data.hub must not be given together.*drop one"
    ):
        ImagesOptions(hub="owner/name", train=tmp_path)


@pytest.mark.parametrize("package", ["pyarrow", "datasets"])
def test_without_the_extra_the_remedy_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    path = write(tmp_path / "a.parquet", table(PIXELS))
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UserError, match=rf"the package {package}, .* pip install 'scud-diffusion\[hub\]'"
    ):
        load_images(path, 256) if package == "pyarrow" else load_hub_images("owner/name", 256)

"""Encoded pictures in the columns of a table: parquet files, and data sets of the Hugging Face hub.

A table has a column `image` (or `img`) of structs with the `bytes` of a PNG, JPEG or other picture, and perhaps a column
`label`, `labels` or `fine_label` of integers. Tables are read a batch of rows at a time. The packages needed, pyarrow and
datasets, are the extra `hub`. Nothing is downloaded except by `read_hub`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.data.image_files import SPLITS, Images
from scud.data.pictures import SPLIT_NAMES, stack
from scud.errors import UserError, fail

_IMAGE = ("image", "img")
_LABEL = ("label", "labels", "fine_label")
_ROWS = 256


@dataclass(frozen=True)
class _Table:
    """What is read of a table.

    Attributes:
        name: what to call it in messages.
        schema: the pyarrow schema.
        rows: their number.
        columns: for each of its files, by what to call it, the values of a column: an array of pyarrow for each batch of rows.
    """

    name: str
    schema: Any
    rows: int
    columns: Mapping[str, Callable[[str], Iterable[Any]]]


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files in a folder or, if there are none, in its subfolders."""
    files = sorted(folder.glob("*.parquet")) or sorted(folder.glob("*/*.parquet"))
    return [file for file in files if file.is_file()]


def read_parquet(path: Path) -> dict[str, Images]:
    """The images of a parquet file, or of a folder of files called train-*.parquet, validation-*.parquet and test-*.parquet.

    Raises:
        UserError: pyarrow is not installed; there are no training images; a file is damaged or has other columns; a picture
            is not as `scud.data.pictures` asks.
    """
    _import("path", "pyarrow.parquet")
    if path.is_file():
        return _read_tables({"train": _open_parquet([path])}, files=False)
    parts: dict[str, list[Path]] = {}
    for file in parquet_files(path):
        split = SPLIT_NAMES.get(file.stem.split("-")[0])
        if split is not None:
            parts.setdefault(split, []).append(file)
    folders = {file.parent for members in parts.values() for file in members}
    if len(folders) > 1:
        found = ", ".join(sorted(folder.name for folder in folders))
        raise fail("path", "hold one data set", f"{path} with {found}", "give one of these folders")
    return _read_tables({split: _open_parquet(members) for split, members in parts.items()}, str(path), files=False)


def _open_parquet(files: list[Path]) -> _Table:
    """One table of the rows of several parquet files with the same columns."""
    headers = [_parquet_header(file) for file in files]
    schema = headers[0][0]
    for file, (other, _) in zip(files, headers, strict=True):
        if not other.equals(schema):
            found = ", ".join(other.names)
            raise fail(str(file), f"have the columns of {files[0].name}", found, "write both with the same columns")
    columns = {str(file): partial(_parquet_column, file, rows) for file, (_, rows) in zip(files, headers, strict=True)}
    return _Table(str(files[0]), schema, sum(rows for _, rows in headers), columns)


def _parquet_header(file: Path) -> tuple[Any, int]:
    """Schema and number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            metadata, schema = table.metadata, table.schema_arrow
            rows = sum(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(file, error) from error
    if rows != metadata.num_rows:
        raise _damaged(file, f"{metadata.num_rows} rows in groups of {rows}")
    return schema, rows


def _parquet_column(file: Path, rows: int, name: str) -> Iterator[Any]:
    """The values of a column, which has so many rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    left = rows
    try:
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(_ROWS, columns=[name]):
                left -= len(batch)
                if left >= 0:
                    yield batch.column(0)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(file, error) from error
    if left:
        raise _damaged(file, f"{rows - left} of {rows} rows")


def _damaged(file: Path, error: object) -> UserError:
    return fail(str(file), "be an undamaged parquet file", f"an error ({error})", "download it again")


def read_hub(name: str) -> dict[str, Images]:
    """The images of a data set of the hub, "owner/name" or "owner/name:configuration"; or of a folder that `datasets` can load.

    It is downloaded at first use, by the package `datasets` and into its cache.

    Raises:
        UserError: `datasets` is not installed; the set cannot be loaded; it has no training images, or other columns; a
            picture is not as `scud.data.pictures` asks.
    """
    datasets = _import("data.hub", "datasets")
    owner, _, configuration = name.partition(":")
    try:
        found = datasets.load_dataset(owner, configuration or None)
    except Exception as error:  # of datasets, of the hub's client, or of the network beneath
        lines = str(error).strip().splitlines() or [""]
        said = f"{type(error).__name__}: {lines[0][:300]}"
        remedy = (
            "check the name (owner/name or owner/name:configuration) and the connection, or give files by data.train"
        )
        raise fail("data.hub", "name a data set that can be loaded", f"{name} ({said})", remedy) from error
    tables: dict[str, _Table] = {}
    for split, part in found.items():
        if split in SPLIT_NAMES:
            called = f"the {split} split of {name}"
            columns = {called: partial(_hub_column, part)}
            tables[SPLIT_NAMES[split]] = _Table(called, part.features.arrow_schema, len(part), columns)
    return _read_tables(tables, name, files=True)


def _hub_column(part: Any, name: str) -> Iterator[Any]:
    for batch in part.select_columns([name]).with_format("arrow").iter(_ROWS):
        yield from batch.column(0).chunks


def _import(argument: str, module: str) -> ModuleType:
    """An optional package."""
    from importlib import import_module

    package = module.split(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        remedy = "install the extra `hub`: pip install 'scud-diffusion[hub]'"
        raise fail(argument, f"be read by the package {package}", f"no such package ({error})", remedy) from error


def _read_tables(tables: Mapping[str, _Table], name: str = "", *, files: bool) -> dict[str, Images]:
    """The images of each split's table; `files` says whether a picture may be in a file that the table names."""
    if "train" not in tables:
        remedy = "parts are called train, validation and test, files such as train-00000-of-00001.parquet"
        raise fail(name, "hold a part called train", f"parts {', '.join(tables) or 'of other names'}", remedy)
    images: dict[str, Images] = {}
    for split in SPLITS:
        if split in tables:
            dims = images["train"].pixels.shape[1:] if images else None
            images[split] = _read_table(tables[split], dims, files=files)
    return images


def _read_table(table: _Table, dims: tuple[int, ...] | None, *, files: bool) -> Images:
    import pyarrow as pa

    column = next((name for name in _IMAGE if name in table.schema.names), None)
    remedy = "write it with pictures as the package `datasets` does, or give a folder of pictures"
    if column is None:
        rule = "have a column image or img"
        raise fail(table.name, rule, f"columns {', '.join(table.schema.names)}", remedy)
    kind = table.schema.field(column).type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise fail(f"{column} in {table.name}", "hold the bytes of encoded pictures", kind, remedy)
    if table.rows == 0:
        raise fail(table.name, "hold at least one image", "none", "remove it, or add images")
    names = [name for name in _LABEL if name in table.schema.names]
    label = next((name for name in names if pa.types.is_integer(table.schema.field(name).type)), None)
    labels = None if label is None else _labels(f"{label} in {table.name}", table, label)
    return Images(stack(_pictures(table, column, files=files), table.rows, dims), labels)


def _labels(name: str, table: _Table, column: str) -> NDArray[np.int64]:
    """Labels [N] of a column."""
    found = [part for read in table.columns.values() for part in read(column)]
    missing = sum(part.null_count for part in found)
    if missing:
        raise fail(name, "hold a label in every row", f"{missing} rows without", "remove these rows, or the column")
    return np.concatenate([part.to_numpy() for part in found]).astype(np.int64)


def _pictures(table: _Table, column: str, *, files: bool) -> Iterator[tuple[str, Path | BytesIO]]:
    """Each row's picture, with what to call it."""
    import pyarrow.compute as pc

    for where, read in table.columns.items():
        number = 0
        for part in read(column):
            contents = pc.struct_field(part, "bytes").to_pylist()
            paths = pc.struct_field(part, "path").to_pylist() if files else [None] * len(contents)
            for content, path in zip(contents, paths, strict=True):
                name = f"in row {number} of {where}"
                if content is None and path is None:
                    raise fail(
                        f"the picture {name}", "be in the table", "no bytes", "write the table with its pictures"
                    )
                yield name, Path(path) if content is None else BytesIO(content)
                number += 1

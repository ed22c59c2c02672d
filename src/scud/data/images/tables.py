"""Encoded pictures in the columns of a table (see `scud.data.tables`).

A table has a column `image` (or `img`) of structs with the `bytes` of a PNG, JPEG or other picture, and perhaps a column
`label`, `labels` or `fine_label` of integers, or of texts.
"""

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scud.data.images.folders import turned_line
from scud.data.images.pictures import stack
from scud.data.images.pixels import Pixels, Read, left_out
from scud.data.labels import checked_labels
from scud.data.splits import SPLITS
from scud.data.tables import Table, hub_tables, parquet_tables
from scud.errors import fail
from scud.files.memory import check_read

_IMAGE = ("image", "img")
_LABEL = ("label", "labels", "fine_label")


def read_parquet(path: Path) -> Read:
    """The images of a parquet file, or of a folder of them, by split.

    Raises:
        UserError: as in `parquet_tables`; a table has other columns; a picture is not as `scud.data.images.pictures` asks.
    """
    tables = parquet_tables(path)
    splits, report = _read_tables(tables, files=False)
    if path.is_dir():
        used = [Path(file) for table in tables.values() for file in table.columns]
        report += left_out(used[0].parent, used)
    return splits, report


def read_hub(name: str) -> Read:
    """The images of a data set of the hub, by split.

    Raises:
        UserError: as in `hub_tables`; a table has other columns; a picture is not as `scud.data.images.pictures` asks.
    """
    tables = hub_tables(name)
    splits, report = _read_tables(tables, files=True)
    beside = tables["train"].beside
    return splits, report + ([f"left out of the splits: {', '.join(beside)}"] if beside else [])


def _read_tables(tables: Mapping[str, Table], *, files: bool) -> Read:
    """The images of each split's table; `files` says whether a picture may be in a file that the table names."""
    images: dict[str, Pixels] = {}
    unused: dict[str, None] = {}
    turned, total = 0, sum(table.rows for table in tables.values())
    for split in SPLITS:
        if split in tables:
            dims = images["train"].pixels.shape[1:] if images else None
            table = tables[split]
            column, label = _image_column(table), _label_column(table)
            labels = None if label is None else _labels(table, label)
            decoded = stack(_pictures(table, column, files=files), table.rows, dims, total)
            images[split] = Pixels(decoded.pixels, labels)
            turned += decoded.turned
            unused |= dict.fromkeys(
                name for name in table.schema.names if name not in (column, label)
            )
    report = [f"left out of the columns: {', '.join(unused)}"] if unused else []
    return images, report + turned_line(turned)


def _image_column(table: Table) -> str:
    """The column of encoded pictures."""
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
    remedy = "give fewer"
    check_read(table.name, 8 * table.rows, f"{table.rows:,} labels", remedy)
    return column


def _label_column(table: Table) -> str | None:
    """The first column of numbers that may hold labels, or else the first of texts; None where there is none.

    Raises:
        UserError: there are columns for labels, and they hold something else.
    """
    import pyarrow as pa

    types = {name: table.schema.field(name).type for name in _LABEL if name in table.schema.names}
    numbers = [name for name, kind in types.items() if pa.types.is_integer(kind)]
    texts = [name for name, kind in types.items() if _is_text(kind)]
    if types and not numbers + texts:
        name, kind = next(iter(types.items()))
        remedy = "convert it to whole numbers or texts, or leave the column out"
        raise fail(f"{name} in {table.name}", "hold integers or texts", kind, remedy)
    return next(iter(numbers + texts), None)


def _is_text(kind: Any) -> bool:
    """Whether a type of pyarrow is one of texts, perhaps each kept once."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _labels(table: Table, column: str) -> NDArray[np.int64] | NDArray[np.str_]:
    """Labels [N]: the values of a column."""
    parts = [part for read in table.columns.values() for part in read(column)]
    missing = sum(part.null_count for part in parts)
    name = f"{column} in {table.name}"
    if missing:
        found = f"{missing} rows without"
        raise fail(name, "hold a label in every row", found, "remove these rows, or the column")
    values = np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])
    if _is_text(table.schema.field(column).type):
        values = values.astype(np.str_)
    return checked_labels(name, values, table.rows)


def _pictures(table: Table, column: str, *, files: bool) -> Iterator[tuple[str, Path | BytesIO]]:
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
                        f"the picture {name}",
                        "be in the table",
                        "no bytes",
                        "write the table with its pictures",
                    )
                yield name, Path(path) if content is None else BytesIO(content)
                number += 1

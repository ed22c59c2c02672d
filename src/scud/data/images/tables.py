"""Encoded pictures in the columns of a table (see `scud.data.tables`).

A table has a column `image` (or `img`) of structs with the `bytes` of a PNG, JPEG or other picture, and perhaps a column
`label`, `labels` or `fine_label` of integers, or of texts.
"""

from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scud.data.images.archives import Pixels
from scud.data.images.pictures import stack
from scud.data.splits import SPLITS
from scud.data.tables import Table, hub_tables, parquet_tables
from scud.errors import fail

_IMAGE = ("image", "img")
_LABEL = ("label", "labels", "fine_label")


def read_parquet(path: Path) -> dict[str, Pixels]:
    """The images of a parquet file, or of a folder of them, by split.

    Raises:
        UserError: as in `parquet_tables`; a table has other columns; a picture is not as `scud.data.images.pictures` asks.
    """
    return _read_tables(parquet_tables(path), files=False)


def read_hub(name: str) -> dict[str, Pixels]:
    """The images of a data set of the hub, by split.

    Raises:
        UserError: as in `hub_tables`; a table has other columns; a picture is not as `scud.data.images.pictures` asks.
    """
    return _read_tables(hub_tables(name), files=True)


def _read_tables(tables: Mapping[str, Table], *, files: bool) -> dict[str, Pixels]:
    """The images of each split's table; `files` says whether a picture may be in a file that the table names."""
    images: dict[str, Pixels] = {}
    for split in SPLITS:
        if split in tables:
            dims = images["train"].pixels.shape[1:] if images else None
            images[split] = _read_table(tables[split], dims, files=files)
    return images


def _read_table(table: Table, dims: tuple[int, ...] | None, *, files: bool) -> Pixels:
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
    labels = _labels(table)
    return Pixels(stack(_pictures(table, column, files=files), table.rows, dims), labels)


def _labels(table: Table) -> NDArray[np.int64] | NDArray[np.str_] | None:
    """Labels [N], from the first column of numbers that may hold them, or else the first of texts."""
    import pyarrow as pa

    schema = table.schema
    types = {name: schema.field(name).type for name in _LABEL if name in schema.names}
    numbers = [name for name, kind in types.items() if pa.types.is_integer(kind)]
    texts = [name for name, kind in types.items() if pa.types.is_string(kind)]
    column = next(iter(numbers + texts), None)
    if column is None:
        return None
    parts = [part for read in table.columns.values() for part in read(column)]
    missing = sum(part.null_count for part in parts)
    if missing:
        name, found = f"{column} in {table.name}", f"{missing} rows without"
        raise fail(name, "hold a label in every row", found, "remove these rows, or the column")
    values = np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])
    return values.astype(np.int64) if numbers else values.astype(np.str_)


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

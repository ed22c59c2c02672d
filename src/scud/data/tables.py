"""Tables of examples: parquet files, and data sets of the Hugging Face hub.

Tables are read a batch of rows at a time. The packages needed, pyarrow and datasets, are the extra `hub`. Nothing is downloaded
except by `hub_tables`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from scud.data.splits import split_of, split_of_file
from scud.errors import UserError, fail
from scud.files.digests import file_digest

_ROWS = 256
_BATCH = 64 << 20
_RATIO = 200


@dataclass(frozen=True)
class Table:
    """What is read of a table.

    Attributes:
        name: what to call it in messages.
        schema: the pyarrow schema.
        rows: their number.
        columns: for each of its files, by what to call it, the values of a column: an array of pyarrow for each batch of rows.
        digest: gives a text that changes with the content.
        beside: names of the parts of its data set that are no split.
    """

    name: str
    schema: Any
    rows: int
    columns: Mapping[str, Callable[[str], Iterable[Any]]]
    digest: Callable[[], str]
    beside: tuple[str, ...] = ()


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files in a folder or, if there are none, in its subfolders."""
    files = sorted(folder.glob("*.parquet")) or sorted(folder.glob("*/*.parquet"))
    return [file for file in files if file.is_file()]


def parquet_tables(path: Path) -> dict[str, Table]:
    """A parquet file as "train"; or by split a folder of files called train-*.parquet, validation-*.parquet and test-*.parquet.

    Raises:
        UserError: pyarrow is not installed, a file is damaged, or there is no training split.
    """
    import_optional("path", "pyarrow.parquet", "hub")
    if path.is_file():
        return {"train": _open_parquet([path])}
    parts: dict[str, list[Path]] = {}
    for file in parquet_files(path):
        split = split_of_file(file.stem)
        if split is not None:
            parts.setdefault(split, []).append(file)
    folders = {file.parent for members in parts.values() for file in members}
    if len(folders) > 1:
        found = ", ".join(sorted(folder.name for folder in folders))
        raise fail("path", "hold one data set", f"{path} with {found}", "give one of these folders")
    return _with_train(
        str(path), {split: _open_parquet(members) for split, members in parts.items()}
    )


def hub_tables(name: str) -> dict[str, Table]:
    """The splits of a data set of the hub, "owner/name" or "owner/name:configuration"; or of a folder that `datasets` can load.

    It is downloaded at first use, by the package `datasets` and into its cache.

    Raises:
        UserError: `datasets` is not installed, the set cannot be loaded, or it has no training split.
    """
    datasets = import_optional("data.hub", "datasets", "hub")
    owner, _, configuration = name.partition(":")
    try:
        found = datasets.load_dataset(owner, configuration or None)
    except Exception as error:  # of datasets, of the hub's client, or of the network beneath
        lines = str(error).strip().splitlines() or [""]
        said = f"{type(error).__name__}: {lines[0][:300]}"
        remedy = "check the name (owner/name or owner/name:configuration) and the connection, or give files by data.train"
        raise fail(
            "data.hub", "name a data set that can be loaded", f"{name} ({said})", remedy
        ) from error
    tables: dict[str, Table] = {}
    beside = tuple(split for split in found if split_of(split) is None)
    for split, part in found.items():
        known = split_of(split)
        if known is not None:
            if known in tables:
                rule, remedy = f"hold one part for {known}", "give a data set with one"
                raise fail(name, rule, f"parts {', '.join(found)}", remedy)
            called = f"the {split} split of {name}"
            columns = {called: partial(_hub_column, part)}
            digest = partial(str, part._fingerprint)  # the package's own name for a content
            schema = part.features.arrow_schema
            tables[known] = Table(called, schema, len(part), columns, digest, beside)
    return _with_train(name, tables)


def import_optional(argument: str, module: str, extra: str) -> ModuleType:
    """A module of an optional package, which is in an extra of this one.

    Raises:
        UserError: it is not installed; `argument` is what needs it.
    """
    from importlib import import_module

    package = module.split(".")[0]
    try:
        return import_module(module)
    except ImportError as error:
        remedy = f"install the extra `{extra}`: pip install 'scud-diffusion[{extra}]'"
        raise fail(
            argument, f"be read by the package {package}", f"no such package ({error})", remedy
        ) from error


def _with_train(name: str, tables: dict[str, Table]) -> dict[str, Table]:
    if "train" not in tables:
        remedy = "parts are called train, validation and test, files such as train-00000-of-00001.parquet"
        raise fail(
            name,
            "hold a part called train",
            f"parts {', '.join(tables) or 'of other names'}",
            remedy,
        )
    return tables


def _open_parquet(files: list[Path]) -> Table:
    """One table of the rows of several parquet files with the same columns."""
    headers = [_parquet_header(file) for file in files]
    schema = headers[0][0]
    for file, (other, _) in zip(files, headers, strict=True):
        if not other.equals(schema):
            found = ", ".join(other.names)
            raise fail(
                str(file),
                f"have the columns of {files[0].name}",
                found,
                "write both with the same columns",
            )
    columns = {
        str(file): partial(_parquet_column, file, rows)
        for file, (_, rows) in zip(files, headers, strict=True)
    }

    def digest() -> str:
        return " ".join(file_digest(file) for file in files)

    return Table(str(files[0]), schema, sum(rows for _, rows in headers), columns, digest)


def _parquet_header(file: Path) -> tuple[Any, int]:
    """Schema and number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            metadata, schema = table.metadata, table.schema_arrow
            rows = sum(
                metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)
            )
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
            for batch in table.iter_batches(_batch_rows(file, table.metadata), columns=[name]):
                left -= len(batch)
                if left >= 0:
                    yield batch.column(0)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise _damaged(file, error) from error
    if left:
        raise _damaged(file, f"{rows - left} of {rows} rows")


def _batch_rows(file: Path, metadata: Any) -> int:
    """How many rows to read at once, so that they do not fill the memory.

    Asked of groups of rows: pyarrow ends the process where it is asked of columns whose description is damaged.

    Raises:
        UserError: a group is much larger than the file, as no examples are.
    """
    rows, packed = _ROWS, file.stat().st_size
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        size = group.total_byte_size
        if size > max(_BATCH, _RATIO * packed):
            raise _damaged(file, f"{size:,} bytes packed into {packed:,}")
        if size > _BATCH:
            rows = min(rows, max(1, _BATCH * group.num_rows // size))
    return rows


def _damaged(file: Path, error: object) -> UserError:
    return fail(
        str(file), "be an undamaged parquet file", f"an error ({error})", "download it again"
    )


def _hub_column(part: Any, name: str) -> Iterator[Any]:
    for batch in part.select_columns([name]).with_format("arrow").iter(_ROWS):
        yield from batch.column(0).chunks

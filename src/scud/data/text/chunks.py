"""Files and tables of text, read into chunks of one length, which are kept in the cache."""

from collections.abc import Iterator
from pathlib import Path

from scud.data.tables import Table, parquet_files, parquet_tables
from scud.data.text.files import check_text_file, file_pieces, table_pieces
from scud.data.text.store import FORMAT, TextSet, write_text
from scud.data.text.tokenizers import Piece, Tokenizer
from scud.errors import fail
from scud.files import is_folder
from scud.files.cache import cached_folder
from scud.files.digests import file_digest


def read_chunks(path: Path, split: str, tokens: Tokenizer, length: int) -> TextSet:
    """The chunks of the split of a file or folder, or of its training split; errors as in `load_text`."""
    texts = find_texts(path)
    return read_text(texts.get(split, texts["train"]), tokens, length, None)


def find_texts(path: Path) -> dict[str, Path | Table]:
    """The texts of a file ("train") or a folder, by split."""
    if is_folder(path):
        if not parquet_files(path):
            remedy = "give a text file, or a data set of the hub by --data.hub"
            raise fail(f"the folder {path}", "hold parquet files", "none", remedy)
        return dict(parquet_tables(path))
    check_text_file(path)
    return dict(parquet_tables(path)) if path.suffix.lower() == ".parquet" else {"train": path}


def read_text(
    text: Path | Table, tokens: Tokenizer, length: int, cache: str | Path | None
) -> TextSet:
    """The chunks of a text, read into the cache unless they are there."""
    digest = text.digest() if isinstance(text, Table) else file_digest(text, cache)

    def write(folder: Path) -> None:
        name = text.name if isinstance(text, Table) else str(text)
        write_text(
            folder,
            pieces=_pieces(text, tokens.whole_lines),
            tokens=tokens,
            length=length,
            name=name,
        )

    return TextSet(cached_folder("text", [FORMAT, digest, tokens.spec(), length], write, cache))


def _pieces(text: Path | Table, whole_lines: bool) -> Iterator[Piece]:
    if isinstance(text, Table):
        return table_pieces(text, whole_lines=whole_lines)
    return file_pieces(text, whole_lines=whole_lines)

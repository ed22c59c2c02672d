"""Text from files, tables and the Hugging Face hub, in chunks of one length.

Training text comes from a .txt or .txt.gz file of UTF-8, from a .parquet file or a folder of them with a column `text`, or from
the hub. Validation text is the split of that name of a folder or of the hub, a file of its own or, without one, held out (see
`scud.data.text.store.hold_out`).

Borders of documents. For characters and bytes a file is one stream, in which a line break is a character like others (or
a space, see `scud.data.text.tokenizers`). For subword tokens every line is a document, followed by a separator. Either way
a chunk may hold the end of one document and the beginning of the next.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from scud.data.base import Data
from scud.data.files import check_share
from scud.data.splits import SPLITS
from scud.data.tables import Table, hub_tables, parquet_files, parquet_tables
from scud.data.text.files import check_text_file, file_pieces, table_pieces
from scud.data.text.modality import Text, check_length
from scud.data.text.store import FORMAT, TextSet, hold_out, write_text
from scud.data.text.tokenizers import Piece, Tokenizer
from scud.errors import fail
from scud.files.cache import cached_folder, file_digest

HUB_NAMES = {
    "lm1b": "dvruette/lm1b",
    "text8": "afmck/text8",
    "wikitext": "Salesforce/wikitext:wikitext-103-raw-v1",
}
"""Data sets of the hub that have a short name here."""


def load_text(
    train: str | Path,
    tokens: Tokenizer,
    length: int,
    *,
    files: Mapping[str, Path | None] | None = None,
    valid_share: float = 0.05,
    cache: str | Path | None = None,
) -> Data:
    """Text in chunks; what is read is kept in the cache (see `scud.data.text.store`).

    Args:
        train: a text file, or a folder of parquet files.
        tokens: what its states stand for.
        length: states per chunk L.
        files: text files of "valid" and "test", or None where there is none.
        valid_share: share held out for validation where there is nothing else.
        cache: folder of stores; `scud.files.cache.default_cache()` if it is None.

    Raises:
        UserError: a file is missing or not as it should be, or is too short.
    """
    path = Path(train)
    texts = {**_texts(path), **_given(files)}
    return _data(path.name.split(".")[0], texts, tokens, length, valid_share, cache)


def load_hub_text(
    name: str,
    tokens: Tokenizer,
    length: int,
    *,
    files: Mapping[str, Path | None] | None = None,
    valid_share: float = 0.05,
    cache: str | Path | None = None,
) -> Data:
    """Text of a data set of the hub, by a name of `HUB_NAMES` or as `scud.data.tables.hub_tables` takes it; as `load_text`."""
    texts = {**hub_tables(HUB_NAMES.get(name, name)), **_given(files)}
    return _data(name.split("/")[-1].split(":")[0], texts, tokens, length, valid_share, cache)


def read_chunks(path: Path, split: str, tokens: Tokenizer, length: int) -> TextSet:
    """The chunks of the split of a file or folder, or of its training split; errors as in `load_text`."""
    texts = _texts(path)
    return _read(texts.get(split, texts["train"]), tokens, length, None)


def _given(files: Mapping[str, Path | None] | None) -> dict[str, Path | Table]:
    """The texts of files by split; of a folder that has splits of its own, the one of that name."""
    found = {name: _texts(path) for name, path in (files or {}).items() if path is not None}
    return {name: texts.get(name, texts["train"]) for name, texts in found.items()}


def _texts(path: Path) -> dict[str, Path | Table]:
    """The texts of a file ("train") or a folder, by split."""
    if path.is_dir():
        if not parquet_files(path):
            remedy = "give a text file, or a data set of the hub by --data.hub"
            raise fail(f"the folder {path}", "hold parquet files", "none", remedy)
        return dict(parquet_tables(path))
    check_text_file(path)
    return dict(parquet_tables(path)) if path.suffix.lower() == ".parquet" else {"train": path}


def _data(
    name: str,
    texts: Mapping[str, Path | Table],
    tokens: Tokenizer,
    length: int,
    valid_share: float,
    cache: str | Path | None,
) -> Data:
    check_length(length)
    check_share(valid_share)
    splits = {split: _read(text, tokens, length, cache) for split, text in texts.items()}
    report = [line for split, text in splits.items() for line in report_of(split, text, tokens)]
    if "valid" not in splits:
        splits["train"], splits["valid"] = hold_out(splits["train"], valid_share)
    splits = {split: splits[split] for split in SPLITS if split in splits}
    report += [f"{split}: {len(part):,} chunks of {length} {tokens.units}" for split, part in splits.items()]
    return Data(name, splits, Text(tokens, length), report=tuple(report))


def _read(text: Path | Table, tokens: Tokenizer, length: int, cache: str | Path | None) -> TextSet:
    """The chunks of a text, read into the cache unless they are there."""
    digest = text.digest() if isinstance(text, Table) else file_digest(text)

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


def report_of(split: str, text: TextSet, tokens: Tokenizer) -> list[str]:
    """What reading a text found, a line each."""
    whole, rest = text.whole, text.whole.tokens % text.length
    read = f"{whole.characters:,} characters in {whole.words:,} words"
    lines = [f"{split}: read {read}" + ("" if tokens.unit == "char" else f" as {whole.tokens:,} {tokens.units}")]
    if text.unknown:
        lines.append(f"{split}: {text.unknown:,} {tokens.units} stand for what the vocabulary cannot write")
    if rest:
        lines.append(f"{split}: dropped the last {rest} {tokens.units}, which make no whole chunk")
    return lines

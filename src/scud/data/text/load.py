"""Text from files, tables and the Hugging Face hub, in chunks of one length.

Training text comes from a .txt or .txt.gz file of UTF-8, from a .parquet file or a folder of them with a column `text`, or from
the hub. Validation text is the split of that name of a folder or of the hub, a file of its own or, without one, held out (see
`scud.data.text.store.hold_out`).

Borders of documents. For characters and bytes a file is one stream, in which a line break is a character like others (or
a space, see `scud.data.text.tokenizers`). For subword tokens every line is a document, followed by a separator. Either way
a chunk may hold the end of one document and the beginning of the next.
"""

from collections.abc import Mapping
from pathlib import Path

from scud.data.dataset import Data
from scud.data.files import check_share
from scud.data.splits import SPLITS
from scud.data.tables import Table, hub_tables
from scud.data.text.chunks import find_texts, read_text
from scud.data.text.modality import Text, check_length
from scud.data.text.store import TextSet, hold_out
from scud.data.text.tokenizers import Tokenizer

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
    texts = {**find_texts(path), **_given(files)}
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


def _given(files: Mapping[str, Path | None] | None) -> dict[str, Path | Table]:
    """The texts of files by split; of a folder that has splits of its own, the one of that name."""
    found = {name: find_texts(path) for name, path in (files or {}).items() if path is not None}
    return {name: texts.get(name, texts["train"]) for name, texts in found.items()}


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
    splits = {split: read_text(text, tokens, length, cache) for split, text in texts.items()}
    report = [line for split, text in splits.items() for line in report_of(split, text, tokens)]
    if "valid" not in splits:
        splits["train"], splits["valid"] = hold_out(splits["train"], valid_share)
    splits = {split: splits[split] for split in SPLITS if split in splits}
    report += [
        f"{split}: {len(part):,} chunks of {length} {tokens.units}"
        for split, part in splits.items()
    ]
    return Data(name, splits, Text(tokens, length), report=tuple(report))


def report_of(split: str, text: TextSet, tokens: Tokenizer) -> list[str]:
    """What reading a text found, a line each."""
    whole, rest = text.whole, text.whole.tokens % text.length
    read = f"{whole.characters:,} characters in {whole.words:,} words"
    lines = [
        f"{split}: read {read}"
        + ("" if tokens.unit == "char" else f" as {whole.tokens:,} {tokens.units}")
    ]
    if text.unknown:
        lines.append(
            f"{split}: {text.unknown:,} {tokens.units} stand for what the vocabulary cannot write"
        )
    lines += [f"{split}: {count:,} {note}" for note, count in text.notes.items() if count]
    if rest:
        lines.append(f"{split}: dropped the last {rest} {tokens.units}, which make no whole chunk")
    return lines

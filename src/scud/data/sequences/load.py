"""Sequences of letters, such as proteins, DNA or RNA, from FASTA files.

Training data come from a file, or from a folder in the layout in which UniRef50 is published for
CARP and EvoDiff, which has splits of its own. Validation data come from a file of their own or,
without one, are held out by a hash of each sequence: equal sequences are never on both sides. Like
ones may be: for an honest figure, split a file by families beforehand.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from scud.data.dataset import Data
from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.labels import label_source, with_labels
from scud.data.sequences.modality import Sequences
from scud.data.sequences.store import SequenceSet, StoreOptions, build_stores
from scud.errors import fail


def load_sequences(
    train: str | Path,
    alphabet: str = "protein",
    *,
    files: Mapping[str, Path | None] | None = None,
    valid_share: float = 0.05,
    labels: Path | None = None,
    label_field: str | None = None,
    cache: str | Path | None = None,
    **filters: Any,
) -> Data:
    """Sequences; stores are made in the cache at first use (see `scud.data.sequences.store`).

    Args:
        train: a FASTA file, plain or gzipped, or a UniRef50 folder.
        alphabet: protein, dna, rna, or the letters themselves.
        files: FASTA files of "valid" and "test", or None where there is none.
        valid_share: share held out for validation where neither a file nor a folder gives it.
        labels: a file of class labels by record's name (see `scud.data.labels`).
        label_field: the field of headers that holds class labels: bin for `>P1 bin=3`.
        cache: folder of stores; `scud.files.cache.default_cache()` if it is None.
        filters: min_length, max_length and long, as in `StoreOptions`.

    Raises:
        UserError: a file is missing or not as it should be, or no sequences are left.
    """
    letters = find_alphabet(alphabet)
    source = label_source(labels, label_field)
    given = {name: path for name, path in (files or {}).items() if path is not None}
    hashed = 0.0 if "valid" in given or Path(train).is_dir() else valid_share
    options = StoreOptions(**filters, valid_share=hashed)
    splits = dict(build_stores(train, letters, options, cache, source))
    report = report_of("", splits)
    for name, path in given.items():
        parts = build_stores(path, letters, StoreOptions(**filters), cache, source)
        own = name if path.is_dir() else "train"  # a UniRef50 folder has splits of its own
        if own not in parts:
            rule = f"hold sequences of the split {own}"
            raise fail(f"data.{name}", rule, path, "give a FASTA file")
        splits[name] = parts[own]
        report += report_of(f"{name} file: ", {"train": splits[name]})
    if "valid" not in splits:
        remedy = "give a file by --data.valid, raise --data.valid-share, or add sequences"
        found = f"none of {len(splits['train'])} sequences"
        raise fail("data.valid", "hold at least one sequence", found, remedy)
    names: tuple[str, ...] = ()
    if source is not None:
        names, splits = with_labels(splits, source)
        report += [label_report(name, len(names), part) for name, part in splits.items()]
        report += source.report({part.folder.parent for part in splits.values()})
    modality = Sequences(letters, torch.as_tensor(splits["train"].length_counts))
    title = Path(train).name.split(".")[0]
    return Data(title, splits, modality, names, tuple(report))


def report_of(prefix: str, splits: Mapping[str, SequenceSet]) -> list[str]:
    """What reading a file told, then what each split holds."""
    lines: list[str] = []
    for number, part in enumerate(splits.values()):
        lines += part.report()[-1 if number else 0 :]
    return [prefix + line for line in lines]


def label_report(split: str, count: int, part: SequenceSet) -> str:
    """How many examples of a split have labels."""
    _, labels = part.stored_labels()
    labelled = int((labels >= 0).any(axis=1).sum())
    return f"{split}: {labelled:,} of {len(part):,} examples with labels, of {count:,} different"

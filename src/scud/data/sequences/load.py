"""Sequences of letters, such as proteins, DNA or RNA, from FASTA files.

Training data come from a file, or from a folder in the layout in which UniRef50 is published for CARP and EvoDiff, which has
splits of its own. Validation data come from a file of their own or, without one, are held out by a hash of each sequence:
equal sequences are never on both sides. Like ones may be: for an honest figure, split a file by families beforehand.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.store import SequenceSet, StoreOptions, build_stores
from scud.data.source import Source
from scud.errors import fail


def load_sequences(
    train: str | Path,
    alphabet: str = "protein",
    *,
    files: Mapping[str, Path | None] | None = None,
    valid_share: float = 0.05,
    **filters: Any,
) -> Source:
    """Sequences as a source; stores are made in the cache at first use (see `scud.data.sequences.store`).

    Args:
        train: a FASTA file, plain or gzipped, or a UniRef50 folder.
        alphabet: protein, dna, rna, or the letters themselves.
        files: FASTA files of "valid" and "test", or None where there is none.
        valid_share: share held out for validation where neither a file nor a folder gives it.
        filters: min_length, max_length and long, as in `StoreOptions`.

    Raises:
        UserError: a file is missing or not as it should be, or no sequences are left.
    """
    letters, given = find_alphabet(alphabet), {name: path for name, path in (files or {}).items() if path is not None}
    hashed = 0.0 if "valid" in given or Path(train).is_dir() else valid_share
    splits = dict(build_stores(train, letters, StoreOptions(**filters, valid_share=hashed)))
    report = report_of("", splits)
    for name, path in given.items():
        found = build_stores(path, letters, StoreOptions(**filters))
        own = name if path.is_dir() else "train"  # a UniRef50 folder has splits of its own
        if own not in found:
            raise fail(f"data.{name}", f"hold sequences of the split {own}", path, "give a FASTA file")
        splits[name] = found[own]
        report += report_of(f"{name} file: ", {"train": splits[name]})
    if "valid" not in splits:
        remedy = "give a file by --data.valid, raise --data.valid-share, or add sequences"
        raise fail("data.valid", "hold at least one sequence", f"none of {len(splits['train'])} sequences", remedy)
    return Source(
        name=Path(train).name.split(".")[0],
        num_states=letters.num_states,
        dims=None,
        splits=splits,
        kind="sequences",
        alphabet=letters,
        report=tuple(report),
    )


def report_of(prefix: str, splits: Mapping[str, SequenceSet]) -> list[str]:
    """What reading a file found, then what each split holds."""
    lines = [line for number, held in enumerate(splits.values()) for line in held.report()[-1 if number else 0 :]]
    return [prefix + line for line in lines]

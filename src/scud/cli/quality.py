"""scud evaluate --samples: generated sequences beside held-out and training data."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scud.data import Source
    from scud.runs import Run


def compare(run: "Run", source: "Source", split: str, samples: Path, target: Path, seed: int) -> None:
    """Print and write how the sequences of a FASTA file compare; raises `UserError` for a file that is not as it should be."""
    from rich.console import Console
    from rich.table import Table

    from scud.data import SequenceSet
    from scud.data.fasta import read_fasta
    from scud.evaluation.sequence_quality import sequence_quality
    from scud.evaluation.sequences import SequenceArray
    from scud.files import replacing

    records = read_fasta(samples, run.alphabet)

    def stored(name: str) -> SequenceArray:
        part = source.split(name)
        assert isinstance(part, SequenceSet), "a run of sequences has data of sequences"
        return SequenceArray(part.codes, part.offsets)

    drawn = SequenceArray.from_list([record.codes for record in records])
    with Console().status("comparing with training data"):
        quality = sequence_quality(drawn, stored(split), stored("train"), run.model.num_states, seed=seed)
    table = Table("measure", "samples", split, "training")
    rows = quality.rows()
    for row in rows:
        table.add_row(row.measure, *("" if value is None else shown(value) for value in row[1:]))
    Console().print(table)
    with replacing(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["measure", "samples", split, "training"])
        writer.writerows(rows)
    print(f"wrote {target}: {len(records)} sequences of {samples} beside {split} and training data")


def shown(value: float) -> str:
    """A count in full, anything else in four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"

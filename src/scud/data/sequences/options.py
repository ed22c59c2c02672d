"""Options by which sequences are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from scud.data.base import Modality
from scud.data.dataset import Data
from scud.data.files import check_share, training_file
from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.ingest import StoreOptions
from scud.data.sequences.labels import check_field
from scud.data.sequences.load import load_sequences
from scud.data.sequences.modality import Sequences
from scud.errors import fail
from scud.options import Options


@dataclass(frozen=True, kw_only=True)
class SequencesOptions(Options):
    """Sequences of letters, such as proteins, DNA or RNA, from FASTA files."""

    kind: Literal["sequences"] = "sequences"
    """What is modelled."""

    train: Path | None = None
    """A FASTA file, plain or gzipped, or a UniRef50 folder as published for CARP and EvoDiff."""

    valid: Path | None = None
    """A FASTA file for validation."""

    test: Path | None = None
    """A FASTA file for the final test."""

    valid_share: float = 0.05
    """Share of the training sequences held out, by hash, where there are none for validation."""

    alphabet: str = "protein"
    """protein, dna, rna, or the letters themselves, such as HP."""

    min_length: int = 1
    """Shorter sequences are left out."""

    max_length: int = 1024
    """Longest sequence that is taken whole; what is done with longer ones says --data.long."""

    long: Literal["cut", "drop"] = "cut"
    """Sequences longer than --data.max-length are cut into the fewest equal parts, or left out."""

    labels: Path | None = None
    """A table (TSV or CSV, plain or gzipped) of class labels by name of the record: a header, then
    a line for each record. One more column holds labels; several hold 0 or 1, each for a label."""

    label_field: str | None = None
    """The field of headers that holds class labels, such as bin for >P1 bin=3."""

    modality: ClassVar[type[Modality]] = Sequences

    def check(self) -> None:
        find_alphabet(self.alphabet)
        check_share(self.valid_share)
        StoreOptions(self.min_length, self.max_length, self.long)
        if self.label_field is not None:
            check_field(self.label_field)
            if self.labels is not None:
                name = "data.labels and data.label_field"
                raise fail(name, "not be given together", "both", "drop one of them")

    def read(self) -> Data:
        """Read the sequences; raises `UserError` naming what is wrong with a file."""
        return load_sequences(
            training_file(self.train, "a FASTA file"),
            self.alphabet,
            files={"valid": self.valid, "test": self.test},
            valid_share=self.valid_share,
            labels=self.labels,
            label_field=self.label_field,
            min_length=self.min_length,
            max_length=self.max_length,
            long=self.long,
        )

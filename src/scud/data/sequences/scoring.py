"""What is scored of sequences: the records of a FASTA file, or variants of one of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scud.data.base import Scan, Variants
from scud.data.sequences.accounts import read_as, seems_line
from scud.data.sequences.alphabets import Alphabet
from scud.data.sequences.edits import parse_positions, read_mutations
from scud.data.sequences.fasta import Record, read_fasta
from scud.data.sequences.infilling import check_length
from scud.errors import fail


class SequencesScoring:
    """How sequences and variants to score are read.

    Args:
        alphabet: what letters stand for.
        longest: length of the longest sequence that the model was trained on.
    """

    def __init__(self, alphabet: Alphabet, longest: int) -> None:
        self.alphabet = alphabet
        self.longest = longest

    def records(self, path: Path) -> Sequence[Record]:
        """The records of a FASTA file.

        Raises:
            UserError: the file is not as it should be, or a sequence is longer than any that the
                model was trained on, or has no known letter.
        """
        records = read_fasta(path, self.alphabet)
        for record in records:
            argument = f"{record.name} in {path}"
            check_length(argument, record, self.longest)
            if record.codes.min() >= self.alphabet.num_states:
                rule = "have a letter that is known"
                raise fail(argument, rule, "unknown letters only", "remove it")
        self._tell(records)
        return records

    def variants(self, wild_type: Path, mutations: Path, offset: int = 0) -> Variants:
        """The only record of a FASTA file, and the variants of it in a CSV file, whose positions count `offset` higher.

        Raises:
            UserError: a file is not as it should be, there are several records, or a variant does
                not fit.
        """
        wild = self._wild_type(wild_type)
        table = read_mutations(mutations)
        codes = table.apply(wild.codes, self.alphabet, wild.name, offset)
        self._tell([wild])
        return Variants(wild, codes, table.variants, table.other_names, table.other_cells)

    def scan(self, wild_type: Path, positions: str | None) -> Scan:
        """The only record of a FASTA file, and where each of its letters is to be replaced by every other one.

        Args:
            positions: such as 10-25,40; all of known letters where it is None.

        Raises:
            UserError: as in `variants`; or a position outside the sequence, or where its letter is not known.
        """
        wild = self._wild_type(wild_type)
        known = wild.codes < self.alphabet.num_states
        if positions is None:
            places = np.flatnonzero(known)
        else:
            places = parse_positions(positions, len(wild.codes))
            unknown = places[~known[places]]
            if len(unknown):
                found = f"{wild.text[unknown[0]]} at position {unknown[0] + 1}"
                raise fail("positions", "have letters that are known", found, "leave it out")
        self._tell([wild])
        return Scan(wild, places, self.alphabet.letters)

    def _wild_type(self, path: Path) -> Record:
        """The only record of a FASTA file."""
        records = read_fasta(path, self.alphabet)
        if len(records) != 1:
            rule, found = "hold one sequence, the wild type", f"{len(records)} sequences"
            raise fail(str(path), rule, found, "keep the one that the mutations refer to")
        check_length(f"{records[0].name} in {path}", records[0], self.longest)
        return records[0]

    def _tell(self, records: Sequence[Record]) -> None:
        """Print what letters were read as others."""
        lines, other = read_as(self.alphabet, [record.text for record in records])
        for line in [*lines, *([seems_line(other, self.alphabet.letters)] if other else [])]:
            print(line)

"""What is scored of sequences: the records of a FASTA file, or variants of one of them."""

from collections.abc import Sequence
from pathlib import Path

from scud.data.base import Variants
from scud.data.sequences.accounts import read_as, seems_line
from scud.data.sequences.alphabets import Alphabet
from scud.data.sequences.edits import read_mutations
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

    def variants(self, wild_type: Path, mutations: Path) -> Variants:
        """The only record of a FASTA file, and the variants of it in a CSV file.

        Raises:
            UserError: a file is not as it should be, there are several records, or a variant does
                not fit.
        """
        records = read_fasta(wild_type, self.alphabet)
        if len(records) != 1:
            rule, found = "hold one sequence, the wild type", f"{len(records)} sequences"
            raise fail(str(wild_type), rule, found, "keep the one that the mutations refer to")
        (wild,) = records
        check_length(f"{wild.name} in {wild_type}", wild, self.longest)
        table = read_mutations(mutations)
        codes = table.apply(wild.codes, self.alphabet, wild.name)
        self._tell(records)
        return Variants(wild, codes, table.variants, table.other_names, table.other_cells)

    def _tell(self, records: Sequence[Record]) -> None:
        """Print what letters were read as others."""
        lines, other = read_as(self.alphabet, [record.text for record in records])
        for line in [*lines, *([seems_line(other, self.alphabet.letters)] if other else [])]:
            print(line)

"""Redesigning parts of sequences: which residues, and the designs as a FASTA file."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.data.base import Gap
from scud.data.sequences.accounts import read_as, seems_line
from scud.data.sequences.alphabets import Alphabet
from scud.data.sequences.edits import parse_positions
from scud.data.sequences.fasta import Record, read_fasta, write_fasta
from scud.errors import UserError, fail, printable, shown

MARK = "?"
"""The letter that marks a residue to redesign."""

SHOWN = 10
"""Designs printed."""


@dataclass(frozen=True, kw_only=True)
class SequencesInfillOptions:
    """Residues to redesign: those of --positions, those marked ?, and those of unknown state, such
    as X. Letters that are read as another, such as U as C, stay as they are written."""

    input: Path | None = None
    """The FASTA file that holds the sequences."""

    positions: str | None = None
    """Residues to redesign in each, counted from 1, both ends included: 10-25,40."""


class SequencesInfilling:
    """How sequences with gaps are read, and designs are written.

    Args:
        alphabet: what letters stand for.
        longest: length of the longest sequence that the model was trained on.
    """

    options = SequencesInfillOptions
    file = "infilled.fasta"

    def __init__(self, alphabet: Alphabet, longest: int) -> None:
        self.alphabet = alphabet
        self.longest = longest

    def gaps(self, options: SequencesInfillOptions) -> list[Gap]:
        """A gap for each record of the file; its origin is the record.

        Raises:
            UserError: no file is named, or a record is not as it should be, has no residue to
                redesign, or is longer than the model was trained on.
        """
        if options.input is None:
            raise fail("input", "name a FASTA file", "nothing", "add --input FILE")
        gaps = []
        for record in read_fasta(options.input, self.alphabet, marked=MARK):
            free = choose(record, options.positions, self.alphabet.num_states, self.longest)
            states = torch.from_numpy(record.codes.astype(np.int64))
            gaps.append(Gap(record.name, states, torch.from_numpy(~free), record))
        _, other = read_as(self.alphabet, [gap.origin.text for gap in gaps])
        if other:
            print(seems_line(other, self.alphabet.letters))
        return gaps

    def write(self, gaps: Sequence[Gap], drawn: Sequence[Tensor], target: Path) -> str:
        """Designs NAME_design_1, NAME_design_2, …, and a table of the first of them."""
        write_fasta(target, self._named(gaps, drawn))
        first = list(islice(self._named(gaps, drawn), SHOWN))
        self._show(gaps[: len(first)], first, len(gaps))
        return f"{len(gaps)} designs of {len({gap.name for gap in gaps})} sequences"

    def _named(self, gaps: Sequence[Gap], drawn: Sequence[Tensor]) -> Iterator[tuple[str, str]]:
        """Each design and its name."""
        seen: Counter[str] = Counter()
        for gap, states in zip(gaps, drawn, strict=True):
            seen[gap.name] += 1
            text = written(gap, self.alphabet.decode(states.cpu().numpy()))
            yield f"{gap.name}_design_{seen[gap.name]}", text

    def _show(self, gaps: Sequence[Gap], named: Sequence[tuple[str, str]], count: int) -> None:
        """Print the first designs: residues redesigned, how many of those known before have
        changed, and what they are."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        title = f"{len(named)} of {count} designs"
        table = Table("design", "redesigned", "changed", "residues", title=title)
        for gap, (name, text) in zip(gaps, named, strict=True):
            free = (~gap.known).tolist()
            codes = gap.states.tolist()
            redesigned = [
                (new, old) for new, old, here in zip(text, codes, free, strict=True) if here
            ]
            changed = sum(
                old < self.alphabet.num_states and new != self.alphabet.letters[old]
                for new, old in redesigned
            )
            residues = "".join(new for new, _ in redesigned)
            table.add_row(
                escape(printable(shown(name))), str(len(redesigned)), str(changed), escape(residues)
            )
        Console().print(table)


def choose(
    record: Record, positions: str | None, num_states: int, longest: int
) -> NDArray[np.bool_]:
    """Which residues of a sequence to redesign, [length]: those of `positions`, and all of unknown
    state.

    Raises:
        UserError: there are none, a position outside the sequence, or a sequence longer than the
            model was trained on.
    """
    check_length(record.name, record, longest)
    free = record.codes >= num_states
    if positions is not None:
        try:
            free[parse_positions(positions, len(free))] = True
        except UserError as error:
            rule = f"fit {record.name}"
            raise fail("positions", rule, repr(positions), str(error)) from None
    if not free.any():
        remedy = f"give --positions 10-25,40, or write {MARK} for these residues in the file"
        raise fail(record.name, "have residues to redesign", "none", remedy)
    return free


def check_length(argument: str, record: Record, longest: int) -> None:
    """Raise `UserError` for a sequence longer than any that the model was trained on."""
    if len(record.codes) > longest:
        rule = f"be at most {longest} long, as the longest sequence that the model was trained on"
        raise fail(argument, rule, len(record.codes), "remove it, or cut it into domains")


def written(gap: Gap, drawn: str) -> str:
    """A design as text: what was drawn in the gap, and elsewhere the letters of the file, also
    where they were read as others."""
    known = gap.known.tolist()
    letters = zip(drawn, gap.origin.text, known, strict=True)
    return "".join(old if given else new for new, old, given in letters)

"""Edits of sequences: variants such as A24G:L30V or p.Ala24Gly, ranges of positions such as 10-25,40, and files of variants.

Positions are counted from 1 where people write them, and from 0 in arrays.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scud.data.sequences.alphabets import Alphabet
from scud.errors import UserError, fail
from scud.files import read_bytes

COLUMNS = ("mutation", "mutant", "mutations", "variant")
"""Headers of the column that holds variants, the first one found is read."""

_DIGITS = 18
_MOST = 512 << 20
_MUTATION = re.compile(r"(?:p\.)?(\D)([0-9]+)(\D)")
_HGVS = re.compile(r"(?:p\.)?\(?([A-Z][a-z]{2})([0-9]+)([A-Z][a-z]{2}|=)\)?")
_HGVS_LIST = re.compile(r"p\.\[(.*)\]")
_LETTERS = "ARNDCQEGHILKMFPSTWYV"
_NAMES = "AlaArgAsnAspCysGlnGluGlyHisIleLeuLysMetPheProSerThrTrpTyrVal"
_AMINO_ACIDS = {_NAMES[3 * i : 3 * i + 3]: letter for i, letter in enumerate(_LETTERS)}
_WILD_TYPE = ("WT", "WILD-TYPE", "WILDTYPE", "P.=", "P.(=)")
_RANGE = re.compile(r"([0-9]+)(?:\s*-\s*([0-9]+))?")


@dataclass(frozen=True)
class Mutation:
    """The letter `to` in place of the letter `wild` at a position counted from 1."""

    wild: str
    position: int
    to: str

    def __str__(self) -> str:
        return f"{self.wild}{self.position}{self.to}"


def parse_variant(text: str) -> tuple[Mutation, ...]:
    """The mutations of a variant, joined by colons: A24G:L30V; or as HGVS writes them: p.Ala24Gly, p.[Ala24Gly;Leu30Val].

    WT (or p.=) is the wild type, which has none; p.Ala24= is a mutation that changes nothing.

    Raises:
        UserError: a part that is not a letter, a position and a letter.
    """
    plain = text.strip()
    if plain.upper() in _WILD_TYPE:
        return ()
    several = _HGVS_LIST.fullmatch(plain)
    parts = plain.split(":") if several is None else several[1].split(";")
    return tuple(_parse_mutation(part.strip(), text) for part in parts)


def _parse_mutation(part: str, text: str) -> Mutation:
    """One mutation of the variant `text`."""
    found = _MUTATION.fullmatch(part)
    if found is not None:
        return Mutation(found[1], _position("mutation", found[2]), found[3])
    found = _HGVS.fullmatch(part)
    if found is None:
        remedy = (
            "write A24G or p.Ala24Gly for G in place of A at position 24, join several with colons, and separate columns by "
            "commas; of insertions and deletions score the whole sequences, with --input"
        )
        raise fail("mutation", "be a letter, a position and a letter", repr(text), remedy)
    before, after = found[1], found[1] if found[3] == "=" else found[3]
    for name in (before, after):
        if name not in _AMINO_ACIDS:
            rule = "name one of the twenty amino acids by three letters"
            raise fail(f"mutation {part}", rule, name, "write it like p.Ala24Gly")
    return Mutation(_AMINO_ACIDS[before], _position("mutation", found[2]), _AMINO_ACIDS[after])


def _position(argument: str, digits: str) -> int:
    """The number that digits say; one of hundreds of digits is refused, which Python would not read."""
    if len(digits) > _DIGITS:
        found = f"{digits[:_DIGITS]}... of {len(digits):,} digits"
        raise fail(argument, f"have positions of at most {_DIGITS} digits", found, "correct it")
    return int(digits)


def apply_variant(
    codes: NDArray[np.uint8],
    variant: str | Sequence[Mutation],
    alphabet: Alphabet,
    name: str = "sequence",
    offset: int = 0,
) -> NDArray[np.uint8]:
    """The sequence codes [length] with the mutations of a variant: a new array [length].

    Args:
        codes: states 0..B-1, or B where unknown.
        variant: mutations, or the text of them.
        alphabet: what letters stand for.
        name: whose codes they are, for the message.
        offset: by how much mutations count higher: the first letter is at position 1 + offset.

    Raises:
        UserError: a position outside the sequence or given twice, a wild-type letter that does not stand there, a letter
            that is none of the alphabet's, or a text that is not a variant.
    """
    mutations = parse_variant(variant) if isinstance(variant, str) else tuple(variant)
    result, seen = codes.copy(), set[int]()
    for mutation in mutations:
        argument = f"mutation {mutation}"
        place = mutation.position - offset - 1
        if not 0 <= place < len(codes):
            whole = f"{1 + offset}..{len(codes) + offset}"
            rule = f"have a position in {whole}, the length of {name}"
            remedy = "count positions from 1 in the wild type as given, or say by --offset how much higher they count"
            raise fail(argument, rule, mutation.position, remedy)
        if mutation.position in seen:
            text = ":".join(map(str, mutations))
            raise fail(
                argument,
                "have a position of its own",
                f"position twice in {text}",
                "keep one of the two",
            )
        seen.add(mutation.position)
        wild, to = (state_of(letter, argument, alphabet) for letter in (mutation.wild, mutation.to))
        here = int(codes[place])
        if here != wild:
            letter = alphabet.decode(codes)[place]
            rule = f"have the letter of {name} at position {mutation.position}, {letter}"
            raise fail(
                argument,
                rule,
                mutation.wild,
                "check which sequence and numbering the mutations refer to",
            )
        result[place] = to
    return result


def state_of(letter: str, argument: str, alphabet: Alphabet) -> int:
    """The state that a letter stands for.

    Raises:
        UserError: it stands for none; `argument` says where it was read.
    """
    byte = letter.encode("latin-1", "replace")
    state = int(alphabet.codes[byte[0]])
    if state >= alphabet.num_states:
        remedy = "only letters of known states can be compared"
        raise fail(argument, f"have letters of {alphabet.letters} only", repr(letter), remedy)
    return state


def parse_positions(text: str, length: int) -> NDArray[np.int64]:
    """Positions counted from 0, sorted, each once, of a text such as 10-25,40 that counts from 1 and includes both ends.

    Raises:
        UserError: not numbers and ranges, a range that runs backwards, or a position outside 1..length.
    """
    parts = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise fail("positions", "be numbers and ranges", repr(text), "write them like 10-25,40")
        first, last = (_position("positions", end) for end in (found[1], found[2] or found[1]))
        if last < first:
            raise fail(
                "positions", "have ranges that run forwards", part.strip(), f"write {last}-{first}"
            )
        if first < 1 or last > length:
            outside = first if first < 1 else last
            raise fail(
                "positions",
                f"lie in 1..{length}, the sequence's length",
                outside,
                "count positions from 1",
            )
        parts.append(np.arange(first - 1, last))
    return np.unique(np.concatenate(parts)).astype(np.int64)


@dataclass(frozen=True)
class VariantTable:
    """A file of variants.

    Attributes:
        variants: as written, in the order of the lines.
        places: file and line of each, for messages.
        other_names: of the file's columns, that of the variants left out.
        other_cells: what stands in these, for each variant.
    """

    variants: list[str]
    places: list[str]
    other_names: list[str]
    other_cells: list[list[str]]

    def apply(
        self, codes: NDArray[np.uint8], alphabet: Alphabet, name: str, offset: int = 0
    ) -> list[NDArray[np.uint8]]:
        """The sequence codes [length], called `name` in messages, with each of the variants; `offset` as in `apply_variant`.

        Raises:
            UserError: as `apply_variant` does, naming the line.
        """
        changed = []
        for variant, place in zip(self.variants, self.places, strict=True):
            with _located(place):
                changed.append(apply_variant(codes, variant, alphabet, name, offset))
        return changed


def read_mutations(path: str | Path) -> VariantTable:
    """The variants in a CSV file; blank lines are skipped.

    The column is called mutation or mutant (or mutations, variant); a file of one column needs no header.

    Raises:
        UserError: no such file, not text, no variant in it, no such column, or, naming the line, something else in it.
    """
    lines = [
        (number, row) for number, row in _read_rows(Path(path)) if any(cell.strip() for cell in row)
    ]
    if not lines:
        raise fail(
            "mutations",
            "hold at least one variant",
            f"the empty file {path}",
            "write one a line, like A24G:L30V",
        )
    header = [cell.strip() for cell in lines[0][1]]
    while not header[-1]:  # a trailing comma; at least one cell is not blank
        header.pop()
    column = next(
        (i for name in COLUMNS for i, cell in enumerate(header) if cell.lower() == name), None
    )
    if column is None:
        if len(header) > 1:
            remedy = "call the column that holds them mutation"
            raise fail(
                "mutations",
                f"have a column called {' or '.join(COLUMNS[:2])}",
                f"{header} in {path}",
                remedy,
            )
        column = 0
        # A header has no digit and is not WT; what has one is a variant, perhaps a mistyped one.
        is_variant = any(letter.isdigit() for letter in header[0])
        lines = lines if is_variant or header[0].upper() in _WILD_TYPE else lines[1:]
    else:
        lines = lines[1:]
    if not lines:
        raise fail(
            "mutations",
            "hold at least one variant",
            f"only a header in {path}",
            "write one a line below it",
        )
    variants, places, others = [], [], []
    for number, row in lines:
        places.append(f"{path}, line {number}")
        cells = [*row, *[""] * (len(header) - len(row))]
        if any(cell.strip() for cell in cells[len(header) :]):
            rule = f"have no more cells than the first line, {len(header)}"
            raise fail(places[-1], rule, len(row), "quote what holds a comma")
        variants.append(cells[column].strip())
        with _located(places[-1]):
            parse_variant(variants[-1])
        others.append([cell for i, cell in enumerate(cells[: len(header)]) if i != column])
    return VariantTable(
        variants, places, [name for i, name in enumerate(header) if i != column], others
    )


@contextmanager
def _located(place: str) -> Iterator[None]:
    """Say where it was read before what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from None


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a CSV file, each with the number of its (last) line."""
    content = read_bytes(path, "a CSV file", argument="mutations", most=_MOST)
    try:
        if b"\0" in content:
            raise ValueError("it has zero bytes")
        text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")
        reader = csv.reader(text, strict=True)
        return [(reader.line_num, row) for row in reader]
    except (ValueError, csv.Error) as error:
        raise fail(
            "mutations", "be a CSV file in UTF-8", f"{path} ({error})", "save the table as CSV"
        ) from None

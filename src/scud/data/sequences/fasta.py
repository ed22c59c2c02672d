"""FASTA files: records of a header line `>name description` and a sequence on any number of lines.

Plain text or gzip, told apart by the first two bytes; line ends of any system; a byte order mark, blank lines and white space
within a sequence mean nothing. One stop * at the end of a record is dropped, unless it is a letter of the alphabet. What letters
stand for is `scud.data.sequences.alphabets`'s.

`read_blocks` streams a file of any size. A block is the text from one record's header to the last header that has been read so
far, so that a record is never in two blocks, and what is kept is one chunk or one record, whichever is larger. In a block, with
h_i the first byte of header i and e_i its line end, a byte belongs to a header where the running sum of [h_i] - [e_i] is 1; the
others, less the white space, are the residues in order, and their number between two headers is a record's length.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scud.data.sequences.alphabets import INVALID, Alphabet
from scud.errors import fail
from scud.files import writing_text
from scud.files.chunks import read_chunks

CHUNK = 1 << 22
"""Bytes of text read at once."""

COLUMNS = 60
"""Letters per line of a file that is written."""

_WHITE = b" \t\n\v\f\r"
_STOP = ord("*")
_SLICE = 1 << 23
_VISIBLE = bytes(byte not in _WHITE for byte in range(256))


class Record(NamedTuple):
    """A sequence by name: codes [length] uint8, the alphabet's states, B where unknown; and its letters as written."""

    name: str
    codes: NDArray[np.uint8]
    text: str = ""


@dataclass(frozen=True, eq=False)
class Block:
    """Complete records in the order of the file.

    Attributes:
        codes: [residues] uint8, the records' states one after another; B where unknown.
        lengths: [records] int64, all positive.
        written: [256] int64, how often each byte stands in the sequences (dropped stops left out).
        before: records of the file before this block.
        text: the text itself.
        headers: [records, 2] int64, where in the text each header begins and ends.
        line: lines of the file before this block.
    """

    codes: NDArray[np.uint8]
    lengths: NDArray[np.int64]
    written: NDArray[np.int64]
    before: int
    text: bytes
    headers: NDArray[np.int64]
    line: int

    def name(self, record: int) -> str:
        """The first word of a record's header, which may be empty; records are counted from 0 in this block."""
        start, end = self.headers[record]
        return next(iter(self.text[start + 1 : end].split(maxsplit=1)), b"").decode(
            "utf-8", "replace"
        )

    def header(self, record: int) -> str:
        """A record's header, without the `>` and without its name."""
        start, end = self.headers[record]
        parts = self.text[start + 1 : end].split(maxsplit=1)
        return parts[1].decode("utf-8", "replace") if len(parts) > 1 else ""

    def lines(self) -> NDArray[np.int64]:
        """The line of the file that each header is on, [records], counted from 1."""
        breaks = np.flatnonzero(np.frombuffer(self.text, dtype=np.uint8) == ord("\n"))
        return self.line + 1 + np.searchsorted(breaks, self.headers[:, 0])


def read_fasta(
    path: str | Path, alphabet: Alphabet, *, marked: str = "", named: bool = True
) -> list[Record]:
    """The records of a small file; one without a name is called record_K, K counted from 1.

    Args:
        path: the file.
        alphabet: what letters stand for.
        marked: further letters that are allowed, such as "?" for positions to fill in; they are read as unknown.
        named: whether each must have a name of its own.

    Raises:
        UserError: whatever `read_blocks` says, or a name that two records have.
    """
    records, seen = list[Record](), dict[str, int]()
    for block in read_blocks(path, alphabet, marked=marked):
        sequences = np.split(block.codes.copy(), np.cumsum(block.lengths)[:-1])
        ends = [*block.headers[1:, 0].tolist(), len(block.text)]
        for i, (codes, line) in enumerate(zip(sequences, block.lines(), strict=True)):
            name = block.name(i) or f"record_{block.before + i + 1}"
            if named and name in seen:
                rule, value = (
                    "name each record differently",
                    f"{name!r} on lines {seen[name]} and {line}",
                )
                raise fail(str(path), rule, value, "rename or remove one of the two")
            seen[name] = int(line)
            written = block.text[block.headers[i, 1] : ends[i]].translate(None, _WHITE)
            records.append(Record(name, codes, written[: len(codes)].decode("latin-1")))
    return records


def write_fasta(path: str | Path, records: Iterable[tuple[str, str]]) -> None:
    """Write (header, sequence) pairs, 60 letters per line; an older file is replaced only if all went well.

    Raises:
        UserError: the folder does not exist, a header has more than one line, or a sequence is empty or holds white space.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise fail("path", "lie in a folder that exists", path, f"create {path.parent} first")
    with writing_text(path) as file:
        for number, (header, sequence) in enumerate(records, start=1):
            if "\n" in header or "\r" in header:
                raise fail(
                    f"header {number}", "be one line", repr(header), "remove its line breaks"
                )
            if sequence.split() != [sequence]:
                rule = "hold one letter or more and no white space"
                raise fail(
                    f"sequence {number}", rule, repr(sequence[:50]), "leave empty sequences out"
                )
            file.write(f">{header}\n")
            file.writelines(f"{line}\n" for line in re.findall(f".{{1,{COLUMNS}}}", sequence))


def read_blocks(
    path: str | Path, alphabet: Alphabet, *, marked: str = "", chunk: int = CHUNK
) -> Iterator[Block]:
    """The records of a file, block by block, in memory that does not grow with the file.

    Args:
        path: the file, plain or gzip.
        alphabet: what letters stand for.
        marked: further letters, read as unknown.
        chunk: bytes of text read at once.

    Raises:
        UserError: the file is missing, empty, damaged or not FASTA, a record is empty or holds a letter that is none of the
            alphabet's; the message names file, record and letter.
    """
    path, table = Path(path), alphabet.codes.copy()
    taken = set(marked) & set(alphabet.letters)
    if taken:
        raise fail(
            "marked",
            "hold no letter of the alphabet",
            repr("".join(sorted(taken))),
            "choose other letters",
        )
    table[list(marked.encode("latin-1"))] = alphabet.num_states
    before = 0
    for line, text in _texts(path, read_chunks(path, chunk, "a FASTA file")):
        block = _parse(path, alphabet, table, text, before, line)
        before += len(block.lengths)
        yield block
        del block, text  # before the next one is read


def _parse(
    path: Path, alphabet: Alphabet, table: NDArray[np.uint8], text: bytes, before: int, line: int
) -> Block:
    """The records of a text that begins with a header; of a long text, a slice at a time, so that it is copied only once."""
    headers = _headers(text)
    letters, lengths = _letters(text, headers)
    if len(letters) and "*" not in alphabet.letters and _STOP in text:
        letters, lengths = _drop_final_stops(letters, lengths)
    block = Block(letters, lengths, count_bytes(letters), before, text, headers, line)
    if not lengths.all():
        name = _describe(path, block, int(np.argmin(lengths)))
        raise fail(
            name, "hold a sequence", "a header alone", "add the sequence, or remove the record"
        )
    invalid = table == INVALID
    if block.written[invalid].any():
        wrong = _first(letters, invalid)
        ends = np.cumsum(lengths)
        record = int(np.searchsorted(ends, wrong, side="right"))
        position = wrong - int(ends[record] - lengths[record]) + 1
        raise alphabet.wrong_letter(_describe(path, block, record), chr(letters[wrong]), position)
    codes = table.tobytes()
    for start in range(0, len(letters), _SLICE):
        part = letters[start : start + _SLICE]
        # bytes.translate is several times as fast as indexing a table with an array
        part[:] = np.frombuffer(part.tobytes().translate(codes), dtype=np.uint8)
    return block


def _headers(text: bytes) -> NDArray[np.int64]:
    """Where each header of a text begins and ends, [records, 2]."""
    raw, found = np.frombuffer(text, dtype=np.uint8), list[NDArray[np.int64]]()
    for start in range(0, len(text), _SLICE):
        part = raw[start : start + _SLICE]
        marks = np.flatnonzero(part == ord(">")) + start
        starts = marks[(marks == 0) | (raw[marks - 1] == ord("\n"))]
        breaks = np.flatnonzero(part == ord("\n")) + start
        beyond = text.find(b"\n", start + len(part))
        breaks = np.append(breaks, len(text) if beyond < 0 else beyond)
        found.append(np.stack([starts, breaks[np.searchsorted(breaks, starts)]], axis=1))
    return np.concatenate(found)


def _letters(
    text: bytes, headers: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The letters of a text's sequences, one after another, and how many each record has."""
    raw, letters = np.frombuffer(text, dtype=np.uint8), np.empty(len(text), dtype=np.uint8)
    lengths, total = np.zeros(len(headers), dtype=np.int64), 0
    for start in range(0, len(text), _SLICE):
        stop = min(start + _SLICE, len(text))
        first, last = np.searchsorted(headers[:, 0], [start, stop])
        ended, end = np.searchsorted(headers[:, 1], [start, stop])
        starts = headers[first:last, 0] - start
        border = np.zeros(stop - start + 1, dtype=np.int8)
        border[starts], border[headers[ended:end, 1] - start] = 1, -1
        border[0] += first - ended  # a header that began before and goes on
        keep = np.frombuffer(text[start:stop].translate(_VISIBLE), dtype=np.bool_)
        keep = keep & (np.add.accumulate(border, out=border)[:-1] == 0)
        kept = raw[start:stop][keep]
        goes_on = not len(starts) or int(starts[0]) > 0  # a record that began before
        edges = np.append(0, starts) if goes_on else starts
        lengths[first - goes_on : last] += np.add.reduceat(keep, edges, dtype=np.int64)
        if stop - start == len(text):
            return kept, lengths
        letters[total : total + len(kept)] = kept
        total += len(kept)
    return letters[:total], lengths


def _drop_final_stops(
    letters: NDArray[np.uint8], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Letters and lengths without the stop that a record may end with; in place."""
    last = np.cumsum(lengths) - 1
    stopped = (lengths > 0) & (letters[last] == _STOP)
    dropped, total = last[stopped], 0
    for start in range(0, len(letters), _SLICE):
        stop = min(start + _SLICE, len(letters))
        here = dropped[np.searchsorted(dropped, start) : np.searchsorted(dropped, stop)]
        kept = np.delete(letters[start:stop], here - start)
        letters[total : total + len(kept)] = kept
        total += len(kept)
    return letters[:total], lengths - stopped


def _first(letters: NDArray[np.uint8], wanted: NDArray[np.bool_]) -> int:
    """Where the first of the wanted [256] bytes stands; there is one."""
    for start in range(0, len(letters), _SLICE):
        found = np.flatnonzero(wanted[letters[start : start + _SLICE]])
        if len(found):
            return start + int(found[0])
    raise AssertionError("none of these bytes is there")


def count_bytes(letters: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How often each byte occurs, [256]; in slices, since numpy widens what it counts to eight bytes."""
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, len(letters), 1 << 18):
        counts += np.bincount(letters[start : start + (1 << 18)], minlength=256)
    return counts


def _describe(path: Path, block: Block, record: int) -> str:
    """What a message calls a record."""
    name = block.name(record)
    called = f" ({name})" if name else ""
    return f"record {block.before + record + 1}{called} on line {block.lines()[record]} of {path}"


def _texts(path: Path, chunks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """Texts of complete records, each with the number of lines before it."""
    pending, line = list[bytes](), 0
    for chunk in chunks:
        rest = chunk
        if not pending:
            rest = chunk.lstrip(_WHITE)
            line += chunk.count(b"\n", 0, len(chunk) - len(rest))
            if rest and not rest.startswith(b">"):
                remedy = "give a FASTA file: a line >NAME before each sequence"
                raise fail(str(path), "begin with '>'", repr(rest[:20].decode("latin-1")), remedy)
        # Only what has just been read is searched, so that a long record costs no more than a short one.
        cut = rest.rfind(b"\n>") + 1
        if cut or (pending and rest.startswith(b">") and pending[-1].endswith(b"\n")):
            pending.append(rest[:cut])
            text = b"".join(pending)
            pending.clear()
            yield line, text
            line += text.count(b"\n")
            del text  # before the next one is read
            rest = rest[cut:]
        if rest:
            pending.append(rest)
    if not pending:
        raise fail(str(path), "hold at least one record", "an empty file", "give a FASTA file")
    text = b"".join(pending)
    pending.clear()
    yield line, text

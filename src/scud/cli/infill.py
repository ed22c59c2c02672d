"""scud infill: new residues for parts of sequences, or new words for parts of a text, given the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from scud.cli.options import check_seed, parse
from scud.errors import fail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from scud.data.sequences.alphabets import Alphabet
    from scud.data.sequences.fasta import Record
    from scud.runs import Run

MARK = "?"
"""The letter that marks a residue to redesign."""

SHOWN = 10
"""Designs of sequences printed."""


@dataclass(frozen=True)
class Infill:
    """Draw parts of sequences or of a text, given the rest, which never changes.

    Sequences of --input: the residues of --positions, and those marked ?. Letters of unknown state, such as X, are redesigned
    too; ones that are read as another, such as U as C, stay as they are written. Every input gives designs NAME_design_1,
    NAME_design_2, ...

    Text: what --text marks. What stands between gaps is read piece by piece, and kept as the model reads it.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""

    input: Path | None = None
    """Sequences: the FASTA file that holds them."""

    text: str | None = None
    """Text: what to fill in, each gap marked by its number of positions (characters, bytes or tokens, whatever the model has):
    "in the [[20]] was the word"."""

    positions: str | None = None
    """Sequences: residues to redesign in each, counted from 1, both ends included: 10-25,40."""

    num: int = 8
    """Designs of each sequence, or of the text."""

    steps: int = 128
    """Calls of the network; more are closer to the model's own law."""

    batch_tokens: int = 16384
    """Positions at once, padding included."""

    out: Path | None = None
    """FASTA file, or text file, to write; RUN/samples/infilled.fasta or infilled.txt by default. A text file has a line of ten
    dashes between two designs."""

    seed: int = 0
    """Of all noise."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Infill, "infill", arguments)
    check_seed(options.seed)
    for name, value in (("num", options.num), ("steps", options.steps), ("batch_tokens", options.batch_tokens)):
        if value < 1:
            raise fail(name, "be at least 1", value, "leave it out for the default")

    from scud import runs
    from scud.training.files import RunFolder

    run = runs.load(options.run, options.device)
    if options.out is not None and not options.out.parent.is_dir():
        raise fail("out", "lie in a folder that exists", options.out, f"create {options.out.parent} first")
    samples = RunFolder(options.run).samples
    if run.kind == "sequences":
        infill_records(run, options, options.out or samples / "infilled.fasta")
    elif run.kind == "text":
        infill_text(run, options, options.out or samples / "infilled.txt")
    else:
        raise fail("run", "model sequences or text", run.kind, "give another run")


def infill_records(run: "Run", options: Infill, target: Path) -> None:
    """Designs of the sequences of a FASTA file."""
    import torch

    from scud.data.sequences.fasta import read_fasta, write_fasta

    if options.input is None or options.text is not None:
        found = "no --input" if options.input is None else "--text"
        raise fail("options", "name a FASTA file for a run of sequences", found, "give --input FILE, and no --text")
    alphabet = run.alphabet
    records = read_fasta(options.input, alphabet, marked=MARK)
    free = [choose(record, options.positions, alphabet.num_states, run.longest) for record in records]
    work = [pair for pair in zip(records, free, strict=True) for _ in range(options.num)]
    designs = draw(run, options, [(torch.from_numpy(record.codes), torch.from_numpy(gap)) for record, gap in work])
    target.parent.mkdir(parents=True, exist_ok=True)
    named = [
        (f"{record.name}_design_{place % options.num + 1}", written(record, gap, alphabet.decode(states.numpy())))
        for place, ((record, gap), states) in enumerate(zip(work, designs, strict=True))
    ]
    write_fasta(target, named)
    show(work, named, alphabet)
    print(f"wrote {target}: {len(named)} designs of {len(records)} sequences by {options.steps} steps")


def infill_text(run: "Run", options: Infill, target: Path) -> None:
    """Designs of a text with gaps."""
    import torch

    from scud.data.text.gaps import encode_gaps, parse_gaps
    from scud.data.text.samples import POSITIONS, write_texts

    if options.text is None or options.input is not None or options.positions is not None:
        given = {"--input": options.input, "--positions": options.positions}
        found = ", ".join(name for name, value in given.items() if value is not None) or "no --text"
        remedy = 'give --text "in the [[20]] was the word", and neither --input nor --positions'
        raise fail("options", "give a text for a run of text", found, remedy)
    states, free = encode_gaps(parse_gaps(options.text), run.tokens, run.length)
    designs = draw(run, options, [(torch.from_numpy(states), torch.from_numpy(free))] * options.num)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_texts(target, [run.tokens.decode(design.numpy()) for design in designs])
    filled = f"{int(free.sum())} of {len(free)} {POSITIONS[run.tokens.unit]}s"
    print(f"wrote {target}: {len(designs)} designs of {filled} by {options.steps} steps")


def draw(run: "Run", options: Infill, work: "Sequence[tuple[Tensor, Tensor]]") -> "list[Tensor]":
    """What is drawn for states [length] where they are free [length], with a progress bar."""
    import torch
    from rich.progress import Progress

    from scud.samplers import Ancestral
    from scud.samplers import draw as draw_samples

    with Progress() as bar:
        task = bar.add_task("infilling", total=1.0)
        samples = draw_samples(
            Ancestral(steps=options.steps),
            run.model,
            run.network,
            [states for states, _ in work],
            [~free for _, free in work],
            positions=options.batch_tokens,
            generator=torch.Generator(run.model.p0.device).manual_seed(options.seed),
            progress=lambda share: bar.update(task, completed=share),
        )
    return samples.states


def choose(record: "Record", positions: str | None, num_states: int, longest: int) -> "NDArray[np.bool_]":
    """Which residues of a sequence to redesign, [length]: those of `positions`, and all of unknown state.

    Raises:
        UserError: there are none, a position outside the sequence, or a sequence longer than the model was trained on.
    """
    from scud.data.sequences.edits import parse_positions

    if len(record.codes) > longest:
        rule = f"be at most {longest} long, as the longest sequence that the model was trained on"
        raise fail(record.name, rule, len(record.codes), "remove it, or cut it into domains")
    free = record.codes >= num_states
    if positions is not None:
        try:
            free[parse_positions(positions, len(free))] = True
        except ValueError as error:
            raise fail("positions", f"fit {record.name}", repr(positions), str(error)) from None
    if not free.any():
        remedy = f"give --positions 10-25,40, or write {MARK} for these residues in the file"
        raise fail(record.name, "have residues to redesign", "none", remedy)
    return free


def written(record: "Record", gap: "NDArray[np.bool_]", drawn: str) -> str:
    """A design as text: what was drawn in the gap; elsewhere the letters of the file, also where they were read as others."""
    return "".join(new if here else old for new, old, here in zip(drawn, record.text, gap, strict=True))


def show(
    work: "Sequence[tuple[Record, NDArray[np.bool_]]]", named: Sequence[tuple[str, str]], alphabet: "Alphabet"
) -> None:
    """Print the first designs: residues redesigned, how many of those known before have changed, and what they are."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = min(SHOWN, len(named))
    table = Table("design", "redesigned", "changed", "residues", title=f"{shown} of {len(named)} designs")
    for (record, gap), (name, text) in list(zip(work, named, strict=True))[:SHOWN]:
        redesigned = [(new, old) for new, old, here in zip(text, record.codes, gap, strict=True) if here]
        changed = sum(old < alphabet.num_states and new != alphabet.letters[old] for new, old in redesigned)
        table.add_row(escape(name), str(len(redesigned)), str(changed), escape("".join(new for new, _ in redesigned)))
    Console().print(table)

"""scud infill: new residues for parts of sequences, given the rest.

Designs of one input differ in noise only. All rows, a design each, are sampled in batches of like length; known residues are
clean from the start and never change, and what pads a row is not real to the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from scud.cli.options import check_seed, parse
from scud.errors import fail

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from scud.data.fasta import Record
    from scud.diffusion import Diffusion
    from scud.typing import Denoiser

MARK = "?"
"""The letter that marks a residue to redesign."""

SHOWN = 10
"""Designs printed."""


@dataclass(frozen=True)
class Infill:
    """Redesign the residues of --positions, and those marked ? in the sequences, given the others, which never change.

    Letters of unknown state, such as X, are redesigned too. Every input gives designs NAME_design_1, NAME_design_2, ...
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""

    input: Path
    """FASTA file of the sequences."""

    positions: str | None = None
    """Residues to redesign in every sequence, counted from 1, both ends included: 10-25,40."""

    num: int = 8
    """Designs of each sequence."""

    steps: int = 128
    """Calls of the network; more are closer to the model's own law."""

    batch_tokens: int = 16384
    """Positions at once, padding included."""

    out: Path | None = None
    """FASTA file to write; RUN/samples/infilled.fasta by default."""

    seed: int = 0
    """Of all noise."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Infill, "infill", arguments)
    check_seed(options.seed)
    for name, value in (("num", options.num), ("batch_tokens", options.batch_tokens)):
        if value < 1:
            raise fail(name, "be at least 1", value, "leave it out for the default")

    import torch
    from rich.progress import Progress

    from scud import runs
    from scud.data.fasta import read_fasta, write_fasta
    from scud.training.files import RunFolder

    run = runs.load(options.run, options.device)
    alphabet = run.alphabet
    target = options.out or RunFolder(options.run).samples / "infilled.fasta"
    if options.out is not None and not target.parent.is_dir():
        raise fail("out", "lie in a folder that exists", target, f"create {target.parent} first")
    records = read_fasta(options.input, alphabet, marked=MARK)
    free = [choose(record, options.positions, alphabet.num_states, run.longest) for record in records]
    generator = torch.Generator(run.model.p0.device).manual_seed(options.seed)
    with Progress() as bar:
        task = bar.add_task("infilling", total=1.0)
        designs = infill(
            run.model,
            run.network,
            [record.codes for record in records],
            free,
            num=options.num,
            steps=options.steps,
            tokens=options.batch_tokens,
            generator=generator,
            progress=lambda share: bar.update(task, completed=share),
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    named = [
        (f"{record.name}_design_{number}", alphabet.decode(states))
        for record, drawn in zip(records, designs, strict=True)
        for number, states in enumerate(drawn, 1)
    ]
    write_fasta(target, named)
    show(records, free, designs, named, alphabet.num_states)
    print(f"wrote {target}: {len(named)} designs of {len(records)} sequences by {options.steps} steps")


def choose(record: "Record", positions: str | None, num_states: int, longest: int) -> "NDArray[np.bool_]":
    """Which residues of a sequence to redesign, [length]: those of `positions`, and all of unknown state.

    Raises:
        UserError: there are none, a position outside the sequence, or a sequence longer than the model was trained on.
    """
    from scud.data.edits import parse_positions

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


def infill(
    model: "Diffusion",
    denoiser: "Denoiser",
    sequences: "Sequence[NDArray[np.uint8]]",
    free: "Sequence[NDArray[np.bool_]]",
    *,
    num: int,
    steps: int,
    tokens: int,
    generator: "torch.Generator",
    progress: Callable[[float], None] | None = None,
) -> "list[NDArray[np.uint8]]":
    """Draw designs of every sequence: [num, length] each.

    Args:
        model: the diffusion.
        denoiser: (x_t, Conditioning) -> logits.
        sequences: states of each, [length]; what they are where `free` does not matter.
        free: where to redesign, [length] each.
        num: designs of each sequence.
        steps: calls of the denoiser.
        tokens: positions at once, padding included.
        generator: source of all noise, on the model's device.
        progress: called with the share done, up to 1, after each step.
    """
    import numpy as np
    import torch

    from scud.samplers import trajectory

    lengths = np.array([len(codes) for codes in sequences])
    order = np.repeat(np.argsort(lengths, kind="stable")[::-1], num)
    drawn: list[list[NDArray[np.uint8]]] = [[] for _ in sequences]
    done = 0
    while done < len(order):
        longest = int(lengths[order[done]])
        index = order[done : done + max(tokens // longest, 1)]
        real = np.arange(longest) < lengths[index, None]
        known, fixed = np.zeros(real.shape, dtype=np.int64), ~real
        # What pads a row is kept at state 0: nothing needs to be drawn there.
        fixed[real] = ~np.concatenate([free[i] for i in index])
        known[real] = np.concatenate([sequences[i] for i in index])
        known[~fixed] = 0
        states, kept, mask = (torch.as_tensor(part, device=model.p0.device) for part in (known, fixed, real))
        walk = trajectory(
            model, denoiser, real.shape, steps, known=states, known_mask=kept, mask=mask, generator=generator
        )
        for moment, noisy in enumerate(walk):
            states = noisy.x_t
            if progress is not None:
                progress((done + len(index) * moment / steps) / len(order))
        for i, row in zip(index.tolist(), states.cpu().numpy().astype(np.uint8), strict=True):
            drawn[i].append(row[: lengths[i]])
        done += len(index)
    return [np.stack(rows) for rows in drawn]


def show(
    records: "Sequence[Record]",
    free: "Sequence[NDArray[np.bool_]]",
    designs: "Sequence[NDArray[np.uint8]]",
    named: Sequence[tuple[str, str]],
    num_states: int,
) -> None:
    """Print the first designs: residues redesigned, how many of those known before have changed, and what they are."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        "design", "redesigned", "changed", "residues", title=f"{min(SHOWN, len(named))} of {len(named)} designs"
    )
    rows = (
        (record.codes, chosen, states)
        for record, chosen, drawn in zip(records, free, designs, strict=True)
        for states in drawn
    )
    for (codes, chosen, states), (name, text) in zip(rows, named[:SHOWN], strict=False):
        changed = int(((states != codes) & (codes < num_states)).sum())
        residues = "".join(letter for letter, here in zip(text, chosen, strict=True) if here)
        table.add_row(escape(name), str(int(chosen.sum())), str(changed), escape(residues))
    Console().print(table)

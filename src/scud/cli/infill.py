"""scud infill: new residues for parts of sequences, or new words for parts of a text, given the rest."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scud.cli.endings import finishing
from scud.cli.options import (
    OfRun,
    at_home,
    check_counts,
    load_run,
    parse,
    parse_together,
    say,
)
from scud.cli.outputs import output_file
from scud.cli.sizes import check_batch
from scud.errors import fail
from scud.files import make_folder

if TYPE_CHECKING:
    from torch import Tensor

    from scud.cli.together import Command
    from scud.data import Modality
    from scud.data.base import Gap
    from scud.runs import Run
    from scud.samplers import Spool


@dataclass(frozen=True, kw_only=True)
class Infill(OfRun):
    """Draw parts of sequences or of a text, given the rest, which never changes.

    `scud infill RUN --help` lists the options of the kind of data that the run models: of sequences --input and --positions, of
    text --text.
    """

    num: int = 8
    """Designs of each sequence, or of the text."""

    steps: int = 128
    """Calls of the network; more are closer to the model's own law."""

    batch_tokens: int = 16384
    """Positions at once, padding included."""

    out: Path | None = None
    """File to write; RUN/samples/infilled.fasta or infilled.txt by default. A text file has a line of ten dashes between two
    designs."""

    overwrite: bool = False
    """Replace the file, if it is there."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    if not arguments or arguments[0].startswith("-"):
        parse(Infill, "infill", arguments)
        raise fail(
            "the first argument",
            "be the folder of a run",
            arguments[0],
            "write scud infill RUN, then options",
        )
    infilling = modality_of(arguments).infilling
    check_other_options(arguments, infilling.options)
    options, own = parse_together([Infill, infilling.options], "infill", arguments)
    check_counts(options, "num", "steps", "batch_tokens")

    from scud.cli.together import Command
    from scud.samplers import Some, Spool, check_number
    from scud.training.files import RunFolder

    command = Command.of(options, "infill", arguments)
    run = load_run(options, command.ranks)
    found = infilling.gaps(own)
    check_number(len(found) * options.num)
    gaps = [gap for gap in found for _ in range(options.num)]
    check_batch(options.batch_tokens, sum(len(gap.states) for gap in found) * options.num, run)
    draw = partial(drawn, run, options, gaps, command)
    if not command.ranks.writes:
        draw(None)
        return
    if options.out is None:
        make_folder(RunFolder(options.run).samples)
    target = options.out or RunFolder(options.run).samples / infilling.file
    with (
        output_file(target, overwrite=options.overwrite) as place,
        closing(Spool(place.parent, run.modality.num_states)) as spool,
    ):
        try:
            designs = draw(spool)
        except (KeyboardInterrupt, Exception):  # whatever ends it, what was drawn is kept
            places = spool.drawn()
            if places:
                some = [gaps[i] for i in places]
                with finishing():
                    what = infilling.write(some, Some(spool, places), place)
                say(f"wrote {target}: {what}, of {len(gaps)} in all")
            raise
        with finishing():
            what = infilling.write(gaps, designs, place)
        say(f"wrote {target}: {what} by {options.steps} steps")


def drawn(
    run: "Run",
    options: Infill,
    gaps: Sequence["Gap"],
    command: "Command",
    spool: "Spool | None",
) -> "Sequence[Tensor]":
    """Draw what is not known of gaps, into a spool."""
    import torch

    from scud.samplers import Ancestral, draw

    with command.computing("infilling") as progress:
        return draw(
            Ancestral(steps=options.steps),
            run.model,
            run.network,
            [gap.states for gap in gaps],
            [gap.known for gap in gaps],
            positions=options.batch_tokens,
            spool=spool,
            generator=torch.Generator(run.device).manual_seed(options.seed),
            ranks=command.ranks,
            progress=progress,
        ).states


def modality_of(arguments: Sequence[str]) -> "Modality":
    """What the run's data stand for, read before it is known which options they add."""
    from scud import own, runs

    named = None
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--modality":
            named = value if equals else "".join(arguments[place + 1 : place + 2])
    kind = None if named is None else own.import_class("--modality", named)
    return runs.load_modality(at_home("run", Path(arguments[0])), kind)


def check_other_options(arguments: Sequence[str], options: type) -> None:
    """Raise `UserError` for an option that other kinds of data have and these do not."""
    from scud.data import MODALITIES

    mine = {part.name for part in fields(options)}
    given = {argument.partition("=")[0]: argument for argument in arguments}
    for modality in MODALITIES.values():
        others = () if modality.infill_options is None else fields(modality.infill_options)
        for part in others:
            name = f"--{part.name.replace('_', '-')}"
            if part.name not in mine and name in given:
                rule = "be left out for the data of this run"
                raise fail(name, rule, given[name], f"it is an option of {modality.noun}")

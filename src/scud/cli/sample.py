"""scud sample: new examples, in the form that people would rather look at."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from scud.cli.endings import finishing
from scud.cli.options import OfRun, check_counts, load_run, parse, parse_range, say
from scud.cli.outputs import output_folder
from scud.errors import UserError, check_choice, fail

if TYPE_CHECKING:
    from scud.cli.together import Command
    from scud.runs import Run
    from scud.samplers import Sampler, Samples, Spool

FRAMES = 30
"""Moments of the first examples that are kept, for an animation."""


@dataclass(frozen=True, kw_only=True)
class Sample(OfRun):
    """Draw new examples: sequences to samples.fasta; texts to samples.txt, with a line of ten dashes between two of them, and
    their states to samples.npz (array x); images as pixels (samples.npz, array x), a grid of them (samples.png) and an
    animation of how they came to be (denoising.gif); arrays to samples.npz.
    """

    num: int = 64
    """How many examples."""

    length: str | None = None
    """Sequences: a length or a range of them, such as 80-120; the lengths of the training data by default. Text: a number of
    positions, up to and by default that of a training example."""

    label: str | None = None
    """Name of a class, of a model that reads labels."""

    sampler: str = "ancestral"
    """How: ancestral, or package.module:Class of your own."""

    steps: int | None = None
    """Calls of the network, 128 by default; more are closer to the model's own law."""

    temperature: float | None = None
    """What logits are divided by, 1 by default: below 1, likely states gain."""

    grid: str | None = None
    """Where steps end: cosine (by default) or information."""

    out: Path | None = None
    """Folder for what is drawn; RUN/samples by default."""

    overwrite: bool = False
    """Replace samples that are in the folder."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Sample, "sample", arguments)
    check_counts(options, "num")
    length = None if options.length is None else parse_range("length", options.length)

    from scud.cli.together import Command
    from scud.samplers import Spool
    from scud.training.files import RunFolder

    sampler = find_sampler(options)
    command = Command.of(options, "sample", arguments)
    run = load_run(options, command.ranks)
    draw = partial(drawn, run, options, length, sampler, command)
    if not command.ranks.writes:
        draw(None)
        return
    folder = options.out or RunFolder(options.run).samples
    with (
        output_folder(folder, overwrite=options.overwrite) as place,
        closing(Spool(place, run.modality.num_states)) as spool,
    ):
        try:
            samples = draw(spool)
        except (KeyboardInterrupt, Exception):  # whatever ends it, what was drawn is kept
            with finishing():
                write_some(run, spool, folder, place, sampler.num_steps)
            raise
        with finishing():
            write(run, samples, folder, place, sampler.num_steps)


def drawn(
    run: "Run",
    options: Sample,
    length: tuple[int, int] | None,
    sampler: "Sampler",
    command: "Command",
    spool: "Spool | None",
) -> "Samples":
    """Draw the examples into a spool."""
    import torch

    with command.computing("sampling") as progress:
        return run.draw(
            options.num,
            length=length,
            label=options.label,
            sampler=sampler,
            frames=FRAMES,
            spool=spool,
            generator=torch.Generator(run.device).manual_seed(options.seed),
            ranks=command.ranks,
            progress=progress,
        )


def write(run: "Run", samples: "Samples", folder: Path, place: Path, steps: int) -> None:
    """Write what was drawn into a folder, `place` with links followed, and say so."""
    names = [file.name for file in run.modality.write(samples, place)]
    files = " and ".join([", ".join(names[:-1]), names[-1]]) if names[1:] else names[0]
    say(f"wrote {folder}: {files}, {run.modality.summary(samples.states)} by {steps} steps")


def write_some(run: "Run", spool: "Spool", folder: Path, place: Path, steps: int) -> None:
    """Write the examples that were drawn before an interrupt, if any."""
    from scud.samplers import Samples, Some

    drawn = spool.drawn()
    if drawn:
        which = ", the longest first" if run.modality.by_positions else ""
        say(f"interrupted after {len(drawn)} of {len(spool)} {run.modality.noun}{which}")
        write(run, Samples(Some(spool, drawn), spool.shown), folder, place, steps)


def find_sampler(options: Sample) -> "Sampler":
    """The sampler that is named, with the options that were given.

    Raises:
        UserError: no such sampler, an option that it does not have, or a value that breaks its rule.
    """
    from scud import own
    from scud.samplers import SAMPLERS

    if own.is_own(options.sampler):
        kind = own.import_class("--sampler", options.sampler)
    else:
        check_choice("sampler", options.sampler, SAMPLERS)
        kind = SAMPLERS[options.sampler]
    named = {name: getattr(options, name) for name in ("steps", "temperature", "grid")}
    given = {name: value for name, value in named.items() if value is not None}
    try:
        sampler: Sampler = kind(**given)
    except TypeError as error:
        rule = f"suit the sampler {options.sampler}"
        raise fail(
            " and ".join(f"--{name}" for name in given) or "--sampler",
            rule,
            str(error),
            "leave out what it lacks",
        ) from error
    except UserError:
        raise
    except Exception as error:  # a user's class may raise anything
        rule, what = "name a class that can be made", f"{type(error).__name__}: {error}"
        raise fail("--sampler", rule, f"{options.sampler} ({what})", "correct it") from error
    return sampler

"""scud scan: how much likelier every variant of one mutation is than its wild type, as a table and a heat map."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scud.cli.options import OfRun, check_counts, load_run, parse, say
from scud.cli.outputs import output_file
from scud.cli.score import Table, numbers
from scud.cli.sizes import check_draws
from scud.errors import fail, shown

if TYPE_CHECKING:
    from scud.cli.together import Command
    from scud.data.base import Scan as Asked
    from scud.data.base import Variants
    from scud.evaluation.scores import Differences
    from scud.runs import Run


@dataclass(frozen=True, kw_only=True)
class Scan(OfRun):
    """Compare every variant of one substitution with its wild type, into a CSV file and a heat map.

    The difference of the bounds of variant and wild type in nats, with its standard error, as `scud score --mutations` has them:
    positive means likelier than the wild type. It is an estimate of the log ratio of probabilities, not a bound on it.
    """

    wild_type: Path | None = None
    """FASTA file of one sequence."""

    positions: str | None = None
    """Positions to change, such as 10-25,40; all by default."""

    repeats: int = 64
    """Draws of time and noise for each position, rounded up to a multiple of 16. Errors fall with their square root."""

    batch_tokens: int = 16384
    """Positions at once, padding included."""

    out: Path | None = None
    """CSV file to write, and beside it a picture of the same name that ends with .png; RUN/scan.csv by default."""

    overwrite: bool = False
    """Replace the files, if they are there."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Scan, "scan", arguments)
    check_counts(options, "repeats", "batch_tokens")
    if options.wild_type is None:
        raise fail("wild_type", "be given", "none", "add --wild-type FILE")

    from scud.cli.together import Command
    from scud.training.files import RunFolder

    command = Command.of(options, "scan", arguments)
    run = load_run(options, command.ranks)
    asked = run.modality.scoring.scan(options.wild_type, options.positions)
    check_draws("repeats", options.repeats, len(asked.wild.codes))
    variants = asked.variants()
    if not command.ranks.writes:
        compared(run, variants, options, command)
        return
    target = options.out or RunFolder(options.run).path / "scan.csv"
    picture = target.with_suffix(".png")
    if picture == target:
        raise fail(
            "out", "name a CSV file", target, "the picture ends with .png: choose another ending"
        )
    with ExitStack() as stack:
        places = [
            stack.enter_context(output_file(path, overwrite=options.overwrite))
            for path in (target, picture)
        ]
        found = compared(run, variants, options, command)
        table = table_of(variants, found)
        table.write(places[0])
        draw(asked, found, places[1])
        table.show()
        say(f"wrote {target} and {picture.name}: {table.told}")


def compared(run: "Run", variants: "Variants", options: Scan, command: "Command") -> "Differences":
    """The differences of all variants, in their order."""
    from scud.evaluation.scores import score_variants

    with command.computing("scanning") as progress:
        return score_variants(
            run.model,
            run.network,
            variants.wild.codes,
            variants.codes,
            repeats=options.repeats,
            tokens=options.batch_tokens,
            seed=options.seed,
            ranks=command.ranks,
            progress=progress,
        )


def table_of(variants: "Variants", found: "Differences") -> Table:
    """The differences as a table, one row for each variant."""
    figures = zip(*numbers(found.difference, found.standard_error), strict=True)
    rows = [
        (text, text[1:-1], text[0], text[-1], *figure)
        for text, figure in zip(variants.texts, figures, strict=True)
    ]
    header = ["mutation", "position", "wild_type", "letter", "difference", "standard_error"]
    name = shown(variants.wild.name)
    told = f"{len(rows)} variants of {name}, nats above the wild type (estimates, not bounds)"
    return Table(header, rows, len(header), told)


def draw(asked: "Asked", found: "Differences", target: Path) -> None:
    """Draw the differences as a heat map: letters by positions, 0 where the wild type is."""
    import numpy as np

    from scud import plots

    wild = asked.wild.codes[asked.places]
    values = np.zeros((len(wild), len(asked.letters)))
    values[np.arange(len(asked.letters)) != wild[:, None]] = found.difference
    figure = plots.heat_map(
        values, asked.letters, asked.places + 1, wild, "nats above the wild type"
    )
    plots.save_figure(figure, target)

"""scud score: how likely a model finds sequences, or how much likelier variants than their wild type."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scud.cli.figures import print_table
from scud.cli.options import OfRun, check_counts, load_run, parse, say
from scud.cli.outputs import output_file
from scud.cli.sizes import check_draws
from scud.errors import fail, shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from scud.cli.together import Command
    from scud.runs import Run

STUDENT = 2.365
"""97.5% quantile of Student's t with the 7 degrees of freedom that standard errors have."""

SHOWN = 10
"""Rows printed."""


@dataclass(frozen=True, kw_only=True)
class Score(OfRun):
    """Bound the log-likelihood of sequences, or compare variants with their wild type, into a CSV file.

    --input FILE: a lower bound on log p of every sequence in nats, its standard error, and the perplexity per residue with
    a 95% interval. Letters of unknown state, such as X, take no part.

    --wild-type FILE --mutations CSV: difference of the bounds of variant and wild type in nats, with its standard error.
    Positive means likelier than the wild type. It is an estimate of the log ratio of probabilities, not a bound on it. Both
    get the same noise, so that it is known far better than either bound. Other columns of the CSV file are
    kept; one that has the name of a result is called given_NAME.
    """

    input: Path | None = None
    """FASTA file of sequences to score."""

    wild_type: Path | None = None
    """FASTA file of one sequence, to compare variants with."""

    mutations: Path | None = None
    """CSV file with a column mutation of substitutions such as A24G or p.Ala24Gly, A24G:L30V for several at once, or WT."""

    offset: int = 0
    """With --mutations: by how much positions there count higher, so that the first letter of the wild type is at 1 + offset."""

    repeats: int = 64
    """Draws of time and noise for each, rounded up to a multiple of 16. Errors fall with their square root."""

    batch_tokens: int = 16384
    """Positions at once, padding included."""

    out: Path | None = None
    """CSV file to write; RUN/scores.csv, or RUN/differences.csv of variants, by default."""

    overwrite: bool = False
    """Replace the file, if it is there."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Score, "score", arguments)
    check_form(options)
    check_counts(options, "repeats", "batch_tokens")

    from scud.cli.together import Command
    from scud.training.files import RunFolder

    command = Command.of(options, "score", arguments)
    run = load_run(options, command.ranks)
    found = score_examples if options.input is not None else compare_variants
    if not command.ranks.writes:
        found(run, options, command)
        return
    files = RunFolder(options.run)
    target = options.out or (files.differences if options.input is None else files.scores)
    with output_file(target, overwrite=options.overwrite) as place:
        table = found(run, options, command)
        table.write(place)
        table.show()
        say(f"wrote {target}: {table.told}")


@dataclass(frozen=True)
class Table:
    """What was found.

    Attributes:
        header: names of the columns.
        rows: of them.
        columns: how many are shown.
        told: what they are, in words.
    """

    header: list[str]
    rows: Sequence[tuple[Any, ...]]
    columns: int
    told: str

    def write(self, target: Path) -> None:
        """Write all to a CSV file."""
        from scud.files import writing_text

        with writing_text(target) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.header)
            writer.writerows(self.rows)

    def show(self) -> None:
        """Print the first columns of the first rows."""
        title = None if len(self.rows) <= SHOWN else f"the first {SHOWN} of {len(self.rows)}"
        names = [name.replace("_", " ") for name in self.header[: self.columns]]
        print_table(names, [row[: self.columns] for row in self.rows[:SHOWN]], title)


def check_form(options: Score) -> None:
    """Raise `UserError` unless the options ask for exactly one of the two forms."""
    pair = [options.wild_type is not None, options.mutations is not None]
    remedy = "give --input FILE to score sequences, or --wild-type FILE --mutations CSV to compare variants"
    if options.input is not None and any(pair):
        raise fail("options", "ask for one thing", "--input and variants", remedy)
    if options.offset and options.mutations is None:
        raise fail("offset", "be given with mutations only", options.offset, "leave it out")
    if options.input is None and not all(pair):
        what = "neither" if not any(pair) else f"only --{'wild-type' if pair[0] else 'mutations'}"
        raise fail("options", "say what to score", what, remedy)


def score_examples(run: "Run", options: Score, command: "Command") -> Table:
    """Bounds for the examples of a file."""
    import numpy as np

    from scud.evaluation.scores import score

    assert options.input is not None, "asked for only then"
    records = run.modality.scoring.records(options.input)
    check_draws("repeats", options.repeats, max(len(record.codes) for record in records))
    with command.computing("scoring") as progress:
        result = score(
            run.model,
            run.network,
            [record.codes for record in records],
            repeats=options.repeats,
            tokens=options.batch_tokens,
            seed=options.seed,
            ranks=command.ranks,
            progress=progress,
        )
    value, error, positions = result.log_likelihood, result.standard_error, result.positions
    perplexity = [np.exp(-(value + side * STUDENT * error) / positions) for side in (0, 1, -1)]
    header = [
        "name",
        "length",
        "log_likelihood",
        "standard_error",
        "perplexity",
        "perplexity_low",
        "perplexity_high",
    ]
    names, lengths = [record.name for record in records], [len(record.codes) for record in records]
    rows = [*zip(names, lengths, *numbers(value, error, *perplexity), strict=True)]
    told = f"lower bounds on log p of {len(rows)} {run.modality.noun}, nats"
    return Table(header, rows, len(header), told)


def compare_variants(run: "Run", options: Score, command: "Command") -> Table:
    """Differences of bounds for the variants in a CSV file."""
    from scud.evaluation.scores import score_variants

    assert options.wild_type is not None, "check_form has seen to it"
    assert options.mutations is not None, "check_form has seen to it"
    variants = run.modality.scoring.variants(options.wild_type, options.mutations, options.offset)
    check_draws("repeats", options.repeats, len(variants.wild.codes))
    with command.computing("scoring variants") as progress:
        result = score_variants(
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
    header = ["mutation", "difference", "standard_error"]
    figures = zip(variants.texts, *numbers(result.difference, result.standard_error), strict=True)
    rows = [
        (*figure, *others) for figure, others in zip(figures, variants.other_cells, strict=True)
    ]
    own = len(header)
    for name in variants.other_names:
        while name in header:
            name = f"given_{name}"
        header.append(name)
    name = shown(variants.wild.name)
    told = f"{len(rows)} variants of {name}, nats above the wild type (estimates, not bounds)"
    return Table(header, rows, own, told)


def numbers(*columns: "NDArray[np.float64]") -> list[list[str]]:
    """Columns as text of seven digits."""
    return [[f"{value:.7g}" for value in column] for column in columns]

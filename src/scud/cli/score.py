"""scud score: how likely a model finds sequences, or how much likelier variants than their wild type."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scud.cli.options import OfRun, load_run, parse, progress_bar
from scud.errors import fail, printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    """CSV file with a column mutation of substitutions such as A24G, or A24G:L30V for several at once."""

    repeats: int = 64
    """Draws of time and noise for each, rounded up to a multiple of 16. Errors fall with their square root."""

    batch_tokens: int = 16384
    """Positions at once, padding included."""

    out: Path | None = None
    """CSV file to write; RUN/scores.csv, or RUN/differences.csv of variants, by default."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Score, "score", arguments)
    check_form(options)

    from scud.training.files import RunFolder

    run = load_run(options)
    files = RunFolder(options.run)
    target = options.out or (files.differences if options.input is None else files.scores)
    if not target.parent.is_dir():
        raise fail("out", "lie in a folder that exists", target, f"create {target.parent} first")
    if options.input is not None:
        score_examples(run, options, options.input, target)
    elif options.wild_type is not None and options.mutations is not None:
        compare_variants(run, options, options.wild_type, options.mutations, target)


def check_form(options: Score) -> None:
    """Raise `UserError` unless the options ask for exactly one of the two forms."""
    pair = [options.wild_type is not None, options.mutations is not None]
    remedy = "give --input FILE to score sequences, or --wild-type FILE --mutations CSV to compare variants"
    if options.input is not None and any(pair):
        raise fail("options", "ask for one thing", "--input and variants", remedy)
    if options.input is None and not all(pair):
        what = "neither" if not any(pair) else f"only --{'wild-type' if pair[0] else 'mutations'}"
        raise fail("options", "say what to score", what, remedy)


def score_examples(run: "Run", options: Score, path: Path, target: Path) -> None:
    """Bounds for the examples of a file."""
    import numpy as np

    from scud.evaluation.scores import score

    records = run.modality.scoring.records(path)
    with progress_bar("scoring") as progress:
        result = score(
            run.model,
            run.network,
            [record.codes for record in records],
            repeats=options.repeats,
            tokens=options.batch_tokens,
            seed=options.seed,
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
    write_table(target, header, rows)
    print(f"wrote {target}: lower bounds on log p of {len(rows)} {run.modality.noun}, nats")


def compare_variants(
    run: "Run", options: Score, wild_type: Path, mutations: Path, target: Path
) -> None:
    """Differences of bounds for the variants in a CSV file."""
    from scud.evaluation.scores import score_variants

    variants = run.modality.scoring.variants(wild_type, mutations)
    with progress_bar("scoring variants") as progress:
        result = score_variants(
            run.model,
            run.network,
            variants.wild.codes,
            variants.codes,
            repeats=options.repeats,
            tokens=options.batch_tokens,
            seed=options.seed,
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
    write_table(target, header, rows, own)
    wild = printable(variants.wild.name)
    print(
        f"wrote {target}: {len(rows)} variants of {wild}, nats above the wild type (estimates, not bounds)"
    )


def numbers(*columns: "NDArray[np.float64]") -> list[list[str]]:
    """Columns as text of seven digits."""
    return [[f"{value:.7g}" for value in column] for column in columns]


def write_table(
    target: Path, header: list[str], rows: Sequence[tuple[Any, ...]], columns: int | None = None
) -> None:
    """Write a CSV file, and print its first columns (all of them by default) of its first rows."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from scud.files import writing_text

    with writing_text(target) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    title = None if len(rows) <= SHOWN else f"the first {SHOWN} of {len(rows)}"
    table = Table(*(name.replace("_", " ") for name in header[:columns]), title=title)
    for row in rows[:SHOWN]:
        table.add_row(*(escape(printable(str(value))) for value in row[:columns]))
    Console().print(table)

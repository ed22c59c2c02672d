"""scud evaluate: the bound on the likelihood of held-out data, or the quality of samples beside it."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scud.cli.options import OfRun, Split, check_counts, load_run, parse, say
from scud.cli.outputs import output_file
from scud.cli.sizes import check_draws
from scud.errors import check_in_interval, fail, printable

if TYPE_CHECKING:
    import torch

    from scud.cli.together import Command
    from scud.data import Data
    from scud.evaluation import Evaluation
    from scud.runs import Run
    from scud.samplers import Ancestral
    from scud.typing import Batch, ExampleSet


@dataclass(frozen=True, kw_only=True)
class Evaluate(OfRun):
    """Bound the likelihood of held-out data: bits/dim of images and arrays, perplexity per residue of sequences, bits per
    character and perplexity per token and per word of text.

    Shown with its standard error, or a 95% interval, and the bound's two terms. Averaged weights, dropout off. Times are
    drawn from a mixture that covers both ends, stratified over examples and draws; the error is that of the mean over
    examples, each the mean of its draws. With --samples, the quality of generated examples instead.
    """

    split: Split | None = None
    """Which examples; test where the data have such a split, else valid."""

    data: Path | None = None
    """A file of the run's kind, to be bound instead of a split, without labels; of a file that has splits, that for test
    or else for training. The run's own data are not needed then."""

    data_kind: str | None = None
    """package.module:Class of the options of data, of a run on a kind of data of your own."""

    repeats: int | None = None
    """Draws of time and noise per example; 16 by default, of --steps 2 to 16 fewer."""

    span: float | None = None
    """Sequences and text: bound a random span of this share of each example, given the rest, as infilling has it."""

    labels: bool | None = None
    """Tell a model that reads labels those of the examples, as by default; false bounds the
    examples without."""

    steps: int | None = None
    """Bound the likelihood of what scud sample draws in so many steps, all positions of a step from one call of the network;
    by default of what it tends to with many."""

    grid: str | None = None
    """Where these steps end, as in scud sample: cosine (by default) or information."""

    samples: Path | None = None
    """Generated examples to be compared with the split and with training data: a file that scud sample wrote. Of images the
    data must have class labels."""

    batch_size: int | None = None
    """Examples at once, of data whose examples have one shape; 256 by default."""

    batch_tokens: int | None = None
    """Sequences and text: positions at once, padding included; 16384 by default."""

    out: Path | None = None
    """File to write; RUN/evaluation-SPLIT.json, or RUN/quality.csv of samples, by default, where an earlier one is
    replaced."""

    overwrite: bool = False
    """Replace the file that --out names, if it is there."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Evaluate, "evaluate", arguments)
    check_counts(options, "repeats", "batch_size", "batch_tokens", "steps")
    if options.grid is not None and options.steps is None:
        raise fail("grid", "be given with steps only", options.grid, "add --steps, or leave it out")
    if options.span is not None:
        check_in_interval(
            "span", options.span, 0, 1, "0.2 is a fifth of each example", open_low=True
        )
    if options.samples is not None and options.span is not None:
        raise fail(
            "samples and span", "not be given together", "both", "run the command once for each"
        )
    if options.data is not None and (options.split is not None or options.samples is not None):
        raise fail(
            "data", "not be given with split or samples", "both", "run the command once for each"
        )

    if options.overwrite and options.out is None:
        raise fail("overwrite", "be given with out only", "no --out", "leave it out")

    from scud.cli.together import Command

    command = Command.of(options, "evaluate", arguments)
    run = load_run(options, command.ranks)
    if options.span is not None and not run.modality.rows:
        raise fail("span", "be given for sequences and text only", options.span, "leave it out")
    check_effects(run, options)
    if options.data is not None:
        examples = run.modality.examples(options.data)
        for line in run.modality.reading(examples) if command.ranks.writes else ():
            print(printable(line), file=sys.stderr)
        bound(run, options, examples, options.data.name, command)
        return
    data = data_of(run, options)
    split = options.split or ("test" if "test" in data.splits else "valid")
    if options.samples is not None:
        compare(run, data, split, options)
        return
    bound(run, options, data.split(split), split, command)


def check_effects(run: "Run", options: Evaluate) -> None:
    """Raise `UserError` for an option that has no effect on this run."""
    from scud.networks.labels import reads_labels

    of, kind = options, run.modality
    reasons: list[tuple[str, object, str]] = []
    if not reads_labels(run.network):
        reasons.append(("labels", of.labels, "for a run that reads no labels"))
    if of.data is not None:
        reasons.append(("labels", of.labels, "with data, which is read without labels"))
        reasons.append(("data_kind", of.data_kind, "with data, which the run's own kind reads"))
    if kind.by_positions:
        reason = f"for {kind.noun}, which batch_tokens measures"
        reasons.append(("batch_size", of.batch_size, reason))
    elif not kind.rows:
        reason = f"for {kind.noun}, which batch_size measures"
        reasons.append(("batch_tokens", of.batch_tokens, reason))
    if of.samples is not None:
        names = ("repeats", "labels", "batch_size", "batch_tokens", "steps", "grid")
        reasons += [(name, getattr(of, name), "with samples, which are compared") for name in names]
        if of.devices != 1:
            reasons.append(("devices", of.devices, "with samples, which are compared"))
    for name, value, reason in reasons:
        if value is not None:
            raise fail(name, f"be left out {reason}", value, "leave it out")


def data_of(run: "Run", options: Evaluate) -> "Data":
    """The data that a run was trained on.

    Raises:
        UserError: the run has no config.yaml, or the data are not those it was trained on.
    """
    from scud.config import read_data_options
    from scud.training.checkpoint import (
        check_same_content,
        check_same_data,
        check_same_labels,
    )
    from scud.training.files import RunFolder

    config = RunFolder(options.run).config
    if not config.is_file():
        remedy = "give a file to evaluate by --data FILE"
        raise fail("run", "have a config.yaml, which says what its data were", options.run, remedy)
    named = [] if options.data_kind is None else [options.data_kind]
    chosen = read_data_options(config, named)
    if options.data_kind not in (None, chosen.kind):
        rule = f"be that of the run, {chosen.kind}"
        raise fail("data_kind", rule, options.data_kind, "leave it out, or give that")
    data: Data = chosen.read()
    ours, theirs = run.modality, data.modality
    if ours.describe() != theirs.describe() or ours.dims != theirs.dims:
        shapes = "" if ours.dims == theirs.dims else f" of shape {list(theirs.dims or ())}"
        rule = f"be {ours.describe()}{'' if not shapes else f' of shape {list(ours.dims or ())}'}, as those of the run"
        remedy = "restore the data file, and alphabet or vocabulary, that the run was trained on"
        raise fail("data", rule, f"{theirs.describe()}{shapes}", remedy)
    check_same_data(data.p0(), run.model.p0, data.name)
    if run.label_names:
        check_same_labels(data.label_names, run.label_names)
    check_same_content(data.digests(), run.digests)  # of states and labels together
    return data


def bound(
    run: "Run",
    options: Evaluate,
    examples: "ExampleSet",
    title: str,
    command: "Command",
) -> None:
    """Bound the likelihood of examples, show it, and write it to the run's folder."""
    from scud import front
    from scud.cli.figures import show, write
    from scud.evaluation.bound import draws_for
    from scud.training.files import RunFolder

    size = front.BATCH_SIZE if options.batch_size is None else options.batch_size
    tokens = front.BATCH_TOKENS if options.batch_tokens is None else options.batch_tokens
    if run.modality.rows and run.modality.dims is not None:
        size = min(size, max(tokens // run.modality.dims[0], 1))
    sampler = sampler_of(options)
    repeats = draws_for(sampler) if options.repeats is None else options.repeats
    check_draws("repeats", repeats, len(examples))
    whole, unlabelled = options.span is None, options.labels is False
    what = title if whole else f"{title}, spans of {options.span:.0%}"
    what += "" if options.steps is None else f", {options.steps} steps"
    name = Path(title).name if options.data is not None else title
    name += ("" if whole else "-span") + ("-unlabelled" if unlabelled else "")
    name += "" if options.steps is None else f"-{options.steps}-steps"
    name += "" if options.grid is None else f"-{options.grid}"
    target = options.out or RunFolder(options.run).path / f"evaluation-{name}.json"

    def computed() -> "Evaluation":
        with command.computing(f"evaluating {title}") as progress:
            return front.evaluate(
                run,
                examples,
                repeats=repeats,
                batch_size=size,
                batch_tokens=tokens,
                known=None if options.span is None else span_known(options.span),
                labels=not unlabelled,
                sampler=sampler,
                seed=options.seed,
                ranks=command.ranks,
                progress=progress,
            )

    if not command.ranks.writes:
        computed()
        return
    with output_file(target, overwrite=options.overwrite or options.out is None) as place:
        result = computed()
        counts = run.modality.counts(examples) if whole else {}
        about = {"split": title, "seed": options.seed, "span": options.span}
        write(result, place, about | ({"labels": False} if unlabelled else {}), counts)
    show(result, what, counts)
    say(f"wrote {target}: {result.headline} on {what}")


def sampler_of(options: Evaluate) -> "Ancestral | None":
    """The sampler whose bound is asked for."""
    from scud.samplers import Ancestral

    if options.steps is None:
        return None
    return Ancestral(steps=options.steps, grid=options.grid or "cosine")


def span_known(share: float) -> "Callable[[Batch, torch.Generator], torch.Tensor]":
    """What draws the positions that are given: all but a random span of a share of each example."""
    import torch

    from scud.training.infilling import draw_span

    def known(batch: "Batch", generator: torch.Generator) -> torch.Tensor:
        real = torch.ones_like(batch.x0, dtype=torch.bool) if batch.mask is None else batch.mask
        return real & ~draw_span(real, share, generator)

    return known


def compare(run: "Run", data: "Data", split: str, options: Evaluate) -> None:
    """Print and write how the examples of a file compare; raises `UserError` for a file that is not as it should be."""
    from scud.cli.figures import show_rows
    from scud.training.files import RunFolder

    assert options.samples is not None, "only asked for where there are samples"
    target = options.out or RunFolder(options.run).quality
    with output_file(target, overwrite=options.overwrite or options.out is None) as place:
        samples = run.modality.read(options.samples)
        show_rows(run.modality.quality(samples, data, split, options.seed), split, place)
    what = f"{len(samples)} {run.modality.noun} of {options.samples}"
    say(f"wrote {target}: {what} beside {split} and training data")

"""scud evaluate: the bound on the likelihood of held-out data, or the quality of samples beside it."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scud.cli.options import Split, check_seed, parse
from scud.errors import check_in_interval, fail

if TYPE_CHECKING:
    from scud.data import Source
    from scud.evaluation import Evaluation
    from scud.runs import Run


@dataclass(frozen=True)
class Evaluate:
    """Bound the likelihood of held-out data: bits/dim of images, perplexity per residue of sequences.

    Shown with its standard error, or a 95% interval, and the bound's two terms. Averaged weights, dropout off. Times are
    drawn from a mixture that covers both ends, stratified over examples and draws; the error is that of the mean over
    examples, each the mean of its draws. With --samples, the quality of generated examples instead.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""

    split: Split | None = None
    """Which examples; test where the data have such a split, else valid."""

    repeats: int = 16
    """Draws of time and noise per example."""

    span: float | None = None
    """Sequences: bound a random span of this share of each, given the rest, as infilling has it."""

    samples: Path | None = None
    """Generated examples to be compared with the split and with training data: a FASTA file of sequences, or an .npz file
    of images (array x, as samples.npz has them; the data must have class labels)."""

    batch_size: int = 256
    """Images at once."""

    batch_tokens: int = 16384
    """Sequences: positions at once, padding included."""

    seed: int = 0
    """Of all noise."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Evaluate, "evaluate", arguments)
    check_seed(options.seed)
    if options.span is not None:
        check_in_interval("span", options.span, 0, 1, "0.2 is a fifth of each sequence", open_low=True)
    if options.batch_tokens < 1:
        raise fail("batch_tokens", "be at least 1", options.batch_tokens, "16384 is the default")

    from scud import runs
    from scud.config import read_config
    from scud.experiment import load_data
    from scud.training.files import RunFolder

    files = RunFolder(options.run)
    run = runs.load(options.run, options.device)
    source = load_data(read_config(files.config).data)
    check_source(run, source)
    split = options.split or ("test" if "test" in source.splits else "valid")
    examples = source.split(split)
    if options.samples is not None and options.span is not None:
        raise fail("samples and span", "not be given together", "both", "run the command once for each")
    if options.samples is not None:
        from scud.cli.quality import compare

        compare(run, source, split, options.samples, files.quality, options.seed)
        return
    if options.span is not None and not run.data:
        raise fail("span", "be given for sequences only", options.span, "leave it out")
    result = bound(run, examples, options, split)
    show(result, split, sequences=bool(run.data), span=options.span)
    name = split if options.span is None else f"{split}-span"
    target = files.path / f"evaluation-{name}.json"
    write(target, result, {"split": split, "seed": options.seed, "span": options.span})
    print(f"wrote {target}: {headline(result, sequences=bool(run.data))} on {split}")


def check_source(run: "Run", source: "Source") -> None:
    """Raise `UserError` unless the data are those the run was trained on."""
    from scud.experiment import check_same_data

    if run.data:
        letters = None if source.alphabet is None else source.alphabet.letters
        if letters != run.data["alphabet"]:
            rule = f"have the model's letters {run.data['alphabet']}"
            raise fail("data", rule, letters, "restore the data file that the run was trained on")
    elif (source.num_states, source.dims) != (run.model.num_states, run.dims):
        found = f"{source.num_states} states of shape {list(source.dims or ())}"
        rule = f"have the model's {run.model.num_states} states and shape {list(run.dims)}"
        raise fail("data", rule, found, "restore the data file that the run was trained on")
    check_same_data(source, run.model.p0)


def bound(run: "Run", examples: Any, options: Evaluate, split: str) -> "Evaluation":
    """The bound on a split, with a progress bar."""
    import torch
    from rich.progress import Progress

    from scud.evaluation import evaluate
    from scud.training.infilling import draw_span
    from scud.typing import Batch

    def known(batch: Batch, generator: torch.Generator) -> torch.Tensor:
        assert batch.mask is not None, "sequences are padded"
        assert options.span is not None, "only asked for when there is a span"
        return batch.mask & ~draw_span(batch.mask, options.span, generator)

    with Progress() as bar:
        task = bar.add_task(f"evaluating {split}", total=1.0)
        return evaluate(
            run.model,
            run.network,
            examples,
            repeats=options.repeats,
            batch_size=options.batch_size,
            batch_tokens=options.batch_tokens,
            known=None if options.span is None else known,
            seed=options.seed,
            progress=lambda share: bar.update(task, completed=share),
        )


def headline(result: "Evaluation", *, sequences: bool) -> str:
    """The figure with its uncertainty."""
    if not sequences:
        return f"{result.bits_per_dim:.3f} ± {result.bits_per_dim_error:.3f} bits/dim"
    low, high = result.perplexity_interval
    return f"perplexity {result.perplexity:.3f} per residue, 95% interval {low:.3f} to {high:.3f},"


def show(result: "Evaluation", split: str, *, sequences: bool, span: float | None) -> None:
    """Print the bound and its terms."""
    from rich.console import Console
    from rich.table import Table

    per = "nats per residue" if sequences else "bits/dim"
    unit = math.log(2) if sequences else 1.0
    table = Table(split if span is None else f"{split}, spans of {span:.0%}", per, "nats per example")
    for name, nats in (("diffusion term", result.diffusion), ("prior term", result.prior)):
        table.add_row(name, f"{result.term_bits_per_dim(nats) * unit:.4f}", f"{nats:.3f}")
    figure = f"{result.bits_per_dim * unit:.4f} ± {result.bits_per_dim_error * unit:.4f}"
    table.add_row("bound", figure, f"{result.total:.3f}")
    gain, error = (nats / math.log(2) * unit for nats in (result.gain, result.gain_error))
    table.add_row(
        "gain over independent states", f"{gain:.4f} ± {error:.4f}", f"{result.independent - result.total:.3f}"
    )
    if sequences:
        low, high = result.perplexity_interval
        table.add_row("perplexity", f"{result.perplexity:.4f} ({low:.4f} to {high:.4f})", "")
    Console().print(table)


def write(target: Path, result: "Evaluation", about: dict[str, Any]) -> None:
    """Write the figures as JSON, which has no NaN and no infinity: null in their place (one example has no error)."""
    from scud.files import replacing

    figures = {
        "bits_per_dim": result.bits_per_dim,
        "bits_per_dim_error": result.bits_per_dim_error,
        "perplexity": result.perplexity,
        "gain": result.gain,
        **dataclasses.asdict(result),
    }
    numbers = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    interval = [value if math.isfinite(value) else None for value in result.perplexity_interval]
    content = {**about, **numbers, "perplexity_interval": interval}
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

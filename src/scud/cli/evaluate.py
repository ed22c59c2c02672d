"""scud evaluate: the bound on the likelihood of held-out data, or the quality of samples beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scud.cli.options import Split, check_seed, parse
from scud.errors import check_in_interval, fail

if TYPE_CHECKING:
    from scud.cli.figures import Report
    from scud.data import Source
    from scud.evaluation import Evaluation
    from scud.runs import Run


@dataclass(frozen=True)
class Evaluate:
    """Bound the likelihood of held-out data: bits/dim of images, perplexity per residue of sequences, bits per character and
    perplexity per token and per word of text.

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
    """Sequences and text: bound a random span of this share of each example, given the rest, as infilling has it."""

    samples: Path | None = None
    """Generated examples to be compared with the split and with training data: a FASTA file of sequences, or an .npz file
    of images (array x, as samples.npz has them; the data must have class labels) or of texts (samples.npz)."""

    batch_size: int = 256
    """Images or texts at once."""

    batch_tokens: int = 16384
    """Sequences and text: positions at once, padding included."""

    seed: int = 0
    """Of all noise."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Evaluate, "evaluate", arguments)
    check_seed(options.seed)
    if options.span is not None:
        check_in_interval("span", options.span, 0, 1, "0.2 is a fifth of each example", open_low=True)
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
    examples: Any = source.split(split)
    if options.samples is not None and options.span is not None:
        raise fail("samples and span", "not be given together", "both", "run the command once for each")
    if options.samples is not None:
        from scud.cli.quality import compare

        compare(run, source, split, options.samples, files.quality, options.seed)
        return
    if options.span is not None and run.kind == "images":
        raise fail("span", "be given for sequences and text only", options.span, "leave it out")
    report = describe(run, bound(run, examples, options, split), None if options.span is not None else examples)
    report.show(split if options.span is None else f"{split}, spans of {options.span:.0%}")
    target = files.path / f"evaluation-{split if options.span is None else f'{split}-span'}.json"
    report.write(target, {"split": split, "seed": options.seed, "span": options.span})
    print(f"wrote {target}: {report.headline} on {split}")


def check_source(run: "Run", source: "Source") -> None:
    """Raise `UserError` unless the data are those the run was trained on."""
    from scud.experiment import check_same_data
    from scud.runs import describe_states

    remedy = "restore the data file that the run was trained on"
    if source.kind != run.kind:
        raise fail("data", f"be {run.kind}, as those of the run", source.kind, remedy)
    if run.kind == "sequences":
        letters = None if source.alphabet is None else source.alphabet.letters
        if letters != run.data["alphabet"]:
            raise fail("data", f"have the model's letters {run.data['alphabet']}", letters, remedy)
    elif run.kind == "text":
        ours, theirs = run.data, source.spec()
        if ours["tokens"] != theirs["tokens"]:
            remedy = "restore the alphabet or the vocabulary file that the run was trained with"
            raise fail("data.tokens", f"be those of the run, {describe_states(ours)}", describe_states(theirs), remedy)
    elif source.num_states != run.model.num_states or (run.kind == "images" and source.dims != run.dims):
        rule, found = f"have the model's {run.model.num_states} states", f"{source.num_states} states"
        if run.kind == "images":
            rule, found = f"{rule} and shape {list(run.dims)}", f"{found} of shape {list(source.dims or ())}"
        raise fail("data", rule, found, remedy)
    check_same_data(source, run.model.p0)


def bound(run: "Run", examples: Any, options: Evaluate, split: str) -> "Evaluation":
    """The bound on a split, with a progress bar."""
    import torch
    from rich.progress import Progress

    from scud.evaluation import evaluate
    from scud.training.infilling import draw_span
    from scud.typing import Batch

    def known(batch: Batch, generator: torch.Generator) -> torch.Tensor:
        assert options.span is not None, "only asked for when there is a span"
        real = torch.ones_like(batch.x0, dtype=torch.bool) if batch.mask is None else batch.mask
        return real & ~draw_span(real, options.span, generator)

    size = options.batch_size
    if run.kind == "text":
        size = min(size, max(options.batch_tokens // run.length, 1))
    with Progress() as bar:
        task = bar.add_task(f"evaluating {split}", total=1.0)
        return evaluate(
            run.model,
            run.network,
            examples,
            repeats=options.repeats,
            batch_size=size,
            batch_tokens=options.batch_tokens,
            known=None if options.span is None else known,
            seed=options.seed,
            progress=lambda share: bar.update(task, completed=share),
        )


def describe(run: "Run", result: "Evaluation", whole: Any) -> "Report":
    """What to tell about a bound on a split; `whole` is the split, or None where only spans of its examples were bound."""
    from scud.cli.figures import Report
    from scud.data.text.figures import text_figures
    from scud.data.text.samples import POSITIONS

    if run.kind != "text":
        return Report(result, "residue" if run.kind == "sequences" else None)
    text = None if whole is None else (text_figures(result, whole.text), whole.text)
    return Report(result, POSITIONS[run.tokens.unit], text)

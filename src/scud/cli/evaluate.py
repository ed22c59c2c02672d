"""scud evaluate: the bound on the likelihood of held-out data."""

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scud.cli.options import Split, check_seed, parse
from scud.errors import fail


@dataclass(frozen=True)
class Evaluate:
    """Bound the likelihood of held-out data, in bits/dim with its standard error and the bound's two terms.

    Averaged weights, dropout off. Times are drawn from a mixture that covers both ends, stratified over examples and
    draws; the error is that of the mean over examples, each the mean of its draws.
    """

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""

    split: Split = "test"
    """Which examples."""

    repeats: int = 16
    """Draws of time and noise per example."""

    batch_size: int = 256
    """Examples at once."""

    seed: int = 0
    """Of all noise."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Evaluate, "evaluate", arguments)
    check_seed(options.seed)

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from scud import runs
    from scud.config import read_config
    from scud.evaluation import evaluate
    from scud.experiment import load_data
    from scud.files import replacing
    from scud.training.files import RunFolder

    files = RunFolder(options.run)
    run = runs.load(options.run, options.device)
    source = load_data(read_config(files.config).data)
    if (source.num_states, source.dims) != (run.model.num_states, run.dims):
        found = f"{source.num_states} states of shape {list(source.dims)}"
        rule = f"have the model's {run.model.num_states} states and shape {list(run.dims)}"
        raise fail("data", rule, found, "restore the data file that the run was trained on")
    with Progress() as bar:
        task = bar.add_task(f"evaluating {options.split}", total=1.0)
        result = evaluate(
            run.model,
            run.network,
            source.split(options.split),
            repeats=options.repeats,
            batch_size=options.batch_size,
            seed=options.seed,
            progress=lambda share: bar.update(task, completed=share),
        )
    table = Table("", "bits/dim", "nats per example")
    for name, nats in (("diffusion term", result.diffusion), ("prior term", result.prior)):
        table.add_row(name, f"{result.term_bits_per_dim(nats):.4f}", f"{nats:.3f}")
    table.add_row("bound", f"{result.bits_per_dim:.4f} ± {result.bits_per_dim_error:.4f}", f"{result.total:.3f}")
    Console().print(table)
    # JSON has no NaN: a single example has no standard error.
    known = math.isfinite(result.standard_error)
    target = files.path / f"evaluation-{options.split}.json"
    figures = {
        "split": options.split,
        "seed": options.seed,
        "bits_per_dim": result.bits_per_dim,
        **dataclasses.asdict(result),
        "bits_per_dim_error": result.bits_per_dim_error if known else None,
        "standard_error": result.standard_error if known else None,
    }
    with replacing(target) as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(f"wrote {target}: {result.bits_per_dim:.3f} ± {result.bits_per_dim_error:.3f} bits/dim on {options.split}")

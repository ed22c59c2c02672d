"""Quality of image samples against the number of network calls, for several grids of times.

    python -m benchmarks.sampling_quality [RUN ...] [--out runs/sampling-quality] [--grids cosine power-2 ...] [--workers 2]

RUN is the folder of a run on images whose data have class labels, all runs on the same data. Without any, the digits are
taken: SCUD and classical with Gaussian noise, and masking, each trained in its folder of `benchmarks.digits_table` unless that
has been done.

The figure is the Fréchet distance on features of a small classifier (`scud.data.images.quality`) between as many samples
as there are training images, at most --num, and all images that are not for training; its error is due to the samples. The
floor is what as many training images have. Rows are kept in OUT/rows.csv, and what is there is not drawn again. Figures are
drawn beside it: quality-GRID.png compares runs, grids-RUN.png compares grids.

A grid is a rule for n + 1 times from t_max to 0, i = 0..n. `cosine`, the default of sampling, has the share cos(pi i / 2n) of
the information that is lost at t_max; `information` is even in it, 1 - i/n; power-R has (1 - i/n)^R of it; `t` and `root-t` are
even in t and in its root; `events` is even in tau, the expected number of events; `log-events` in log tau, down to the last time
of `information`. Where two coincide for all runs (on their own schedules, `t` is `information`) only the first is drawn.
"""

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.digits_table import ROWS, configuration
from benchmarks.report import machine_line
from benchmarks.runs import add_row, in_parallel, read_rows, start_rows, train_once
from scud import plots
from scud.config import read_config
from scud.data import DataOptions
from scud.data.images.modality import labelled, levels_of
from scud.data.images.quality import Trained, frechet_distance, frechet_error, train_classifier
from scud.diffusion import Diffusion
from scud.front import sample
from scud.runs import Run, load
from scud.samplers import Ancestral
from scud.training.files import RunFolder

MODELS = [ROWS[name] for name in ("SCUD, Gaussian", "masking", "classical, Gaussian")]

CALLS = (4, 8, 16, 32, 64, 128, 256, 512)

BATCH = 250
"""Images drawn at once."""

HEADER = ("run", "grid", "calls", "num", "seed", "distance", "error")
"""Columns of rows.csv."""

Key = tuple[str, str, int, int, int]
"""Run, grid, calls, number of samples and seed."""

Inner = Callable[[Diffusion, Tensor], Tensor]
"""From a model and what is left of the way, (n - 1, …, 1) / n, to the times between the ends."""


def power(exponent: float) -> Inner:
    """A power of the way that is left, as share of information."""
    return lambda model, left: model.informative_time(left**exponent)


def even_events(model: Diffusion, left: Tensor) -> Tensor:
    """Even in tau."""
    return model.schedule.inverse(model.schedule.tau(left.new_tensor(model.t_max)) * left)


def even_log_events(model: Diffusion, left: Tensor) -> Tensor:
    """Even in log tau, from t_max to the last time of `information`."""
    first = model.schedule.tau(left.new_tensor(model.t_max)).log()
    last = model.schedule.tau(model.informative_time(left[-1:])).log()
    place = torch.arange(1, len(left) + 1, dtype=left.dtype) / len(left)
    return model.schedule.inverse((first + (last - first) * place).exp())


GRIDS: dict[str, Inner] = {
    "cosine": lambda model, left: model.informative_time((torch.pi / 2 * (1 - left)).cos()),
    "information": power(1.0),
    "power-0.5": power(0.5),
    "power-1.5": power(1.5),
    "power-2": power(2.0),
    "t": lambda model, left: model.t_max * left,
    "root-t": lambda model, left: model.t_max * left**2,
    "events": even_events,
    "log-events": even_log_events,
}


def times(model: Diffusion, grid: str, calls: int) -> Tensor:
    """A grid of `calls` steps, [calls + 1]."""
    left = torch.arange(calls - 1, 0, -1, dtype=torch.float64) / calls
    inner = GRIDS[grid](model, left) if calls > 1 else left
    return torch.cat([left.new_tensor([model.t_max]), inner, left.new_zeros(1)])


@dataclass(frozen=True)
class Measure:
    """What samples are compared with."""

    trained: Trained
    reference: Tensor
    training: Tensor

    def distance(self, images: Tensor) -> tuple[float, float]:
        """Of images from those not for training, with its error."""
        features = self.trained.classifier.features(images)
        return frechet_distance(features, self.reference), frechet_error(features, self.reference)

    def floor(self, num: int, seed: int) -> tuple[float, float]:
        """`distance` of so many training images."""
        order = torch.randperm(len(self.training), generator=torch.Generator().manual_seed(seed))
        return self.distance(self.training[order[:num]])


def prepare(folder: Path) -> tuple[Run, Measure]:
    """A run, and what its samples are compared with."""
    return load(folder), prepare_measure(read_config(RunFolder(folder).config).data)


@functools.cache
def prepare_measure(options: DataOptions) -> Measure:
    """Read the data and train their classifier, once per process."""
    data = options.read()
    (train, label), (valid, valid_label) = (labelled(data, name) for name in ("train", "valid"))
    trained = train_classifier(train, label, valid, valid_label, data.num_states)
    heldout = torch.cat([levels_of(data, name) for name in data.splits if name != "train"])
    return Measure(trained, trained.classifier.features(heldout), train)


def one(amount: tuple[int, int], out: Path, work: tuple[Path, str, int]) -> None:
    """Draw and compare the samples of one run on one grid, and write the row."""
    (num, seed), (folder, grid, calls) = amount, work
    run, measure = prepare(folder)
    generator = torch.Generator().manual_seed(seed)
    steps = times(run.model, grid, calls)
    sizes = [len(part) for part in torch.split(torch.arange(num), BATCH)]
    sampler = Ancestral(grid=steps)
    drawn = [sample(run, size, sampler=sampler, generator=generator) for size in sizes]
    distance, error = measure.distance(torch.cat(drawn))
    values = [folder.name, grid, calls, num, seed, f"{distance:.6f}", f"{error:.6f}"]
    add_row(out / "rows.csv", values)


def distances(path: Path) -> dict[Key, tuple[float, float]]:
    """Distance and error of what is done."""
    rows = read_rows(path, *HEADER[:5])
    return {
        (run, grid, int(calls), int(num), int(seed)): (float(row["distance"]), float(row["error"]))
        for (run, grid, calls, num, seed), row in rows.items()
    }


def train_digits(folder: Path, seed: int, steps: int | None) -> list[Path]:
    """The runs of the three models on digits."""
    folders = [folder / model.folder(seed) for model in MODELS]
    for model, path in zip(MODELS, folders, strict=True):
        train_once(configuration(model, seed, steps), path)
    return folders


def different(models: list[Diffusion], grids: list[str]) -> list[str]:
    """The grids without those that coincide, for all models, with one before."""
    kept: list[str] = []
    for grid in grids:
        same = [
            other
            for other in kept
            if all(
                torch.allclose(times(m, grid, 16), times(m, other, 16), rtol=1e-4, atol=0)
                for m in models
            )
        ]
        if same:
            print(f"{grid} is the same as {same[0]} here")
        else:
            kept.append(grid)
    return kept


def show(
    out: Path,
    runs: list[str],
    grids: list[str],
    calls: list[int],
    amount: tuple[int, int],
    floor: float,
) -> None:
    """Print the table as Markdown and draw the figures; amount is the number of samples and their seed."""
    done = distances(out / "rows.csv")
    print(
        "| run | grid | "
        + " | ".join(f"{n} calls" for n in calls)
        + " |\n|---|---|"
        + "---|" * len(calls)
    )
    for run in runs:
        for grid in grids:
            cells = [done[run, grid, n, *amount] for n in calls]
            print(
                f"| {run} | {grid} | "
                + " | ".join(f"{value:.4f} ± {error:.4f}" for value, error in cells)
                + " |"
            )

    if len(grids) > 1:
        print("\ngeometric mean over runs and numbers of calls, and its relative standard error")
        print("| grid | distance |\n|---|---|")
        for grid in grids:
            cells = torch.tensor(
                [done[run, grid, n, *amount] for run in runs for n in calls], dtype=torch.float64
            )
            relative = float((cells[:, 1] / cells[:, 0]).norm()) / len(cells)
            print(f"| {grid} | {float(cells[:, 0].log().mean().exp()):.4f} ± {relative:.1%} |")

    def draw(name: str, lines: dict[str, tuple[str, str]]) -> None:
        figures = {
            label: list(zip(*(done[*line, n, *amount] for n in calls), strict=True))
            for label, line in lines.items()
        }
        title = "Fréchet distance on features of a small classifier"
        plots.save_figure(plots.distance_curves(calls, figures, floor, title), out / f"{name}.png")

    for grid in grids:
        draw(f"quality-{grid}", {run: (run, grid) for run in runs})
    for run in runs:
        draw(f"grids-{run}", {grid: (run, grid) for grid in grids})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs",
        type=Path,
        nargs="*",
        help="folders of runs on the same images; the digits by default",
    )
    parser.add_argument(
        "--digits",
        type=Path,
        default=Path("runs/digits-table"),
        help="where runs on digits are kept",
    )
    parser.add_argument(
        "--train-steps",
        type=int,
        default=None,
        help="digits: steps of training; the recipe's by default",
    )
    parser.add_argument("--seed", type=int, default=0, help="of training on digits, and of samples")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/sampling-quality"), help="where rows and figures go"
    )
    parser.add_argument(
        "--num",
        type=int,
        default=1500,
        help="samples, at most as many as there are training images",
    )
    parser.add_argument(
        "--calls", type=int, nargs="+", default=list(CALLS), help="numbers of network calls"
    )
    parser.add_argument(
        "--grids", nargs="+", default=["cosine"], choices=list(GRIDS), help="which grids"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes, one thread each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(machine_line(), flush=True)
    start_rows(options.out / "rows.csv", HEADER)
    folders = options.runs or train_digits(options.digits, options.seed, options.train_steps)
    _, measure = prepare(folders[0])
    num = min(options.num, len(measure.training))
    floor, error = measure.floor(num, options.seed)
    print(
        f"{num} samples; {len(measure.reference)} images that are not for training; classifier's accuracy on validation"
    )
    print(f"images {measure.trained.accuracy:.3f}; floor {floor:.4f} ± {error:.4f}", flush=True)
    grids = different([load(folder).model for folder in folders], options.grids)
    done, amount = distances(options.out / "rows.csv"), (num, options.seed)
    work = [(folder, grid, n) for n in options.calls for grid in grids for folder in folders]
    work = [
        (folder, grid, n) for folder, grid, n in work if (folder.name, grid, n, *amount) not in done
    ]
    in_parallel(functools.partial(one, amount, options.out), work, options.workers)
    show(options.out, [folder.name for folder in folders], grids, options.calls, amount, floor)


if __name__ == "__main__":
    main()

"""Class labels on digits: whether samples of a class are of that class, and what labels are worth to the bound.

    python -m benchmarks.labels [--folder runs/labels] [--steps 2000] [--per-class 40] [--repeats 40]

The digits recipe is trained with labels, withheld from a tenth of the examples; the run is kept, and not trained again.
Samples of each class are judged by a small classifier trained on the same training images; its accuracy on test images stands
beside. The bound on test images is taken with their labels and without, by the same times and noise.
"""

import argparse
import math
from pathlib import Path

import torch

from benchmarks.report import machine_line
from benchmarks.runs import train_once
from scud import front
from scud.config import changed
from scud.data.images.quality import train_classifier
from scud.recipes import RECIPES
from scud.samplers import Ancestral


def share(right: torch.Tensor) -> str:
    """A share of [n] with its standard error, in percent."""
    mean = float(right.double().mean())
    return f"{100 * mean:.1f} ± {100 * math.sqrt(mean * (1 - mean) / len(right)):.1f}%"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/labels"), help="where the run is kept"
    )
    parser.add_argument("--steps", type=int, default=2000, help="steps of training")
    parser.add_argument("--per-class", type=int, default=40, help="samples of each class")
    parser.add_argument("--repeats", type=int, default=40, help="draws per test image")
    parser.add_argument("--threads", type=int, default=1, help="threads PyTorch may use")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine_line())
    values = {"network.labels": True, "training.steps": options.steps}
    config = changed(RECIPES["digits"](), values)
    run = train_once(config, options.folder)
    data = config.data.read()
    train, valid, test = (data.split(name) for name in ("train", "valid", "test"))
    judge = train_classifier(train.x, train.label, valid.x, valid.label, data.num_states).classifier
    names = list(run.label_names)
    generator = torch.Generator().manual_seed(0)
    wanted = torch.arange(len(names)).repeat_interleave(options.per_class)
    drawn = []
    for name in names:
        drawn += run.draw(
            options.per_class, label=name, sampler=Ancestral(steps=64), generator=generator
        ).states
    free = run.draw(len(wanted), sampler=Ancestral(steps=64), generator=generator).states
    print("| what is judged | of the class asked for |\n|---|---|")
    with torch.no_grad():
        rows = (("samples at a label", drawn, wanted), ("samples without a label", free, wanted))
        for what, states, label in (*rows, ("test images", list(test.x), test.label)):
            print(f"| {what} | {share(judge(torch.stack(states)).argmax(-1) == label)} |")
    print("| bound on test images | bits/dim |\n|---|---|")
    for what, told in (("given the label", True), ("without", False)):
        result = front.evaluate(run, test, repeats=options.repeats, labels=told)
        print(f"| {what} | {result.bits_per_dim:.4f} ± {result.bits_per_dim_error:.4f} |")


if __name__ == "__main__":
    main()

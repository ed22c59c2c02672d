"""scud sample: pictures of new examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scud.cli.options import check_seed, parse
from scud.errors import fail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FRAMES = 30
"""Moments shown in the animation."""

ANIMATED = 16
"""Images shown in the animation: the first ones."""


@dataclass(frozen=True)
class Sample:
    """Draw new images: a grid of them (samples.png) and an animation of how they came to be (denoising.gif)."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""

    num: int = 64
    """How many images."""

    steps: int = 128
    """Calls of the network; more are closer to the model's own law."""

    out: Path | None = None
    """Folder for the pictures; RUN/samples by default."""

    seed: int = 0
    """Of all noise."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Sample, "sample", arguments)
    check_seed(options.seed)
    if options.num < 1:
        raise fail("num", "be at least 1", options.num, "64 is the default")

    import numpy as np
    import torch
    from rich.progress import track

    from scud import plots, runs
    from scud.samplers import trajectory
    from scud.training.files import RunFolder

    run = runs.load(options.run, options.device)
    generator = torch.Generator(run.model.p0.device).manual_seed(options.seed)
    states = trajectory(run.model, run.network, (options.num, *run.dims), options.steps, generator=generator)
    shown = set(np.linspace(0, options.steps, FRAMES).round().astype(int).tolist())
    frames = []
    for moment, noisy in enumerate(track(states, "sampling", options.steps + 1)):
        if moment in shown:
            frames.append(visible(noisy.x_t.cpu().numpy(), run.model.num_states))
    folder = options.out or RunFolder(options.run).samples
    folder.mkdir(parents=True, exist_ok=True)
    plots.save_image(plots.sample_grid(frames[-1], run.model.num_states), folder / "samples.png")
    animation = plots.denoising_animation(np.stack(frames)[:, :ANIMATED], run.model.num_states)
    plots.save_animation(animation, folder / "denoising.gif", seconds=3)
    print(f"wrote {folder}: samples.png and denoising.gif, {options.num} images by {options.steps} steps")


def visible(x_t: "NDArray[np.integer[Any]]", num_states: int) -> "NDArray[np.integer[Any]]":
    """States that can be drawn: a masked position (state B) is shown as the middle level."""
    shown = x_t.copy()
    shown[shown == num_states] = num_states // 2
    return shown

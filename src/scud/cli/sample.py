"""scud sample: new examples, as pictures, FASTA or text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scud.cli.options import check_seed, parse, parse_range
from scud.errors import fail

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from scud.runs import Run

FRAMES = 30
"""Moments shown in the animation."""

SHOWN = 256
"""Most images in the grid: the first ones; the file holds all."""

AT_ONCE = 256
"""Images drawn at once."""


@dataclass(frozen=True)
class Sample:
    """Draw new examples: sequences to samples.fasta; texts to samples.txt, with a line of ten dashes between two of them, and
    their states to samples.npz (array x); or images, their pixels (samples.npz, array x), a grid of them (samples.png) and an
    animation of how they came to be (denoising.gif)."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""

    num: int = 64
    """How many examples."""

    steps: int = 128
    """Calls of the network; more are closer to the model's own law."""

    length: str | None = None
    """Sequences: a length or a range of them, such as 80-120; the lengths of the training data by default. Text: a number of
    positions, up to and by default that of a training example."""

    out: Path | None = None
    """Folder for what is drawn; RUN/samples by default."""

    seed: int = 0
    """Of all noise."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    options = parse(Sample, "sample", arguments)
    check_seed(options.seed)
    for name, value in (("num", options.num), ("steps", options.steps)):
        if value < 1:
            raise fail(name, "be at least 1", value, "leave it out for the default")
    lengths = None if options.length is None else parse_range("length", options.length)

    import torch

    from scud import runs
    from scud.training.files import RunFolder

    run = runs.load(options.run, options.device)
    if lengths is not None and run.kind == "images":
        remedy = "images have the size of those in training"
        raise fail("length", "be given for sequences and text only", options.length, remedy)
    generator = torch.Generator(run.model.p0.device).manual_seed(options.seed)
    folder = options.out or RunFolder(options.run).samples
    if run.kind == "sequences":
        write_sequences(run, options, lengths, folder, generator)
    elif run.kind == "text":
        draw_texts(run, options, lengths, folder, generator)
    else:
        draw_pictures(run, options, folder, generator)


def write_sequences(
    run: "Run", options: Sample, lengths: tuple[int, int] | None, folder: Path, generator: "torch.Generator"
) -> None:
    """Draw sequences and write samples.fasta."""
    from rich.progress import Progress

    from scud.data.sequences.fasta import write_fasta

    with Progress() as bar:
        task = bar.add_task("sampling", total=1.0)
        drawn = run.sample_sequences(
            options.num,
            options.steps,
            lengths=lengths,
            generator=generator,
            progress=lambda share: bar.update(task, completed=share),
        )
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "samples.fasta"
    write_fasta(target, ((f"sample_{number}", text) for number, text in enumerate(drawn, 1)))
    sizes = sorted(map(len, drawn))
    print(f"wrote {target}: {len(drawn)} sequences of length {sizes[0]} to {sizes[-1]} by {options.steps} steps")


def draw_texts(
    run: "Run", options: Sample, lengths: tuple[int, int] | None, folder: Path, generator: "torch.Generator"
) -> None:
    """Draw texts and write samples.npz and samples.txt."""
    import torch
    from rich.progress import Progress

    from scud.data.text.samples import POSITIONS, write_states, write_texts
    from scud.samplers import Ancestral, draw

    first, last = lengths or (run.length, run.length)
    if not 1 <= first == last <= run.length:
        remedy = "leave it out for the length of training examples"
        raise fail("length", f"be one number in 1..{run.length} for text", options.length, remedy)
    with Progress() as bar:
        task = bar.add_task("sampling", total=1.0)
        samples = draw(
            Ancestral(steps=options.steps),
            run.model,
            run.network,
            [torch.zeros(last, dtype=torch.int64)] * options.num,
            generator=generator,
            progress=lambda share: bar.update(task, completed=share),
        )
    x = torch.stack(samples.states).numpy()
    folder.mkdir(parents=True, exist_ok=True)
    write_states(folder / "samples.npz", x, run.model.num_states)
    write_texts(folder / "samples.txt", [run.tokens.decode(states) for states in x])
    size = f"{last} {POSITIONS[run.tokens.unit]}s each"
    print(f"wrote {folder}: samples.npz and samples.txt, {len(x)} texts of {size} by {options.steps} steps")


def draw_pictures(run: "Run", options: Sample, folder: Path, generator: "torch.Generator") -> None:
    """Draw images and write samples.npz, samples.png and denoising.gif."""
    import math

    import numpy as np
    import torch
    from rich.progress import Progress

    from scud import plots
    from scud.files import replacing
    from scud.samplers import Ancestral, draw

    num_states = run.model.num_states
    with Progress() as bar:
        task = bar.add_task("sampling", total=1.0)
        samples = draw(
            Ancestral(steps=options.steps),
            run.model,
            run.network,
            [torch.zeros(run.dims, dtype=torch.int64)] * options.num,
            positions=AT_ONCE * math.prod(run.dims),
            frames=FRAMES,
            generator=generator,
            progress=lambda share: bar.update(task, completed=share),
        )
    x = torch.stack(samples.states).numpy().astype(np.uint8)
    frames = [visible(frame.numpy(), num_states) for frame in samples.frames]
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "samples.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, x=plots.to_pixels(x, num_states))
    plots.save_image(plots.sample_grid(x[:SHOWN], num_states), folder / "samples.png")
    plots.save_animation(plots.denoising_animation(np.stack(frames), num_states), folder / "denoising.gif", seconds=3)
    print(f"wrote {folder}: samples.npz, samples.png and denoising.gif, {options.num} images by {options.steps} steps")


def visible(x_t: "NDArray[np.integer[Any]]", num_states: int) -> "NDArray[np.integer[Any]]":
    """States that can be drawn: a masked position (state B) is shown as the middle level."""
    shown = x_t.copy()
    shown[shown == num_states] = num_states // 2
    return shown

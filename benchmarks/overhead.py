"""What everything but the network costs: loss forward and backward, network free, and the tables and schedules behind it.

    python -m benchmarks.overhead [--threads 1] [--json FILE]

Batch 16 x 3 x 32 x 32, Gaussian noise of bandwidth 0.05, B = 64 and 256. "Everything but the network" is one training step
with given logits: times, noising, evidence embedded in 64 dimensions, loss, and the gradients of logits and embedding.
Each figure is the median of several runs after one to warm up; memory is the growth of the process's peak.
"""

import argparse
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from scud import SCUD, Classical, Diffusion, Masking
from scud.processes import Gaussian
from scud.schedules import Linear, MutualInformation
from scud.typing import Conditioning

SHAPE = (16, 3, 32, 32)
EMBEDDING = 64


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median wall time of `work`, after one run to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_mb() -> float:
    """The process's largest resident size so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def marginal(num_states: int) -> torch.Tensor:
    """A marginal like that of pixels: smooth, with heavy ends."""
    place = torch.linspace(0, 1, num_states, dtype=torch.float64)
    weight = 1 + (6 * place).sin() ** 2
    weight[0], weight[-1] = 6 * weight[0], 4 * weight[-1]
    return weight / weight.sum()


def models(num_states: int) -> dict[str, Diffusion]:
    """The three models with Gaussian noise and their own mutual-information schedules."""
    p0, process = marginal(num_states), Gaussian(num_states, bandwidth=0.05)
    return {
        "scud": SCUD(process, MutualInformation(process, p0, 1.0), 1.0, p0=p0),
        "classical": Classical(process, MutualInformation(process, p0, 0.0), p0=p0),
        "masking": Masking(num_states, Linear(), p0=p0),
    }


def step_seconds(model: Diffusion, repeats: int) -> float:
    """Seconds of everything but the network in one training step, forward and backward."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.multinomial(model.p0.float(), torch.Size(SHAPE).numel(), replacement=True, generator=generator)
    x0 = x0.reshape(SHAPE)
    logits = torch.randn(*SHAPE, model.num_states, generator=generator).requires_grad_()
    weight = torch.randn(model.num_states, EMBEDDING, generator=generator).requires_grad_()
    upstream = torch.randn(*SHAPE, EMBEDDING, generator=generator)

    def denoiser(x_t: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
        assert conditioning.evidence is not None
        conditioning.evidence.embed(weight).backward(upstream[: x_t.shape[0]])
        return logits

    def step() -> None:
        logits.grad = weight.grad = None
        model.loss(denoiser, x0, generator=generator).backward()

    return median_seconds(step, repeats)


def table_mb(model: Diffusion) -> float:
    """Megabytes of all tables a model keeps."""
    return sum(buffer.numel() * buffer.element_size() for buffer in model.buffers()) / 1e6


def measure() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for num_states in (64, 256):
        process, p0 = Gaussian(num_states, bandwidth=0.05), marginal(num_states)
        for form, gamma in (("events", 1.0), ("time", 0.0)):
            before = peak_mb()
            seconds = median_seconds(lambda g=gamma, p=process, m=p0: MutualInformation(p, m, g), 3)
            memory = peak_mb() - before
            rows.append({"what": f"schedule, {form}", "B": num_states, "seconds": seconds, "MB": memory})
        for name, model in models(num_states).items():
            rows.append(
                {"what": f"step, {name}", "B": num_states, "seconds": step_seconds(model, 7), "MB": table_mb(model)}
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads PyTorch may use")
    parser.add_argument("--json", type=Path, default=None, help="also write the table here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = measure()
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"{options.threads} thread(s); MB: peak memory of building a schedule, tables kept by a model"
    )
    print("| what | B | seconds | MB |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['what']} | {row['B']} | {row['seconds']:.3f} | {row['MB']:.1f} |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

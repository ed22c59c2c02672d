"""A training step on proteins over the same step of the network alone, in one run.

    python -m benchmarks.proteins_step [--threads 2] [--steps 6]

Tokens 16 x 256, ByteNet of width 256 and 16 layers. The network alone: token embeddings, the same blocks with fixed counts,
cross-entropy, backward, clipping, AdamW. A full step adds times, noise, evidence and the recipe's loss. The two alternate,
so that whatever else the machine does hits both; the ratio is that of the medians, its error from the pairs' ratios.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.runs import machine
from scud import SCUD, Classical, Conditioning, Diffusion, Masking
from scud.networks import ByteNet
from scud.processes import Blosum62, Uniform
from scud.recipes import RECIPES
from scud.schedules import MutualInformation

BATCH, LENGTH = 16, 256


class Tokens:
    """Evidence that is the bare token: an embedding look-up, as any network has."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def embed(self, weight: Tensor) -> Tensor:
        return F.embedding(self.x, weight)

    def probs(self) -> Tensor:
        return F.one_hot(self.x).float()


def models(num_states: int) -> dict[str, Diffusion]:
    """The models on a marginal of `num_states` letters."""
    weight = 1 + torch.arange(num_states, dtype=torch.float64).sin() ** 2
    p0, uniform = weight / weight.sum(), Uniform(num_states)
    made: dict[str, Diffusion] = {
        "SCUD, uniform": SCUD(uniform, MutualInformation(uniform, p0, 1.0), p0=p0),
        "masking": Masking(num_states, p0=p0),
        "classical, uniform": Classical(uniform, MutualInformation(uniform, p0, 0.0), p0=p0),
    }
    if num_states == 20:
        blosum = Blosum62()
        made["SCUD, BLOSUM62"] = SCUD(blosum, MutualInformation(blosum, p0, 1.0), p0=p0)
        made["classical, BLOSUM62"] = Classical(blosum, MutualInformation(blosum, p0, 0.0), p0=p0)
    return made


def measure(model: Diffusion, share: float, pairs: int) -> tuple[float, float, float]:
    """Seconds of the network alone, the ratio of a full step to it, and the ratio's standard error."""
    network = ByteNet(model.num_states, width=256, layers=16, dropout=0.1).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    x0 = torch.multinomial(model.p0.float(), BATCH * LENGTH, replacement=True).reshape(BATCH, LENGTH)
    mask = torch.arange(LENGTH) < torch.linspace(0.9 * LENGTH, LENGTH, BATCH).long().unsqueeze(1)
    s = torch.randint(5, x0.shape)
    fixed = Conditioning(torch.full((BATCH,), 0.5), s, mask=mask, evidence=Tokens(x0))

    def alone() -> Tensor:
        return F.cross_entropy(network(x0, fixed)[mask], x0[mask])

    def full() -> Tensor:
        return model.objective(network, x0, mask, reconstruction=share).loss.sum() / mask.sum()

    def seconds(loss: Callable[[], Tensor]) -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        loss().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return time.perf_counter() - start

    seconds(alone), seconds(full)
    times = [(seconds(alone), seconds(full)) for _ in range(pairs)]
    ratios = [b / a for a, b in times]
    base = statistics.median(a for a, _ in times)
    return base, statistics.median(b for _, b in times) / base, statistics.stdev(ratios) / math.sqrt(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads PyTorch may use")
    parser.add_argument("--steps", type=int, default=6, help="pairs of steps")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    print(machine())
    print("| model | B | network alone, s | training step over it |\n|---|---|---|---|")
    for num_states in (20, 31):
        for name, model in models(num_states).items():
            base, ratio, error = measure(model, RECIPES["proteins"]().training.reconstruction, options.steps)
            print(f"| {name} | {num_states} | {base:.3f} | {ratio:.3f} ± {error:.3f} |", flush=True)


if __name__ == "__main__":
    main()

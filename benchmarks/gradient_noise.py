"""How noisy the gradient of a training step is, by how its times are drawn.

    python -m benchmarks.gradient_noise RUN [--examples 96] [--draws 4]

The gradient of a batch of n examples at times t_i, drawn with density f, is (1/n) Σ g_i(t_i) / f(t_i), where g_i(t) is the gradient of t_max
times the bound's integrand for one draw of the noise. Its variance falls as (1/n) ∫ E|g(t)|² / f(t) dt - |E g|² / n, so one
curve, E|g(t)|², says how good any density is, and that the best is f ∝ sqrt(E|g(t)|²). The curve is measured at midpoints of
even cells of sqrt(t), on training examples, for the averaged network of a run with dropout off.

Printed: the second moment under several densities over that of the best one (1 is the least possible), and the share of it that
stratifying the times can save at most: that between times, |∫ g|² apart.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.runs import machine
from scud.config import read_config
from scud.diffusion import Diffusion
from scud.diffusion.times import density
from scud.experiment import load_data
from scud.runs import load

CELLS = 32

MIXTURES = {
    "uniform in t": (1.0, 0.0, 0.0),
    "half in t, 0.4 in sqrt(t), 0.1 in tau": (0.5, 0.4, 0.1),
    "0.7 in t, 0.2 in sqrt(t), 0.1 in tau": (0.7, 0.2, 0.1),
    "0.8 in t, 0.1 in sqrt(t), 0.1 in tau": (0.8, 0.1, 0.1),
    "0.4 in t, 0.3 in sqrt(t), 0.3 in tau": (0.4, 0.3, 0.3),
    "0.6 in t, 0.1 in sqrt(t), 0.3 in tau": (0.6, 0.1, 0.3),
}


def gradient(model: Diffusion, network: torch.nn.Module, x0: Tensor, t: Tensor, generator: torch.Generator) -> Tensor:
    """The gradient of t_max Σ_d h_d(t) per position for examples x0 [n, *dims] at times t [n]: one vector."""
    noisy = model.noise(x0, t, generator)
    logits = network(noisy.x_t, model.condition(noisy))
    loss = model.t_max * model.integrand(logits, x0, noisy).sum() / x0[0].numel()
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(loss, list(network.parameters()))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of an image run")
    parser.add_argument("--examples", type=int, default=96, help="training examples")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    options = parser.parse_args()
    run = load(options.run, "cpu")
    model, network = run.model, run.network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_()
    examples = load_data(read_config(options.run / "config.yaml").data).split("train")
    generator = torch.Generator().manual_seed(options.seed)
    chosen = torch.randperm(len(examples), generator=generator)[: options.examples]
    x0 = examples.batch(chosen).x0
    edges = torch.linspace(0, model.t_max**0.5, CELLS + 1, dtype=torch.float64) ** 2
    middles, widths = (edges[1:] + edges[:-1]) / 2, edges.diff() / model.t_max
    second, between = torch.zeros(CELLS, dtype=torch.float64), torch.zeros(CELLS, dtype=torch.float64)
    for cell, t in enumerate(middles):
        each = [gradient(model, network, x0[i : i + 1], t.reshape(1), generator) for i in range(len(x0))]
        second[cell] = sum(float(g.square().sum()) for g in each) / len(each)
        total = torch.stack(each).sum(0)
        # |mean|² without bias: all pairs of different examples.
        between[cell] = (float(total.square().sum()) - second[cell] * len(each)) / (len(each) * (len(each) - 1))
    best = (second.sqrt() * widths).sum() ** 2
    print(machine())
    print(f"t {[round(float(t), 4) for t in middles]}")
    print(f"sqrt(E|g|²) {[round(float(v), 3) for v in second.sqrt()]}")
    print("| times | second moment over the least possible | of it between times |\n|---|---|---|")
    for name, mixture in MIXTURES.items():
        f = density(middles, model.schedule, model.t_max, mixture) * model.t_max
        print(f"| {name} | {(second / f * widths).sum() / best:.3f} | {(between / f * widths).sum() / best:.3f} |")


if __name__ == "__main__":
    main()

"""How noisy the gradient of a training step is, by how its times are drawn.

    python -m benchmarks.gradient_noise RUN [--examples 96]

The gradient of a batch of n examples at times t_i, drawn with density f, is (1/n) Σ g_i(t_i) / f(t_i), where g_i(t) is the
gradient of t_max times the bound's integrand for one draw of the noise. Its variance is (1/n) ∫ E|g(t)|² / f(t) dt - |E g|² / n:
one curve, E|g(t)|², says how good any density is, and that the best is f ∝ sqrt(E|g(t)|²). The curve is measured at midpoints of
even cells of sqrt(t), on training examples, for the averaged network of a run with dropout off.

Printed: the second moment under several densities over that of the best one (1 is the least possible), the share of it that lies
between times, which is the most that stratifying them can save, and the same ratio for the loss, which evaluation estimates.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.report import machine_line
from scud.config import read_config
from scud.diffusion import Diffusion
from scud.diffusion.times import MIXTURE, density
from scud.runs import load

CELLS = 32

MIXTURES = (
    (1.0, 0.0, 0.0),
    (0.8, 0.2, 0.0),
    (0.8, 0.1, 0.1),
    (0.7, 0.2, 0.1),
    MIXTURE,
    (0.3, 0.4, 0.3),
)
"""Shares of times drawn uniformly in t, in sqrt(t) and in tau."""


def gradient(
    model: Diffusion, network: torch.nn.Module, x0: Tensor, t: Tensor, generator: torch.Generator
) -> tuple[Tensor, float]:
    """The gradient, one vector, of t_max Σ_d h_d(t) per position for examples x0 [n, *dims] at times t [n], and its value."""
    noisy = model.noise(x0, t, generator)
    logits = network(noisy.x_t, model.condition(noisy))
    loss = model.t_max * model.integrand(logits, x0, noisy).sum() / x0[0].numel()
    parts = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([part.reshape(-1) for part in parts]), float(loss.detach())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of an image run")
    parser.add_argument("--examples", type=int, default=96, help="training examples")
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    options = parser.parse_args()
    run = load(options.run, "cpu")
    model, network = run.model, run.network.eval()
    for parameter in network.parameters():
        parameter.requires_grad_()
    examples = read_config(options.run / "config.yaml").data.read().split("train")
    generator = torch.Generator().manual_seed(options.seed)
    chosen = torch.randperm(len(examples), generator=generator)[: options.examples]
    x0 = examples.batch(chosen).x0
    edges = torch.linspace(0, model.t_max**0.5, CELLS + 1, dtype=torch.float64) ** 2
    middles, widths = (edges[1:] + edges[:-1]) / 2, edges.diff() / model.t_max
    second, between, value = torch.zeros(3, CELLS, dtype=torch.float64)
    for cell, t in enumerate(middles):
        drawn = [
            gradient(model, network, x0[i : i + 1], t.reshape(1), generator) for i in range(len(x0))
        ]
        each = torch.stack([g for g, _ in drawn]).double()
        second[cell] = each.square().sum(1).mean()
        value[cell] = sum(loss**2 for _, loss in drawn) / len(drawn)
        # |mean|² without bias: all pairs of different examples.
        between[cell] = (each.sum(0).square().sum() - each.square().sum()) / (
            len(drawn) * (len(drawn) - 1)
        )
    print(machine_line())
    print("| t | root of E gradient² | root of E loss² |\n|---|---|---|")
    for t, g, loss in zip(
        middles.tolist(), second.sqrt().tolist(), value.sqrt().tolist(), strict=True
    ):
        print(f"| {t:.4f} | {g:.3f} | {loss:.3f} |")
    print(
        "| shares | gradient: second moment over the least possible | of it between times | loss |\n|---|---|---|---|"
    )
    beta = model.schedule.beta(middles)
    for mixture in MIXTURES:
        f = density(middles, beta, model.t_max, model.tau_max, mixture) * model.t_max
        figures = (
            (second / f * widths).sum() / (second.sqrt() * widths).sum() ** 2,
            (between / f * widths).sum() / (second / f * widths).sum(),
            (value / f * widths).sum() / (value.sqrt() * widths).sum() ** 2,
        )
        print(
            f"| {', '.join(f'{share:g}' for share in mixture)} | {' | '.join(f'{float(v):.3f}' for v in figures)} |"
        )


if __name__ == "__main__":
    main()

"""What is tried on the pretended GPU: every model with every process, tiny networks of every kind, and batches for them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from scud import SCUD, Classical, Diffusion, Masking
from scud.networks import ByteNet, DiT, UNet
from scud.processes import Blosum62, Dense, Gaussian, Process, Uniform
from scud.schedules import Cosine, Linear
from scud.typing import Batch, Given, Shape
from tests.theory.cases import sparse_graph
from tests.theory.oracle import random_generator

B, LABELS = 20, 3

PROCESSES: dict[str, Callable[[], Process]] = {
    "uniform": lambda: Uniform(B),
    "gaussian": lambda: Gaussian(B, bandwidth=0.1),
    "blosum62": Blosum62,
    "non-reversible": lambda: Dense(random_generator(B, seed=5, reversible=False)),
}

GRAPH = "scud graph"
"""The model that waits: walks are as long as the counts that occur."""

MODELS = (
    "masking",
    *(f"{model} {process}" for model in ("scud", "classical") for process in PROCESSES),
    GRAPH,
)

OTHER_SCHEDULES = ("scud cosine", "classical linear")
"""Models of Gaussian noise with another schedule than their own."""

OF_ALL_NETWORKS = ("masking", "scud gaussian", "classical gaussian", GRAPH)
"""Models that are tried with every network: networks know nothing of processes."""

PAIRS = [
    *((model, "bytenet") for model in (*MODELS, *OTHER_SCHEDULES)),
    *((model, network) for network in ("unet", "dit") for model in OF_ALL_NETWORKS),
]
"""Models and networks."""

MORE_PAIRS = [
    (model, network)
    for network in ("unet", "dit")
    for model in MODELS
    if model not in OF_ALL_NETWORKS
]
"""All others."""


def marginal(num_states: int) -> torch.Tensor:
    """Some p0 [B]."""
    counts = torch.arange(1, num_states + 1, dtype=torch.float64)
    return counts / counts.sum()


def make_model(name: str) -> Diffusion:
    """A model by its name and that of its process; see `OTHER_SCHEDULES` for the rest."""
    kind, _, process = name.partition(" ")
    p0 = marginal(B)
    if kind == "masking":
        return Masking(B, p0=p0)
    if name == GRAPH:
        return SCUD(sparse_graph(B), p0=p0)
    if name == "scud cosine":
        return SCUD(PROCESSES["gaussian"](), Cosine(), 0.5, p0=p0)
    if name == "classical linear":
        return Classical(PROCESSES["gaussian"](), Linear(), p0=p0)
    return (SCUD if kind == "scud" else Classical)(PROCESSES[process](), p0=p0)


VARIANTS: dict[str, Callable[[], nn.Module]] = {
    "mixed head": lambda: UNet(B, shape_of("unet")[1:], width=8, blocks=1, levels=1, head="mixed"),
    "logistic head": lambda: UNet(
        B, shape_of("unet")[1:], width=8, blocks=1, levels=1, head="logistic"
    ),
    "transformer of pictures": lambda: DiT(
        B, width=16, layers=2, heads=2, dims=shape_of("unet")[1:], checkpointing=True
    ),
}
"""Networks for pictures with other options."""


def shape_of(network: str) -> Shape:
    """A batch that a network takes: pictures, or rows."""
    return (4, 1, 4, 4) if network == "unet" else (4, 12)


def make_network(name: str, dropout: float = 0.0) -> nn.Module:
    """A small network that reads labels, with weights that are nowhere 0."""
    torch.manual_seed(1)
    both: dict[str, Any] = {"num_labels": LABELS, "dropout": dropout}
    if name == "unet":
        made: nn.Module = UNet(B, shape_of(name)[1:], width=8, blocks=1, levels=2, **both)
    elif name == "dit":
        made = DiT(B, width=16, layers=1, heads=2, **both)
    else:
        made = ByteNet(B, width=16, layers=1, **both)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    return made


def make_batch(network: str) -> Batch:
    """Examples with padding, known positions and labels, one of which is none."""
    shape = shape_of(network)
    source = torch.Generator().manual_seed(2)
    x0 = torch.randint(B, shape, generator=source)
    mask = torch.rand(shape, generator=source) < 0.9
    known = torch.rand(shape, generator=source) < 0.2
    return Batch(x0, mask, torch.tensor([0, 2, -1, 1]), known & mask)


def infilling(batch: Batch) -> Given:
    """What is given of a batch whose unknown positions are drawn; padding is known, as samplers have it."""
    assert batch.known is not None
    assert batch.mask is not None
    return Given(batch.x0, batch.known | ~batch.mask, batch.mask, batch.label)


def many(num_states: int, p0: torch.Tensor) -> SCUD:
    """A model of more states than a matrix holds."""
    return SCUD(Uniform(num_states), Linear(), 0.9, p0=p0)


@cache
def picture_model(kind: str, num_states: int) -> Diffusion:
    """A model of ordered states, with its own schedule."""
    p0 = marginal(num_states)
    if kind == "masking":
        return Masking(num_states, p0=p0)
    process = Gaussian(num_states, bandwidth=0.05)
    return SCUD(process, p0=p0) if kind == "scud" else Classical(process, p0=p0)


def picture_network(num_states: int, dims: Shape) -> UNet:
    """A small network for pictures."""
    torch.manual_seed(1)
    return UNet(num_states, dims, width=8, blocks=1, levels=1)

"""A small network, data and runs for tests of the front door."""

import csv
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import scud
from scud.data import Data
from scud.networks import DiT
from scud.processes import Uniform
from scud.schedules import Linear
from scud.typing import Conditioning

B, DIMS = 5, (3, 2)


class Plain(nn.Module):
    """An embedding and a layer; knows nothing of its neighbours."""

    def __init__(self, num_states: int = B, width: int = 8) -> None:
        super().__init__()
        self.num_states, self.width = num_states, width
        self.embed = nn.Embedding(num_states + 1, width)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(width, num_states)

    def forward(self, x_t: Tensor, _: Conditioning) -> Tensor:
        logits: Tensor = self.out(self.dropout(self.embed(x_t)))
        return logits

    def spec(self) -> dict[str, int]:
        return {"num_states": self.num_states, "width": self.width}


def states(count: int, seed: int) -> Tensor:
    """Low states are likelier."""
    law = torch.tensor([0.5, 0.25, 0.125, 0.075, 0.05])
    drawn = torch.multinomial(
        law, count * 6, replacement=True, generator=torch.Generator().manual_seed(seed)
    )
    return drawn.reshape(count, *DIMS)


DATA = Data.of(states(60, 0), states(20, 1), num_states=B, test=states(20, 2))
LABELLED = Data.of(
    states(60, 0),
    states(20, 1),
    num_states=B,
    label=torch.arange(60) % 2,
    valid_label=torch.arange(20) % 2,
    label_names=["even", "odd"],
)

MODELS = {
    "scud": lambda p0: scud.SCUD(Uniform(B), Linear(), p0=p0),
    "masking": lambda p0: scud.Masking(B, p0=p0),
    "classical": lambda p0: scud.Classical(Uniform(B), Linear(), p0=p0),
}

SHORT = {"steps": 6, "batch_size": 10, "warmup": 2, "validate_every": 3, "validation_repeats": 1}


def network(seed: int = 0) -> Plain:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Plain()


def fit(folder: Path, kind: str = "masking", **options: Any) -> scud.Run:
    """A run of a few steps."""
    chosen = {**SHORT, "device": "cpu", "progress": False, **options}
    return scud.fit(MODELS[kind](DATA.p0()), network(), DATA, folder, **chosen)


def weights(run: scud.Run) -> dict[str, Tensor]:
    return run.network.state_dict()


def same(one: scud.Run, other: scud.Run) -> bool:
    theirs = weights(other)
    return all(value.equal(theirs[name]) for name, value in weights(one).items())


def rows(folder: Path) -> list[list[str]]:
    """What metrics.csv holds, but for the seconds."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [[*row[:5], *row[6:]] for row in csv.reader(file)]


def fit_told(folder: Path, data: Data = LABELLED, **options: Any) -> scud.Run:
    """A run whose network reads labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DiT(B, width=16, layers=1, heads=2, dims=DIMS, num_labels=2)
    model = scud.SCUD(Uniform(B), Linear(), p0=data.p0())
    chosen = {**SHORT, "device": "cpu", "progress": False, **options}
    return scud.fit(model, net, data, folder, **chosen)

"""A training step on proteins over the same step of the network alone, in one run.

Tokenizer 16 x 256, ByteNet of width 256 and 16 layers, and the recipe's loss; see `steps` for what the network alone does.
"""

from dataclasses import dataclass

import torch

from benchmarks import cases
from benchmarks.report import Row, Table
from benchmarks.steps import TrainingStep
from benchmarks.timing import compare
from scud.diffusion import SCUD, Classical, Diffusion, Masking
from scud.networks import ByteNet
from scud.processes import Blosum62, Uniform
from scud.recipes import RECIPES
from scud.schedules import MutualInformation
from scud.typing import Batch


@dataclass(frozen=True)
class Scale:
    """How large the measured work is: a batch of sequences, a ByteNet, alphabets, and pairs of runs."""

    batch: int = 16
    length: int = 256
    width: int = 256
    layers: int = 16
    alphabets: tuple[int, ...] = (20, 31)
    pairs: int = 20

    @classmethod
    def quick(cls) -> "Scale":
        """A size that shows that everything runs, and says nothing about speed."""
        return cls(2, 16, 16, 2, (20,), 2)


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


def proteins_table(scale: Scale) -> Table:
    """Training steps on proteins, a row for every alphabet and model."""
    objective, rows, cpu = RECIPES["proteins"]().objective.build(), list[Row](), torch.device("cpu")
    ends = torch.linspace(0.9 * scale.length, scale.length, scale.batch).long()
    mask = torch.arange(scale.length) < ends.unsqueeze(1)
    for num_states in scale.alphabets:
        for name, model in models(num_states).items():
            network = ByteNet(
                num_states, width=scale.width, layers=scale.layers, dropout=0.1
            ).train()
            batch = Batch(cases.images(model.p0, (scale.batch, scale.length)), mask)
            work = TrainingStep(model, network, batch, objective)
            found = compare(work.alone, work.full, cpu, scale.pairs)
            row: dict[str, object] = {
                "model": name,
                "B": num_states,
                "network alone, s": found.base,
            }
            rows.append({**row, "step / alone": found.ratio, "±": found.error})
    text = (
        f"A training step on proteins over the network alone: tokens {scale.batch} x {scale.length}, ByteNet of width "
        f"{scale.width} and {scale.layers} layers, {scale.pairs} pairs."
    )
    return Table("proteins", text, rows)

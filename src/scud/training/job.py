"""What training is asked to do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from scud.diffusion import Diffusion
from scud.diffusion.objectives import Bound, Objective
from scud.errors import fail
from scud.networks.labels import reads_labels
from scud.training.options import ByExamples, TrainingOptions
from scud.typing import BatchSize, ExampleSet

LABEL_DROPOUT = 0.1
"""Share of examples whose label is withheld by default, where the network reads labels."""

_COUNTED_AT_ONCE = BatchSize(examples=1024, positions=1 << 18)
"""Of what is read to count labels."""


@dataclass(frozen=True, eq=False)
class Job:
    """A network to be trained for a diffusion model, on what, and how.

    Attributes:
        model: the diffusion.
        network: the denoiser; trained in place.
        train, valid: examples to train and to validate on.
        settings: how to train.
        objective: what is minimised.
        seed: what all randomness derives from.
        augment: changes the states of a batch x0 [batch, *dims] at random, or None.
        unit: what losses are shown in.
        label_names: what each label is called, where the network reads labels.
        digests: of the content of "train" and "valid" data, by which changed files are told.

    Raises:
        UserError: labels are to be withheld from a network that reads none.
    """

    model: Diffusion
    network: nn.Module
    train: ExampleSet
    valid: ExampleSet
    settings: TrainingOptions = field(default_factory=ByExamples)
    objective: Objective = field(default_factory=Bound)
    seed: int = 0
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    unit: str = "bits/dim"
    label_names: tuple[str, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.settings.label_dropout is not None and not reads_labels(self.network):
            remedy = "leave it out, or train a network with labels (--network.labels true)"
            rule = "be left out for a network that reads no labels"
            raise fail("training.label_dropout", rule, self.settings.label_dropout, remedy)

    @cached_property
    def label_counts(self) -> list[int]:
        """How often every label occurs in training; empty where the network reads none."""
        if not reads_labels(self.network):
            return []
        known = getattr(self.train, "label_counts", None)
        if known is None:
            counts = self._label_counts()
        else:
            found: Tensor = known()
            counts = nn.functional.pad(found, (0, max(len(self.label_names) - len(found), 0)))
        return [int(count) for count in counts]

    def _label_counts(self) -> Tensor:
        """How often every label occurs in examples that do not say it themselves: all of them are read."""
        counts = torch.zeros(len(self.label_names), dtype=torch.int64)
        for index in self.train.batches(_COUNTED_AT_ONCE):
            label = self.train.batch(index).label
            if label is not None:
                there = label[label >= 0]
                found = torch.bincount(there, minlength=len(counts))
                counts = found + nn.functional.pad(counts, (0, len(found) - len(counts)))
        return counts

    @property
    def label_dropout(self) -> float:
        """Share of examples whose label is withheld; 0 where the network reads none."""
        if not reads_labels(self.network):
            return 0.0
        return LABEL_DROPOUT if self.settings.label_dropout is None else self.settings.label_dropout

"""How a network is trained: options that every run has, and those that suit the data.

A batch is so many examples, or of examples of different length so many positions; of rows of positions, a share of examples may
keep a part clean, as infilling has it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from scud.errors import (
    check_at_least,
    check_choice,
    check_count,
    check_in_interval,
    check_positive,
    fail,
)
from scud.options import Options
from scud.typing import BatchSize

MOST_REPEATS = 100_000
"""Draws of noise for an example."""


class Batches(Protocol):
    """What of a kind of data decides how batches are measured (see `scud.data.Modality`)."""

    by_positions: ClassVar[bool]
    rows: ClassVar[bool]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Options, ABC):
    """How the network is trained."""

    steps: int = 1500
    """Optimiser steps."""

    precision: Literal["float32", "bfloat16", "bfloat16-true"] = "float32"
    """What the network computes in while training; with bfloat16-true its weights and what the optimiser keeps of them are
    bfloat16 too. Noise, loss, averaged weights and evaluation stay in float32."""

    compile: bool = False
    """Compile the step behind its noise with torch.compile, on a CPU the network alone; there it needs a C++ compiler."""

    accumulate: int = 1
    """Parts a batch is split into to save memory; divides the batch."""

    devices: int | Literal["auto"] = 1
    """Processes on each machine, one for each GPU; auto takes all GPUs that there are. They share out every batch."""

    num_nodes: int = 1
    """Machines that train together."""

    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes share the network: each has all of it (ddp, auto), or a part of its weights, their average and what
    the optimiser keeps of them (fsdp), for networks that do not fit into one device."""

    learning_rate: float = 2e-3
    """Peak learning rate of AdamW."""

    warmup: int = 100
    """Steps over which the learning rate rises linearly to its peak."""

    decay: Literal["constant", "cosine"] = "cosine"
    """Learning rate after warm-up: kept, or lowered to 0 along half a cosine."""

    weight_decay: float = 0.0
    """Decoupled weight decay of AdamW."""

    clip: float = 1.0
    """Largest norm of the gradient; larger ones are scaled down to it."""

    ema_decay: float = 0.99
    """Decay of the moving average of the weights, which evaluation and samples use."""

    label_dropout: float | None = None
    """Share of examples whose class label is withheld, so that the network also learns to do without; 0.1 by default where
    the network reads labels, and to be left out where it does not."""

    validate_every: int = 250
    """Steps between validations; the checkpoint and the model are written there too."""

    validation_examples: int = 1000
    """At most so many validation examples are used in training; always the same ones."""

    validation_repeats: int = 4
    """Draws of noise per validation example, always the same ones."""

    def check(self) -> None:
        for name in (
            "steps",
            "accumulate",
            "num_nodes",
            "validate_every",
            "validation_examples",
            "validation_repeats",
        ):
            check_count(name, getattr(self, name), 1, "leave it out for the default")
        if self.devices != "auto":
            check_count("devices", self.devices, 1, "write auto for all GPUs")
        remedy = "errors fall with its square root"
        check_in_interval("validation_repeats", self.validation_repeats, 1, MOST_REPEATS, remedy)
        check_count("warmup", self.warmup, 0, "0 begins at the peak learning rate")
        check_at_least("weight_decay", self.weight_decay, 0, "0.01 is usual")
        check_positive(
            "learning_rate", self.learning_rate, "2e-3 suits small networks, 2e-4 large ones"
        )
        check_positive("clip", self.clip, "1 is the default")
        check_choice("precision", self.precision, ("float32", "bfloat16", "bfloat16-true"))
        check_choice("strategy", self.strategy, ("auto", "ddp", "fsdp"))
        if self.strategy == "fsdp" and self.compile:
            remedy = "leave one of them out"
            raise fail("strategy", "be auto or ddp with training.compile", self.strategy, remedy)
        check_choice("decay", self.decay, ("constant", "cosine"))
        check_in_interval(
            "ema_decay",
            self.ema_decay,
            0,
            1,
            "0.99 suits short runs, 0.9999 long ones",
            open_high=True,
        )
        if self.label_dropout is not None:
            check_in_interval(
                "label_dropout", self.label_dropout, 0, 1, "0.1 is usual", open_high=True
            )

    @property
    @abstractmethod
    def size(self) -> BatchSize:
        """How much a step takes in."""

    @property
    def kept_clean(self) -> float:
        """Share of examples in which a random part is kept clean."""
        return 0.0


@dataclass(frozen=True, kw_only=True)
class ByExamples(TrainingOptions):
    """How the network is trained."""

    batch_size: int = 64
    """Examples per step, over all accumulation steps together."""

    def check(self) -> None:
        super().check()
        check_count("batch_size", self.batch_size, 1, "64 is the default")

    @property
    def size(self) -> BatchSize:
        return BatchSize(examples=self.batch_size)


@dataclass(frozen=True, kw_only=True)
class WithGaps(TrainingOptions):
    """How the network is trained, of examples that are rows of positions."""

    infill_share: float = 0.0
    """Share of examples in which a random part is kept clean, as what surrounds a gap is."""

    def check(self) -> None:
        super().check()
        remedy = "0.5 trains for infilling as well"
        check_in_interval("infill_share", self.infill_share, 0, 1, remedy)

    @property
    def kept_clean(self) -> float:
        return self.infill_share


@dataclass(frozen=True, kw_only=True)
class ByRows(WithGaps, ByExamples):
    """How the network is trained."""


@dataclass(frozen=True, kw_only=True)
class ByPositions(WithGaps):
    """How the network is trained."""

    batch_tokens: int = 4096
    """Positions per step, padding included; a batch holds examples of like length."""

    def check(self) -> None:
        super().check()
        check_count("batch_tokens", self.batch_tokens, 1, "4096 is the default")

    @property
    def size(self) -> BatchSize:
        return BatchSize(positions=self.batch_tokens)


HARDWARE = ("devices", "num_nodes", "strategy")
"""Options that say where a run computes, not what: they may be others when it goes on."""


def may_grow(steps: int, decay: str, before: object) -> bool:
    """Whether a run of `before` steps may go on to so many: its learning rates so far must not depend on them."""
    return decay == "constant" and type(before) is int and steps > before


def options_for(modality: Batches | type[Batches]) -> type[TrainingOptions]:
    """The options that suit a kind of data."""
    if modality.by_positions:
        return ByPositions
    return ByRows if modality.rows else ByExamples

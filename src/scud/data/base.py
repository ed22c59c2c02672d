"""Data: named splits of examples, and the modality that says what their states stand for.

A kind of data is one folder here: options that read it (`DataOptions`), and a `Modality`, all that training and commands need
to know of it. A saved run keeps its modality, so that commands speak to people about states without the data at hand.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import torch
from torch import Generator, Tensor

from scud.errors import fail
from scud.typing import ExampleSet, Shape

if TYPE_CHECKING:
    from scud.evaluation import Evaluation
    from scud.evaluation.report import Figure, Row
    from scud.samplers import Samples

Spec = dict[str, Any]
"""What something is built again from: texts, numbers, lists of them, and tensors."""


class Modality(ABC):
    """What the states of examples stand for.

    Attributes:
        kind: its name in options and in saved runs.
        noun: what several examples are called.
        by_positions: whether examples differ in length, so that batches are measured in positions.
        rows: whether an example is a row of positions, so that stretches of it can be given (infilling).
    """

    kind: ClassVar[str]
    noun: ClassVar[str]
    by_positions: ClassVar[bool] = False
    rows: ClassVar[bool] = False

    @property
    @abstractmethod
    def unit(self) -> str:
        """What losses are shown in: bits per position, such as "bits/dim", or "perplexity"."""

    @property
    @abstractmethod
    def position(self) -> str:
        """What a position is called: dim, residue, character, byte, token."""

    @property
    @abstractmethod
    def state_names(self) -> Sequence[str]:
        """What each state is called, [B]: a letter, an entry of a vocabulary, a number."""

    @property
    def num_states(self) -> int:
        """B."""
        return len(self.state_names)

    @property
    @abstractmethod
    def dims(self) -> Shape | None:
        """The shape of one example; None where examples differ in length."""

    @abstractmethod
    def spec(self) -> Spec:
        """What `from_spec` builds it again from, without the kind."""

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The modality whose `spec()` this is; raises `UserError` for an entry that is unknown, missing or of no sense."""

    @abstractmethod
    def describe(self) -> str:
        """What it is, in words; two data sets described alike have the same states."""

    @abstractmethod
    def shapes(self, num: int, length: tuple[int, int] | None, generator: Generator | None) -> list[Shape]:
        """The shapes of `num` examples to draw, as in training; `length` is the first and last length allowed, if asked for."""

    @abstractmethod
    def decode(self, states: Sequence[Tensor]) -> Sequence[Any]:
        """What people read instead of states [*dims]: pixels, letters, text."""

    @abstractmethod
    def write(self, samples: "Samples", folder: Path) -> list[Path]:
        """Write samples into an existing folder, as people would rather look at them; the files written."""

    @abstractmethod
    def read(self, path: Path) -> list[Tensor]:
        """The states of the examples in a file that `write` wrote."""

    @abstractmethod
    def figures(self, result: "Evaluation", examples: ExampleSet | None) -> list["Figure"]:
        """A bound in the units people report, the headline first; examples are None where only parts of them were bound."""

    @abstractmethod
    def quality(self, samples: Sequence[Tensor], data: "Data", split: str, seed: int) -> list["Row"]:
        """How samples compare with a split and with training data."""

    @property
    def infilling(self) -> "Infilling":
        """How `scud infill` reads gaps and writes what was drawn for them; raises `UserError` where there is no way."""
        raise fail("run", "model data that can be filled in by this command", self.noun, "use scud.sample(given=...)")


class Infilling(Protocol):
    """What a kind of data adds to `scud infill`."""

    options: type
    """A dataclass of the options that it adds."""

    def gaps(self, options: Any) -> list["Gap"]:
        """What is to be filled in."""
        ...

    def write(self, gaps: Sequence["Gap"], drawn: Sequence[Tensor], target: Path) -> str:
        """Write what was drawn for each gap, print some of it, and say what was written."""
        ...


@dataclass(frozen=True, eq=False)
class Gap:
    """An example of which a part is to be drawn.

    Attributes:
        name: what to call the example.
        states: [*dims] int64; what they are where `known` is False does not matter.
        known: [*dims] bool, True where the state is given.
        origin: what the modality needs to write the result.
    """

    name: str
    states: Tensor
    known: Tensor
    origin: Any = None


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split.

    Attributes:
        name: what to call it in reports.
        splits: the examples of "train", of "valid" and, where there is one, of "test".
        modality: what their states stand for.
        label_names: what each class label is called, in the order of their numbers; none where examples have no labels.
        report: what was read, replaced and left out, a line each.
        augment: changes a training batch x0 [batch, *dims] at random, as by mirroring, or None.

    Raises:
        UserError: "train" or "valid" is missing.
    """

    name: str
    splits: Mapping[str, ExampleSet]
    modality: Modality
    label_names: tuple[str, ...] = ()
    report: tuple[str, ...] = ()
    augment: Callable[[Tensor, Generator], Tensor] | None = None

    def __post_init__(self) -> None:
        for name in ("train", "valid"):
            self.split(name)

    @property
    def num_states(self) -> int:
        """B."""
        return self.modality.num_states

    @property
    def dims(self) -> Shape | None:
        """The shape of one example; None where examples differ in length."""
        return self.modality.dims

    @property
    def state_names(self) -> Sequence[str]:
        """What each state is called, [B]."""
        return self.modality.state_names

    def split(self, name: str) -> ExampleSet:
        """The examples of the split called `name`."""
        if name not in self.splits:
            raise fail("split", f"be one of {', '.join(self.splits)}", repr(name), f"choose one that {self.name} has")
        return self.splits[name]

    def p0(self) -> Tensor:
        """The training marginal [B] float64: add-one counts of the states, normalised, so that none is zero."""
        counts = torch.ones(self.num_states, dtype=torch.float64)
        occurring = self.split("train").state_counts()
        counts[: len(occurring)] += occurring
        return counts / counts.sum()


class DataOptions(Protocol):
    """Options by which data are read: a dataclass of `scud.options.Options` with these."""

    kind: str
    modality: ClassVar[type[Modality]]

    def read(self) -> Data:
        """Read the data; raises `UserError` naming what is wrong with a file or an option."""
        ...

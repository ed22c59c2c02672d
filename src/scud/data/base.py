"""Modality: what the states of examples stand for.

A kind of data is one folder here: options that read it (`DataOptions`), and a `Modality`, all that
training and commands need to know of it. A saved run keeps its modality, so that commands speak to
people about states without the data at hand.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from torch import Generator, Tensor

from scud.errors import check_at_least, fail
from scud.typing import DataView, ExampleSet, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
        infill_options: a dataclass of the options that `scud infill` has for it, or None.
        rows: whether an example is a row of positions, so that stretches of it can be given.
    """

    kind: ClassVar[str]
    noun: ClassVar[str]
    by_positions: ClassVar[bool] = False
    infill_options: ClassVar[type | None] = None
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
        """The modality whose `spec()` this is.

        Raises:
            UserError: an entry is unknown, missing, or makes no sense.
        """

    @abstractmethod
    def describe(self) -> str:
        """What it is, in words; two data sets described alike have the same states."""

    def shapes(
        self,
        num: int,
        length: tuple[int, int] | None,
        generator: Generator | None,  # noqa: ARG002 - of examples that differ in shape
    ) -> list[Shape]:
        """The shapes of examples to draw, as in training: `dims`, of examples of one shape.

        Args:
            num: how many.
            length: the first and the last length allowed; None: those of training.
            generator: source of randomness.

        Raises:
            UserError: num is below 1, or the lengths are not those of such examples.
            NotImplementedError: examples differ in shape, and the class does not say how.
        """
        check_at_least("num", num, 1, f"say how many {self.noun} to draw")
        if length is not None:
            found = "-".join(str(end) for end in length)
            remedy = f"{self.noun} have the shape of those in training"
            raise fail("length", "be given for sequences and text only", found, remedy)
        if self.dims is None:
            name = type(self).__name__
            raise NotImplementedError(
                f"{name} must have a method shapes: its examples differ in shape"
            )
        return [self.dims] * num

    @abstractmethod
    def decode(self, states: Sequence[Tensor]) -> Sequence[Any]:
        """What people read instead of states [*dims]: pixels, letters, text."""

    @abstractmethod
    def write(self, samples: "Samples", folder: Path) -> list[Path]:
        """Write samples into an existing folder, in the form that people would rather look at.

        Returns:
            The files written, the one that `read` reads first.
        """

    @abstractmethod
    def read(self, path: Path) -> list[Tensor]:
        """The states of the examples in a file that `write` wrote."""

    def examples(self, path: Path) -> ExampleSet:
        """The examples in a file of data, without labels, as states of this modality.

        Of a file or folder that has splits, those for the final test, or else for training.

        Raises:
            UserError: the file is not as it should be, or its examples are not of this modality.
        """
        rule, remedy = "name data whose files can be read on their own", "choose a split instead"
        raise fail("data", rule, f"{path} of {self.noun}", remedy)

    def summary(self, states: Sequence[Tensor]) -> str:
        """How many examples there are, as a command says it when it has written them."""
        return f"{len(states)} {self.noun}"

    @abstractmethod
    def figures(self, result: "Evaluation", examples: ExampleSet | None) -> list["Figure"]:
        """A bound in the units that people report, the headline first.

        Args:
            result: the bound.
            examples: what was bound; None where it was parts of examples, such as spans.
        """

    def reading(self, examples: ExampleSet) -> Sequence[str]:  # noqa: ARG002
        """What reading the file of these examples cut, replaced and left out, a line each."""
        return ()

    def counts(self, examples: ExampleSet) -> Mapping[str, int]:  # noqa: ARG002
        """How much of what figures count is in examples, by name; nothing by default."""
        return {}

    @abstractmethod
    def quality(
        self, samples: Sequence[Tensor], data: DataView, split: str, seed: int
    ) -> list["Row"]:
        """How samples compare with a split and with training data."""

    @property
    def at_once(self) -> int:
        """Positions drawn at once, padding included."""
        return 16_384

    @property
    def infilling(self) -> "Infilling":
        """How `scud infill` reads gaps, and writes what was drawn for them.

        Raises:
            UserError: there is no way to do so for this kind of data.
        """
        rule, remedy = "model sequences or text", "use scud.sample(given=...) for other data"
        raise fail("run", rule, self.noun, remedy)

    @property
    def scoring(self) -> "Scoring":
        """How `scud score` reads what is to be scored.

        Raises:
            UserError: there is no way to do so for this kind of data.
        """
        raise fail("run", "model sequences", self.noun, "use scud.evaluate for other data")


class Infilling(Protocol):
    """What a kind of data adds to `scud infill`."""

    @property
    def options(self) -> type:
        """A dataclass of the options that it adds."""
        ...

    @property
    def file(self) -> str:
        """What the file that it writes is called, unless the user names one."""
        ...

    def gaps(self, options: Any) -> list["Gap"]:
        """What is to be filled in."""
        ...

    def write(self, gaps: Sequence["Gap"], drawn: Sequence[Tensor], target: Path) -> str:
        """Write what was drawn into a file of an existing folder, and print some of it.

        Args:
            gaps: what was filled in, once for each design; those of one gap follow one another.
            drawn: the states [*dims] of each design.
            target: the file.

        Returns:
            What was written, such as "8 designs of 2 sequences".
        """
        ...


class Scoring(Protocol):
    """What a kind of data adds to `scud score`."""

    def records(self, path: Path) -> Sequence["Scored"]:
        """The examples in a file; raises `UserError` for what a model cannot score."""
        ...

    def variants(self, wild_type: Path, mutations: Path, offset: int = 0) -> "Variants":
        """The wild type in a file, and its variants in another, whose positions count `offset` higher; errors as in `records`."""
        ...

    def scan(self, wild_type: Path, positions: str | None) -> "Scan":
        """The wild type in a file, and where all its variants of one state are asked for; errors as in `records`."""
        ...


class Scored(Protocol):
    """An example to score."""

    @property
    def name(self) -> str:
        """What to call it."""
        ...

    @property
    def codes(self) -> "NDArray[Any]":
        """States [length], B where unknown."""
        ...


@dataclass(frozen=True, eq=False)
class Variants:
    """Variants of an example, to compare with it.

    Attributes:
        wild: the example.
        codes: the states [length] of each variant.
        texts: how each is written.
        other_names: columns of the file besides that of the variants.
        other_cells: what stands in these, for each variant.
    """

    wild: Scored
    codes: Sequence["NDArray[Any]"]
    texts: Sequence[str]
    other_names: Sequence[str]
    other_cells: Sequence[Sequence[str]]


@dataclass(frozen=True, eq=False)
class Scan:
    """All variants of an example that differ from it in one state.

    Attributes:
        wild: the example.
        places: the positions that are changed, counted from 0: [P].
        letters: what the states are called, in their order.
    """

    wild: Scored
    places: "NDArray[Any]"
    letters: str

    def variants(self) -> Variants:
        """They, one position after the other, and at each the states in their order."""
        codes, texts = list["NDArray[Any]"](), list[str]()
        for place in self.places:
            here = int(self.wild.codes[place])
            for state, letter in enumerate(self.letters):
                if state != here:
                    changed = self.wild.codes.copy()
                    changed[place] = state
                    codes.append(changed)
                    texts.append(f"{self.letters[here]}{place + 1}{letter}")
        return Variants(self.wild, codes, texts, (), [()] * len(codes))


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

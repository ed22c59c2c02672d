"""Data: named splits of examples, and the modality that says what their states stand for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Generator, Tensor

from scud.data.arrays.tensors import from_tensors
from scud.data.base import Modality
from scud.errors import fail
from scud.typing import ExampleSet, Shape


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """A data set, split.

    Attributes:
        name: what to call it in reports.
        splits: the examples of "train", of "valid" and, where there is one, of "test".
        modality: what their states stand for.
        label_names: what each class label is called, in the order of their numbers; none where
            examples have no labels.
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

    @classmethod
    def of(
        cls,
        train: Tensor,
        valid: Tensor,
        *,
        num_states: int | None = None,
        test: Tensor | None = None,
        label: Tensor | None = None,
        valid_label: Tensor | None = None,
        test_label: Tensor | None = None,
        label_names: Sequence[str] | None = None,
        name: str = "tensors",
    ) -> "Data":
        """Tensors of your own as data of the kind "arrays".

        Args:
            train, valid, test: states [N, *dims], integers in 0..B-1.
            num_states: B; the largest state of the training split and 1 more if it is None.
            label, valid_label, test_label: class labels [N], or several of each example
                [N, most]; -1 where there is none.
            label_names: what each label is called; its number if it is None.
            name: what to call the data in reports.

        Raises:
            UserError: a split is empty or of another shape, a state or label is out of range.
            TypeError: states or labels that are no integers.
        """
        states = {"train": train, "valid": valid, "test": test}
        labels = {"train": label, "valid": valid_label, "test": test_label}
        splits, modality, names = from_tensors(states, labels, num_states, label_names)
        return cls(name, splits, modality, names)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name} {len(part):,}" for name, part in self.splits.items())
        labels = f"; {len(self.label_names):,} labels" if self.label_names else ""
        return f"Data {self.name}: {self.modality.describe()}; {sizes}{labels}"

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
            rule, remedy = f"be one of {', '.join(self.splits)}", f"choose one that {self.name} has"
            raise fail("split", rule, repr(name), remedy)
        return self.splits[name]

    def digests(self) -> dict[str, str]:
        """A hash of the content of the training and of the validation split, by which changed files are told.

        Splits of a user's own that have no method `digest` are left out.
        """
        named = {name: getattr(self.splits[name], "digest", None) for name in ("train", "valid")}
        return {name: digest() for name, digest in named.items() if digest is not None}

    def p0(self) -> Tensor:
        """The training marginal [B] float64.

        Add-one counts of the states, normalised, so that none is zero.
        """
        counts = torch.ones(self.num_states, dtype=torch.float64)
        occurring = self.split("train").state_counts()
        counts[: len(occurring)] += occurring
        return counts / counts.sum()


class DataOptions(Protocol):
    """Options by which data are read: a dataclass of `scud.options.Options` with these."""

    modality: ClassVar[type[Modality]]

    @property
    def kind(self) -> str:
        """Its name among the options of data."""
        ...

    def read(self) -> Data:
        """Read the data; raises `UserError` naming what is wrong with a file or an option."""
        ...

"""A kind of data that the library does not know: a CSV table of categories, defined in this file
alone. All that it needs is a modality and options."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pytest
import torch
from torch import Tensor

from scud.data import Data, Examples, Modality
from scud.data.files import training_file
from scud.data.specs import check_names
from scud.errors import UserError, check_at_least, fail
from scud.evaluation import Evaluation
from scud.evaluation.report import Figure, Row
from scud.options import Options
from scud.typing import BatchSize, DataView, ExampleSet, Shape


class Table(Modality):
    """Rows of a table: the cell of each column is one of some categories."""

    kind = "table"
    noun = "rows"
    unit = "bits/dim"
    position = "cell"

    def __init__(self, columns: Sequence[str], categories: Sequence[str]) -> None:
        self.columns = list(columns)
        self.categories = list(categories)

    @property
    def state_names(self) -> Sequence[str]:
        return self.categories

    @property
    def dims(self) -> Shape:
        return (len(self.columns),)

    def spec(self) -> dict[str, Any]:
        return {"columns": self.columns, "categories": self.categories}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        check_names(cls.noun, spec, ("columns", "categories"))
        return cls(spec["columns"], spec["categories"])

    def describe(self) -> str:
        return f"rows of {', '.join(self.columns)}"

    def decode(self, states: Sequence[Tensor]) -> Sequence[list[str]]:
        return [[self.categories[state] for state in row.tolist()] for row in states]

    def write(self, samples: Any, folder: Path) -> list[Path]:
        target = folder / "samples.csv"
        with target.open("w", newline="") as file:
            csv.writer(file).writerows([self.columns, *self.decode(samples.states)])
        return [target]

    def read(self, path: Path) -> list[Tensor]:
        rows = list(csv.reader(path.read_text().splitlines()))
        place = {name: state for state, name in enumerate(self.categories)}
        return [torch.tensor([place[cell] for cell in row]) for row in rows[1:]]

    def examples(self, path: Path) -> Examples:
        return Examples(torch.stack(self.read(path)))

    def figures(self, result: Evaluation, examples: ExampleSet | None) -> list[Figure]:
        assert examples is not None
        return [Figure("bits/dim", result.bits_per_dim, 0.0, 1.0)]

    def quality(self, samples: Sequence[Tensor], data: Data, split: str, seed: int) -> list[Row]:
        assert seed >= 0
        return [Row("rows", len(samples), len(data.split(split)), len(data.split("train")))]


@dataclass(frozen=True, kw_only=True)
class TableOptions(Options):
    """A CSV table of categories."""

    kind: Literal["table"] = "table"
    """What is modelled."""

    train: Path | None = None
    """A CSV file with a header."""

    valid_rows: int = 2
    """Rows at the end that are held out."""

    modality: ClassVar[type[Modality]] = Table

    def check(self) -> None:
        check_at_least("data.valid_rows", self.valid_rows, 1, "hold out some rows")

    def read(self) -> Data:
        path = training_file(self.train, "a CSV file")
        header, *rows = csv.reader(path.read_text().splitlines())
        if len(rows) <= self.valid_rows:
            raise fail("data.train", "hold more rows than are held out", len(rows), "add rows")
        table = Table(header, sorted({cell for row in rows for cell in row}))
        states = torch.stack(table.read(path)).to(torch.uint8)
        train, valid = states[: -self.valid_rows], states[-self.valid_rows :]
        return Data(path.stem, {"train": Examples(train), "valid": Examples(valid)}, table)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    (tmp_path / "pets.csv").write_text("pet,wild\ncat,no\ndog,no\nfox,yes\ncat,yes\ndog,no\n")
    return TableOptions(train=tmp_path / "pets.csv").read()


def test_it_is_read(data: Data) -> None:
    assert repr(data) == "Data pets: rows of pet, wild; train 3, valid 2"
    assert (data.num_states, data.dims) == (5, (2,))
    x0 = data.split("train").batch(torch.arange(3)).x0
    assert data.modality.decode(list(x0)) == [["cat", "no"], ["dog", "no"], ["fox", "yes"]]
    torch.testing.assert_close(data.p0() * 11, torch.tensor([2, 2, 2, 3, 2], dtype=torch.float64))


def test_noise_and_training_may_know_it(data: Data) -> None:
    view: DataView = data
    assert list(view.state_names) == ["cat", "dog", "fox", "no", "yes"]
    order = data.split("train").order(BatchSize(2, 1), seed=0, parts=2)
    assert sorted(torch.cat([order.examples(step) for step in range(3)]).tolist()) == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_its_spec_comes_back(data: Data) -> None:
    again = Table.from_spec(data.modality.spec())
    assert again.describe() == data.modality.describe()
    assert list(again.state_names) == list(data.state_names)


def test_what_is_drawn_is_written_and_compared(data: Data, tmp_path: Path) -> None:
    class Drawn:
        states: ClassVar[list[Tensor]] = [torch.tensor([0, 3]), torch.tensor([2, 4])]

    (file,) = data.modality.write(Drawn(), tmp_path)
    assert file.read_text().split() == ["pet,wild", "cat,no", "fox,yes"]
    samples = data.modality.read(file)
    assert all(
        torch.equal(ours, theirs) for ours, theirs in zip(samples, Drawn.states, strict=True)
    )
    assert data.modality.quality(samples, data, "valid", 0)[0] == ("rows", 2, 2, 3)
    assert data.modality.summary(samples) == "2 rows"
    assert data.modality.counts(data.split("valid")) == {}
    examples = data.modality.examples(file)
    assert examples.batch(torch.arange(2)).x0.tolist() == [[0, 3], [2, 4]]
    rule = "data must name data whose files can be read on their own, got .* of rows"
    with pytest.raises(UserError, match=rule):
        Modality.examples(data.modality, file)

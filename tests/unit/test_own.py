"""Classes of a user's own that are not as they should be are refused by name, and nothing is built of them."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import scud
from scud import cli, own
from scud.config import options_class
from scud.data import Arrays, Data
from scud.diffusion import SCUD, Masking
from scud.errors import UserError
from scud.processes import Uniform
from scud.schedules import Cosine
from scud.specs import check_savable

CODE = '''
"""Classes of every wrong sort."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from scud.options import Options
from scud.processes import Process, Uniform
from scud.samplers import Sampler


class Plain:
    def spec(self):
        return {}


@dataclass(frozen=True, kw_only=True)
class NoBuild(Options):
    width: int = 3


@dataclass(frozen=True, kw_only=True)
class NoModality(Options):
    modality = int

    def read(self):
        return None


@dataclass(frozen=True, kw_only=True)
class Needs(Options):
    width: int

    def build(self, data):
        return None


@dataclass(frozen=True, kw_only=True)
class MakesText(Options):
    def build(self, *data):
        return "text"


class Ring(Uniform):
    pass


class Wide(nn.Module):
    def spec(self):
        return {}


class Raises(nn.Module):
    def __init__(self, width: int = 3) -> None:
        raise RuntimeError("no such width")

    def spec(self):
        return {}


class Unresolved(nn.Module):
    def __init__(self, width: "Missing" = 3) -> None:
        pass

    def spec(self):
        return {}


class Odd(nn.Module):
    def __init__(self, width: Wide = None) -> None:
        pass

    def spec(self):
        return {}


class Half:
    def __call__(self, model, draw):
        return draw.diffusion / 2


class Abstract(Sampler):
    pass


def run(arguments):
    print("ran", *arguments)
'''


@pytest.fixture(autouse=True)
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "wrong_sorts.py").write_text(CODE)
    (tmp_path / "leaves.py").write_text("raise SystemExit('bye')")
    (tmp_path / "breaks.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("wrong_sorts", "leaves", "breaks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("section", "name", "message"),
    [
        ("data", "Ring", "data.kind must name a class of options .* with read and modality"),
        ("data", "NoModality", "its modality must name a subclass of Modality"),
        ("schedule", "Ring", "schedule.kind must name a class of options .* with build"),
        ("diffusion", "Ring", "diffusion.kind must name .* with build and takes_process"),
        ("objective", "Plain", "objective.kind must name a class that is one that can be called"),
        ("objective", "NoBuild", "objective.kind must name"),
        ("network", "NoBuild", "network.kind must name a class that is a subclass of Module"),
        ("network", "Ring", "network.kind must name a class that is a subclass of Module"),
        ("process", "Wide", "process.kind must name a class that is a subclass of Process"),
        ("network", "Needs", "network.kind must name options that have defaults, .* needs width"),
        ("network", "Unresolved", r"Unresolved \(NameError: name 'Missing'"),
        ("network", "Odd", "network.kind must name options of plain types"),
    ],
)
def test_of_the_wrong_sort(section: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        options_class(section, f"wrong_sorts:{name}")


def data() -> Data:
    return Data.of(torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3, dtype=torch.int64))


@pytest.mark.parametrize(
    ("section", "name", "message"),
    [
        ("network", "Raises", "wrong_sorts:Raises, which raised RuntimeError: no such width"),
        ("network", "MakesText", "network.kind must make a Module, got a str"),
        ("process", "MakesText", "process.kind must make a Process, got a str"),
    ],
)
def test_what_cannot_be_made(section: str, name: str, message: str) -> None:
    options: Any = options_class(section, f"wrong_sorts:{name}")()
    with pytest.raises(UserError, match=message):
        options.build(data())


def test_an_objective_may_be_a_class() -> None:
    options: Any = options_class("objective", "wrong_sorts:Half")()
    assert callable(options.build())


def test_what_cannot_be_built_again() -> None:
    with pytest.raises(UserError, match=r"network must be built .* no such width from Raises"):
        own.build_again("network", own.import_class("--network", "wrong_sorts:Raises"), {})
    with pytest.raises(UserError, match="process must make a Process, got a Wide"):
        own.build_again("process", own.import_class("x", "wrong_sorts:Wide"), {})


@pytest.mark.parametrize(
    ("argument", "name", "message"),
    [
        ("--sampler", "wrong_sorts:Ring", "--sampler must name a subclass of Sampler"),
        ("--sampler", "wrong_sorts:Abstract", "which lacks num_steps, trajectory"),
        ("--modality", "wrong_sorts:Ring", "--modality must name a subclass of Modality"),
        ("network.kind", "leaves:Wide", "SystemExit: bye"),
        ("network.kind", "breaks:Wide", "ZeroDivisionError"),
        ("network.kind", ":Wide", "network.kind must name a class"),
    ],
)
def test_what_cannot_be_imported(argument: str, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        own.import_class(argument, name)


@pytest.mark.parametrize(
    ("value", "status", "message"),
    [
        ("wrong_sorts:run", 0, "ran 1"),
        ("wrong_sorts", 2, "scud mine: the package that adds this command is broken (Attr"),
        ("nowhere", 2, "scud mine: the package that adds this command is broken (ModuleNot"),
        ("leaves:run", 2, "is broken (SystemExit: bye)"),
        ("breaks", 2, "is broken (ZeroDivisionError"),
        ("wrong_sorts:CODE", 2, "is broken (AttributeError"),
    ],
)
def test_commands_of_packages(
    value: str,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    entry = cli.EntryPoint("mine", value, cli.GROUP)
    monkeypatch.setattr(cli, "added", lambda: {"mine": entry})
    assert cli.main(["mine", "1"]) == status
    printed = capsys.readouterr()
    assert message in printed.out + printed.err


class Kept(nn.Module):
    """Its spec is what it is told."""

    def __init__(self, given: Any = None) -> None:
        super().__init__()
        self.given = given

    def spec(self) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1], r"network must have a spec\(\) that returns a dictionary, got Kept, .* \[1\]"),
        (KeyError("lost"), r"whose spec\(\) raised KeyError: 'lost'"),
        ({"given": {1, 2}}, "not JSON serializable"),
        ({"width": 3}, "unexpected keyword argument 'width'"),
    ],
)
def test_what_cannot_be_saved(given: Any, message: str) -> None:
    model = SCUD(Uniform(3), p0=torch.full((3,), 1 / 3, dtype=torch.float64))
    pairs = Arrays(3, (2,))
    check_savable(model, Kept({"given": torch.zeros(2)}), pairs)
    with pytest.raises(UserError, match=message):
        check_savable(model, Kept(given), pairs)


class Later(Cosine):
    """A schedule of one's own."""


class Another(Masking):
    """A model of one's own."""


def test_a_schedule_or_a_model_of_ones_own_cannot_be_saved(tmp_path: Path) -> None:
    p0, pairs = torch.full((3,), 1 / 3, dtype=torch.float64), Arrays(3, (2,))
    with pytest.raises(UserError, match=r"schedule must be one of Linear, .* got Later"):
        check_savable(SCUD(Uniform(3), Later(), p0=p0), Kept({}), pairs)
    with pytest.raises(UserError, match="schedule must be one of"):
        scud.save(tmp_path / "run", SCUD(Uniform(3), Later(), p0=p0), Kept({}), pairs)
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match=r"model must be one of SCUD, .* got Another"):
        check_savable(Another(3, p0=p0), Kept({}), pairs)

"""Options of every kind: each is explained, and has the default of what it configures."""

import inspect
from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from torch import nn

from scud.cli.evaluate import Evaluate
from scud.cli.infill import Infill
from scud.cli.sample import Sample
from scud.cli.score import Score
from scud.cli.train import Train
from scud.config import KINDS, SINGLE, Config
from scud.data import (
    MODALITIES,
    load_arrays,
    load_hub_images,
    load_hub_text,
    load_images,
    load_sequences,
    load_text,
)
from scud.data.sequences.infilling import SequencesInfillOptions
from scud.data.sequences.ingest import StoreOptions
from scud.data.text.infilling import TextInfillOptions
from scud.diffusion import SCUD, Classical, Masking
from scud.errors import UserError
from scud.networks import NETWORKS
from scud.options import Options, by_kind, kind_of, texts
from scud.own import options_of
from scud.processes import PROCESSES
from scud.samplers import SAMPLERS
from scud.schedules import Cosine, Linear, MutualInformation
from scud.training.options import ByExamples, ByPositions, ByRows, TrainingOptions

SECTIONS: dict[str, dict[str, Any]] = {**KINDS, "sampler": SAMPLERS}
"""The options of every section by kind, those of samplers among them."""

OPTIONS = [options for kinds in SECTIONS.values() for options in kinds.values()]
TRAINING = [ByExamples, ByRows, ByPositions]
FORMS = [Train, Evaluate, Sample, Infill, Score, SequencesInfillOptions, TextInfillOptions]

BUILT: dict[tuple[str, str], list[Any]] = {
    **{("process", kind): [process] for kind, process in PROCESSES.items()},
    **{("network", kind): [options.network] for kind, options in NETWORKS.items()},
    ("schedule", "mutual_information"): [MutualInformation],
    ("schedule", "linear"): [Linear],
    ("schedule", "cosine"): [Cosine],
    ("diffusion", "scud"): [SCUD],
    ("diffusion", "masking"): [Masking],
    ("diffusion", "classical"): [Classical],
    ("data", "images"): [load_images, load_hub_images],
    ("data", "sequences"): [load_sequences, StoreOptions],
    ("data", "text"): [load_text, load_hub_text],
    ("data", "arrays"): [load_arrays],
}
"""What options of a kind are for."""

ELSEWHERE = {("sequences", "valid_share", "StoreOptions")}
"""Parameters of the same name with another meaning by default: a store alone holds nothing out."""


def names(options: type) -> list[str]:
    """What options a class has, but for the kind."""
    return [part.name for part in fields(options) if part.name != "kind"]


@pytest.mark.parametrize(
    "options", [Config, *OPTIONS, *TRAINING, *FORMS], ids=lambda options: options.__name__
)
def test_every_option_is_explained(options: type) -> None:
    """By a text below it: more than the name, and a sentence."""
    meanings = texts(options)
    for name in names(options):
        if (options, name) == (Train, "recipe"):
            continue  # the command's own summary says what it is
        assert len(meanings.get(name, "")) > len(name) + 2, f"{options.__name__}.{name}"
        assert meanings[name].rstrip('"')[-1] in ".:", (
            f"{options.__name__}.{name}: {meanings[name]}"
        )
        assert "\n" not in meanings[name]
    assert options.__doc__, options.__name__
    assert set(meanings) <= {part.name for part in fields(options)}


def test_every_section_is_explained() -> None:
    assert set(KINDS) | {"training", *SINGLE} == set(texts(Config))


@pytest.mark.parametrize("section", SECTIONS)
def test_kinds_are_unique_and_those_of_the_registry(section: str) -> None:
    kinds = SECTIONS[section]
    assert [kind_of(options) for options in kinds.values()] == list(kinds)
    assert len(set(kinds.values())) == len(kinds)
    for kind, options in kinds.items():
        assert options().kind == kind
        assert issubclass(options, Options)


@pytest.mark.parametrize(
    ("section", "kind"), [(name, kind) for name, kinds in SECTIONS.items() for kind in kinds]
)
def test_defaults_are_those_of_the_constructor(section: str, kind: str) -> None:
    """Where an option and a parameter of what it configures have one name."""
    options = SECTIONS[section][kind]
    if (section, kind) not in BUILT:
        # An objective and a sampler are their own options; of digits there is nothing to choose.
        assert section in ("objective", "sampler") or not names(options)
        return
    defaults = {part.name: part.default for part in fields(options)}
    shared = 0
    for thing in BUILT[section, kind]:
        for parameter in inspect.signature(thing).parameters.values():
            if parameter.name not in names(options) or parameter.default is parameter.empty:
                continue
            if (kind, parameter.name, thing.__name__) in ELSEWHERE:
                continue
            theirs = parameter.default
            if (kind, parameter.name) == ("blosum62", "frequencies"):
                assert (theirs, defaults[parameter.name]) == (None, "swissprot")
            else:
                assert defaults[parameter.name] == theirs, (
                    f"{options.__name__}.{parameter.name} of {thing.__name__}"
                )
            shared += 1
    has_defaults = {
        "gaussian",
        "blosum62",
        "neighbour_graph",
        *NETWORKS,
        "scud",
        "masking",
        "classical",
    }
    assert shared > 0 or kind not in has_defaults


def test_all_that_is_built_is_compared() -> None:
    assert set(BUILT) == {
        (section, kind)
        for section in ("data", "process", "network", "schedule", "diffusion")
        for kind in KINDS[section]
        if kind != "digits"
    }


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.__name__)
def test_options_have_a_default_each_and_are_frozen(options: Any) -> None:
    made = options()
    assert all(
        part.default is not MISSING or part.default_factory is not MISSING
        for part in fields(options)
    )
    assert hash(made) == hash(options())
    assert made == options()
    with pytest.raises(FrozenInstanceError):
        made.kind = "other"
    with pytest.raises(TypeError):
        options("positional")


def test_options_know_how_to_make_what_they_configure() -> None:
    for section, kinds in SECTIONS.items():
        for options in kinds.values():
            if section == "data":
                assert callable(options.read)
                assert options.modality in MODALITIES.values()
            elif section == "sampler":
                assert callable(options())
            else:
                assert callable(options.build)


@pytest.mark.parametrize("options", TRAINING)
def test_training_options_of_all_data(options: type[TrainingOptions]) -> None:
    assert set(names(TrainingOptions)) < set(names(options))
    assert get_type_hints(options).keys() == texts(options).keys() | {"__pydantic_config__"}


@dataclass(frozen=True, kw_only=True)
class Base(Options):
    """Some options."""

    kind: str = "base"
    """A name."""

    place: Path | None = None
    """Where,
    in two lines."""

    count: int = 1

    def check(self) -> None:
        if self.count < 1:
            raise UserError("count must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Extended(Base):
    """More options."""

    kind: str = "extended"

    count: int = 2
    """How many."""

    def build(self) -> None:
        """Nothing: only its options matter here."""


def test_texts_are_those_below_the_fields_also_of_the_classes_before() -> None:
    assert texts(Base) == {"kind": "A name.", "place": "Where, in two lines."}
    assert texts(Extended) == {
        "kind": "A name.",
        "place": "Where, in two lines.",
        "count": "How many.",
    }


def test_unions_are_registries() -> None:
    assert by_kind(Base | Extended) == {"base": Base, "extended": Extended}
    assert by_kind(Extended) == {"extended": Extended}


def test_options_are_checked_when_they_are_made_and_paths_kept_in_full() -> None:
    with pytest.raises(UserError, match="count must be at least 1"):
        Extended(count=0)
    assert Extended(place=Path("a/../b")).place == Path.cwd() / "b"


class Own(nn.Module):
    """A class of a user's own."""

    def __init__(
        self, num_states: int, dims: tuple[int, ...], width: int = 8, name: str | None = None
    ) -> None:
        super().__init__()
        self.arguments = (num_states, dims, width, name)

    def spec(self) -> dict[str, Any]:
        return {}


class NoSpec(nn.Module):
    """A class that cannot be saved."""


class Needy(Own):
    """A class with an argument that no option can give."""

    def __init__(self, num_states: int, width: int) -> None:
        super().__init__(num_states, (), width)


def test_parameters_of_an_own_class_are_options() -> None:
    """But for those that the data say."""
    name = f"{__name__}:Own"
    options: Any = options_of("network", name)
    assert {part.name: part.default for part in fields(options)} == {
        "width": 8,
        "name": None,
        "kind": name,
    }
    assert options_of("network", name) is options

    class View:
        num_states, dims, label_names = 5, (2, 3), ()

    assert options(width=4).build(View()).arguments == (5, (2, 3), 4, None)


def test_options_of_an_own_class_of_options_are_its_own() -> None:
    options = options_of("schedule", f"{__name__}:Extended")
    assert issubclass(options, Extended)
    assert kind_of(options) == f"{__name__}:Extended"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":", "network.kind must name a class as package.module:Class"),
        (
            "nowhere.at.all:Class",
            "network.kind must name a class as package.module:Class, got nowhere.at.all:Class",
        ),
        (f"{__name__}:Missing", "must name a class as package.module:Class"),
        (f"{__name__}:FORMS", "must name a class as package.module:Class, got .*, which is a list"),
        (f"{__name__}:NoSpec", r"must name a class with spec\(\), .* add `def spec"),
        (
            f"{__name__}:Needy",
            "whose arguments have defaults, but for num_states.*, got .*, which needs width",
        ),
    ],
)
def test_own_classes_that_will_not_do(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        options_of("network", name)

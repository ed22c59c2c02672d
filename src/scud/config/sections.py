"""The configuration of a run: one group of options per section, each with a `kind` that says which group.

Whatever names options (the command line, a YAML file, a dictionary in Python) goes through `changed`: an option of another
kind is refused by name, and a value that breaks a rule is refused by the check that the thing itself makes. A saved
`config.yaml` reproduces the run.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from scud import own
from scud.data import DATA
from scud.diffusion import ClassicalOptions, MaskingOptions, SCUDOptions
from scud.diffusion.objectives import Bound, ObjectiveOptions
from scud.errors import UserError, check_count, check_seed, fail, shown
from scud.networks import DiTOptions, NetworkOptions
from scud.networks.options import SizedOptions
from scud.options import Options, by_kind, kind_of
from scud.processes import ProcessOptions, UniformOptions
from scud.schedules import MutualInformationOptions, ScheduleOptions
from scud.training.options import ByExamples, TrainingOptions, options_for

Section = TypeVar("Section", bound=Options)

KINDS: dict[str, dict[str, Any]] = {
    "data": DATA,
    "process": by_kind(ProcessOptions),
    "schedule": by_kind(ScheduleOptions),
    "diffusion": by_kind(SCUDOptions | MaskingOptions | ClassicalOptions),
    "network": by_kind(NetworkOptions),
    "objective": by_kind(ObjectiveOptions),
}
"""The options of every section by kind. `training` has no kind: its options are those that suit the data."""

SINGLE = ("seed", "init_from", "threads")
"""Options that belong to no section."""

MOVED = {
    "training.flips": "data.flips, of images",
    "training.reconstruction": "objective.kind reconstruction with objective.share",
}
"""Options of version 0.1.0 and their new names."""


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """All options of a run."""

    seed: int = 0
    """What all randomness of training derives from."""

    init_from: Path | None = None
    """Folder of a run whose weights to start from."""

    threads: int | None = None
    """CPU threads to train with, at most one per core; by default a new run on a CPU tries a few steps with one, half and all
    threads, and takes the fastest."""

    data: Any
    """What is modelled."""

    process: Any = field(default_factory=UniformOptions)
    """What noise; None for masking, which has its own."""

    schedule: Any = field(default_factory=MutualInformationOptions)
    """When the noise happens."""

    diffusion: Any = field(default_factory=SCUDOptions)
    """Which model."""

    network: Any = field(default_factory=DiTOptions)
    """The denoiser."""

    objective: Any = field(default_factory=Bound)
    """What training minimises."""

    training: TrainingOptions = field(default_factory=ByExamples)
    """How the network is trained."""

    def check(self) -> None:
        check_seed(self.seed)
        if self.threads is not None:
            check_count("threads", self.threads, 1, "leave it out to have the fastest number taken")
        if self.diffusion.takes_process != (self.process is not None):
            rule = (
                "have options of a process"
                if self.diffusion.takes_process
                else "be None, since masking has its own noise"
            )
            raise fail(
                "process",
                rule,
                self.process,
                "use scud.config.changed(config, {'diffusion.kind': …})",
            )
        suited = options_for(self.data.modality)
        if type(self.training) is not suited:
            rule = f"be {suited.__name__}, which suit {self.data.modality.noun}"
            raise fail(
                "training",
                rule,
                type(self.training).__name__,
                f"use scud.training.{suited.__name__}",
            )


def options_class(section: str, kind: str, named: Collection[str] | None = None) -> type[Options]:
    """The options of a kind, or of a class of the user's own named package.module:Class.

    Args:
        section: of the configuration.
        kind: what is named.
        named: the classes that the user has named, where `kind` comes from a file; None where the user has just named it.

    Raises:
        UserError: no such kind, or the class is not as it should be, or only a file names it.
    """
    if own.is_own(kind):
        if named is not None and kind not in named:
            rule = "be named by you, since a file may not name code"
            remedy = f"add --{section}.kind {kind}"
            if section == "data":
                remedy += f", or --data-kind {kind} to scud evaluate"
            raise fail(f"{section}.kind", rule, f"{kind} in a file alone", remedy)
        return own.options_of(section, kind)
    if kind not in KINDS[section]:
        remedy = "choose one of these, or name a class of your own as package.module:Class"
        raise fail(f"{section}.kind", f"be one of {', '.join(KINDS[section])}", repr(kind), remedy)
    options: type[Options] = KINDS[section][kind]
    return options


def default_config(data: Options) -> Config:
    """The configuration of data for which there is no recipe: SCUD with uniform noise and a transformer."""
    modality = data.modality  # type: ignore[attr-defined]
    return Config(data=data, training=options_for(modality)())


def changed(
    config: Config, values: Mapping[str, Any], named: Collection[str] | None = None
) -> Config:
    """A configuration with other values of some options.

    A section of another kind starts from the defaults of that kind. `network.preset` names a size, in place of the options that
    make it up; those that are given beside it win.

    Args:
        config: what to change.
        values: by name, such as {"process.kind": "gaussian", "process.bandwidth": 0.1, "seed": 3}.
        named: the classes of the user's own that may be imported, where the values come from a file; any where it is None.

    Raises:
        UserError: an option that does not exist or belongs to another kind, or a value that breaks its rule.
    """
    given = nested(values)
    sections: dict[str, Any] = {}
    for name in KINDS:
        if name != "process":
            sections[name] = _changed_section(
                name, getattr(config, name), given.pop(name, {}), named
            )
    takes_process = sections["diffusion"].takes_process
    sections["process"] = _changed_process(
        takes_process, config.process, given.pop("process", {}), named
    )
    suited = options_for(sections["data"].modality)
    training = with_values("training", _carried(config.training, suited), given.pop("training", {}))
    single = {name: given.pop(name, getattr(config, name)) for name in SINGLE}
    if given:
        choices = ", ".join(part.name for part in fields(Config))
        raise UserError(f"{', '.join(given)} is no option; choose from {choices}")
    return _validated("", Config, {**single, **sections, "training": training})


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options by section of options by name: {"process.kind": "uniform"} -> {"process": {"kind": "uniform"}}."""
    sections: dict[str, Any] = {}
    for name, value in values.items():
        section, dot, option = str(name).partition(".")
        given = {option: value} if dot else value
        before = sections.get(section)
        if before is None or given is None:
            sections[section] = before if given is None else given
        elif isinstance(before, Mapping) and isinstance(given, Mapping):
            sections[section] = {**before, **given}
        else:
            rule = "be a value, or a group of options"
            found = f"both {quoted(before)} and {quoted(given)}"
            raise fail(section, rule, found, "give one of them")
    return sections


def _changed_section(
    name: str, base: Options, given: Any, named: Collection[str] | None
) -> Options:
    """Options of a section with some values given, perhaps of another kind."""
    if not isinstance(given, Mapping):
        raise fail(name, "be a group of options", quoted(given), f"write them below {name}:")
    given = dict(given)
    kind = str(given.pop("kind", base.kind))  # type: ignore[attr-defined]
    start = base if kind == base.kind else options_class(name, kind, named)()  # type: ignore[attr-defined]
    preset = given.pop("preset", None)
    if preset is not None:
        if not isinstance(start, SizedOptions):
            raise unknown_option(name, type(start), "preset", preset)
        start = replace(start, **start.sizes(str(preset)))
    return with_values(name, start, given)


def _changed_process(
    takes_process: bool, base: Options | None, given: Any, named: Collection[str] | None
) -> Options | None:
    """The options of the process; None for a model that has noise of its own."""
    if not takes_process:
        if given and not isinstance(given, Mapping):
            raise fail("process", "be left out for masking", given, "masking has its own noise")
        if given:
            name, value = next(iter(given.items()))
            raise fail(
                f"process.{name}", "be left out for masking", value, "masking has its own noise"
            )
        return None
    return _changed_section(
        "process", UniformOptions() if base is None else base, given or {}, named
    )


def _carried(training: TrainingOptions, suited: type[TrainingOptions]) -> TrainingOptions:
    """Options of training that suit other data, with the values of all that both have."""
    if type(training) is suited:
        return training
    names = {part.name for part in fields(suited)}
    return suited(**{name: value for name, value in vars(training).items() if name in names})


def with_values(section: str, start: Section, given: Any) -> Section:
    """Options with some values given; raises `UserError` for a name that is none of theirs, or a value that breaks a rule."""
    if not isinstance(given, Mapping):
        raise fail(section, "be a group of options", quoted(given), f"write them below {section}:")
    if not given:
        return start
    names = [part.name for part in fields(start)]
    for name in given:
        if name not in names:
            raise unknown_option(section, type(start), str(name), given[name])
    return _validated(
        section, type(start), {part: getattr(start, part) for part in names} | dict(given)
    )


def unknown_option(section: str, options: type[Options], name: str, value: object) -> UserError:
    """The error for an option that this kind does not have, naming the kinds that have it."""
    own_names = (
        ", ".join(part.name for part in fields(options) if part.name != "kind") or "no others"
    )
    owners = owners_of(section, name)
    whole = f"{section}.{name}"
    if whole in MOVED:
        return fail(whole, "be given by its new name", value, f"use {MOVED[whole]}")
    if not owners:
        return UserError(f"{section}.{name} is no option; choose from {own_names}")
    if section == "training":
        chosen, where = (
            [kind for kind, other in _training_by_data().items() if other is options],
            "data",
        )
    else:
        chosen, where = [kind_of(options)], section
    rule = f"be left out for {where}.kind {_listed(chosen)}"
    have = "has" if len(chosen) == 1 else "have"
    remedy = f"it is an option of {_listed(owners)}; {_listed(chosen)} {have} {own_names}"
    return fail(f"{section}.{name}", rule, value, remedy)


def _listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def owners_of(section: str, name: str) -> list[str]:
    """The kinds that have an option of this name; of training, the kinds of data that it suits."""
    kinds = _training_by_data() if section == "training" else KINDS[section]
    return [
        kind
        for kind, options in kinds.items()
        if name in {part.name for part in fields(options)}
        or (name == "preset" and issubclass(options, SizedOptions))
    ]


def _training_by_data() -> dict[str, type[Options]]:
    """The options of training by kind of data."""
    return {kind: options_for(data.modality) for kind, data in DATA.items()}


@cache
def _adapter(options: Any) -> TypeAdapter[Any]:
    return TypeAdapter(options)


def _validated(section: str, options: type[Section], values: Mapping[str, Any]) -> Section:
    """Options of these values, types checked; raises `UserError` with one sentence per broken rule."""
    _check_switches(section, options, values)
    try:
        made: Section = _adapter(cast(Hashable, options)).validate_python(dict(values))
    except ValidationError as error:
        raise UserError(
            "; ".join(_sentence(section, dict(problem)) for problem in error.errors())
        ) from None
    return made


def _check_switches(section: str, options: type[Options], values: Mapping[str, Any]) -> None:
    """Raise `UserError` where true or false stands in place of a number: pydantic reads them as 1 and 0."""
    hints = get_type_hints(options)
    for name, value in values.items():
        hint = hints.get(name, Any)
        if isinstance(value, bool) and not {bool, Any} & {hint, *get_args(hint)}:
            whole = f"{section}.{name}" if section else name
            raise fail(whole, "be no switch", value, "write the value itself")


def quoted(value: object) -> str:
    """A value as messages about values of the wrong type show it: a text in quotes, and what is long cut."""
    plain = isinstance(value, int | list | tuple | dict | set)
    return shown(value if plain else repr(value))


def _sentence(section: str, problem: dict[str, Any]) -> str:
    name = ".".join(str(part) for part in (section, *problem["loc"]) if part != "")
    if problem["type"] == "value_error":
        message = str(problem["ctx"]["error"])
        named = not section or message.startswith(f"{section}.")
        return message if named else f"{section}.{message}"
    message = problem["msg"][0].lower() + problem["msg"][1:]
    return f"{name}: {message}, got {quoted(problem['input'])}; correct it, or leave it out"

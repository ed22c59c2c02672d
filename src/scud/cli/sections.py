"""The options of a configuration on the command line: --SECTION.OPTION VALUE.

Which options there are depends on the kinds: those that --SECTION.kind names, or that the recipe has. So kinds are read first,
and the rest is parsed with the options of these kinds alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Annotated, Any, get_type_hints

import tyro

from scud.cli.options import PARSING, described, described_fields, plain_switches
from scud.config import KINDS, MOVED, SINGLE, Config, changed, owners_of, unknown_option
from scud.errors import fail
from scud.networks.options import SizedOptions
from scud.options import Options, kind_of, texts

SECTIONS = (*KINDS, "training")
"""Sections of a configuration, as they are listed."""


@dataclass(frozen=True)
class Parsed:
    """What was asked for on the command line.

    Attributes:
        config: the configuration.
        options: the command's own options.
    """

    config: Config
    options: Any


def parse_config(command: type, config: Config, arguments: Sequence[str], prog: str) -> Parsed:
    """Read the options of a configuration, and a command's own.

    Args:
        command: a dataclass of the command's own options.
        config: what the options that are not given have.
        arguments: of the command line.
        prog: what to call the command in its help.

    Raises:
        UserError: an option of another kind, or a value that breaks its rule.
        SystemExit: status 0 after --help, 2 for an option that does not exist.
    """
    given = dict(_section_arguments(arguments))
    chosen = {name: value for name, value in given.items() if name.endswith((".kind", ".preset"))}
    base = changed(config, chosen)
    sections = {name: getattr(base, name) for name in SECTIONS}
    for name in given:
        _check_belongs(sections, name, given[name], chosen)
    form = _form(command, base, sections)
    values: Any = tyro.cli(
        form,
        args=plain_switches(arguments, _switches(command, sections)),
        prog=prog,
        config=PARSING,
    )
    named = {
        f"{name}.{option}": value
        for name in sections
        for option, value in _given(getattr(values, name, None), sections[name])
    }
    single = {name: getattr(values, name) for name in SINGLE}
    own = {part.name: getattr(values, part.name) for part in fields(command)}
    config = changed(base, {**named, **single})
    share = given.get("data.valid_share")
    if share is not None and getattr(config.data, "valid", None) is not None:
        remedy = "drop one of them"
        raise fail(
            "data.valid_share", "be left out beside data.valid, which is used", share, remedy
        )
    return Parsed(config, command(**own))


def _section_arguments(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Name and value of every argument --SECTION.OPTION, written with underscores."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name.startswith("--") and "." in name:
            follows = "".join(arguments[place + 1 : place + 2])
            if not follows or follows.startswith("--"):  # a switch without a value
                follows = "true"
            yield name.removeprefix("--").replace("-", "_"), value if equals else follows


def _check_belongs(
    sections: Mapping[str, Options | None], name: str, value: str, chosen: Mapping[str, str]
) -> None:
    """Raise `UserError` for an option of another kind than the section's."""
    section, _, option = name.partition(".")
    if section not in sections or name in chosen:
        return
    options = sections[section]
    if options is None:
        raise fail(name, "be left out for masking", value, "masking has its own noise")
    known = name in MOVED or owners_of(section, option)
    if option not in {part.name for part in fields(options)} and known:
        raise unknown_option(section, type(options), option, value)


def _form(command: type, config: Config, sections: Mapping[str, Options | None]) -> type:
    """A dataclass of the command's options and of those of each section."""
    entries = described_fields(command)
    config_texts = texts(Config)
    for name in SINGLE:
        hint = get_type_hints(Config)[name]
        entries.append(
            (name, described(hint, config_texts[name]), field(default=getattr(config, name)))
        )
    for name, options in sections.items():
        if options is not None:
            section = _section_form(name, options)
            entries.append((name, section, field(default_factory=section)))
    return make_dataclass(
        command.__name__, entries, namespace={"__doc__": command.__doc__}, kw_only=True
    )


def _section_form(section: str, options: Options) -> type:
    """A dataclass of a section's options, each with its text and the value that it has if it is not given."""
    hints, meanings = get_type_hints(type(options)), texts(type(options))
    entries: list[Any] = []
    for part in fields(options):
        if part.name == "kind":
            continue
        entries.append(
            (
                part.name,
                described(hints[part.name], meanings.get(part.name)),
                field(default=getattr(options, part.name)),
            )
        )
    if isinstance(options, SizedOptions):
        names = "{" + ",".join(options.presets) + "}"
        text = "A size by name, in place of the options that make it up; those that are given beside it win."
        entries.append(
            (
                "preset",
                Annotated[str | None, tyro.conf.arg(help=text, metavar=names)],
                field(default=None),
            )
        )
    if section in KINDS:
        kinds = "{" + ",".join(KINDS[section]) + "}"
        summary = (type(options).__doc__ or "").split("\n")[0]
        text = f"{summary} Another kind has options of its own; a class of yours is package.module:Class."
        entries.insert(
            0,
            (
                "kind",
                Annotated[str, tyro.conf.arg(help=text, metavar=kinds)],
                field(default=kind_of(type(options))),
            ),
        )
    return make_dataclass(
        section, entries, namespace={"__doc__": type(options).__doc__}, kw_only=True
    )


def _given(values: Any, options: Options | None) -> Iterator[tuple[str, Any]]:
    """Options of a section that differ from what they were before the command line was read."""
    if options is None or values is None:
        return
    for part in fields(options):
        value = getattr(values, part.name)
        if part.name != "kind" and value != getattr(options, part.name):
            yield part.name, value


def _switches(command: type, sections: Mapping[str, Options | None]) -> set[str]:
    """The options that are true or false."""
    own = {name for name, hint in get_type_hints(command).items() if hint is bool}
    for section, options in sections.items():
        hints = {} if options is None else get_type_hints(type(options))
        own |= {f"{section}.{name}" for name, hint in hints.items() if hint is bool}
    return own

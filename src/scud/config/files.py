"""Configurations as files: `config.yaml`, which holds every option of the chosen kinds and reproduces the run."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml

from scud import format_1
from scud.config.sections import (
    KINDS,
    Config,
    changed,
    default_config,
    options_class,
    quoted,
    with_values,
)
from scud.config.strict import MOST_BYTES, parse_yaml
from scud.errors import UserError, fail
from scud.files import read_text, write_text
from scud.options import Options

FORMAT = 2
"""Of `config.yaml`; raised when an older version would misread a file."""


def to_values(config: Config) -> dict[str, Any]:
    """The options as a file holds them: sections of names and plain values, the kind first."""
    values: dict[str, Any] = {}
    for part in fields(config):
        value = getattr(config, part.name)
        values[part.name] = _plain_section(value) if isinstance(value, Options) else _plain(value)
    return values


def _plain_section(options: Options) -> dict[str, Any]:
    plain = {name: _plain(value) for name, value in asdict(options).items()}
    return {"kind": plain.pop("kind"), **plain} if "kind" in plain else plain


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def write_config(path: Path, config: Config) -> None:
    """Write a configuration as YAML."""
    values = {"format": FORMAT, **to_values(config)}
    write_text(path, yaml.safe_dump(values, sort_keys=False))


def read_config(path: Path, named: Collection[str] = ()) -> Config:
    """Read a configuration that `write_config`, version 0.1.0 or a user wrote; options left out have their defaults.

    Args:
        path: the file.
        named: the classes of the user's own, package.module:Class, that the user has named beside the file.

    Raises:
        UserError: no such file, not YAML, a later format, an option that is unknown or breaks its rule, or a class of a user's
            own that only the file names.
    """
    values = _read_values(path)
    with _in_file(path):
        return _from_values(values, named)


def read_data_options(path: Path, named: Collection[str] = ()) -> Any:
    """The options of data in a configuration; arguments and errors as in `read_config`."""
    values = _read_values(path)
    with _in_file(path):
        section = _current(values).get("data")
        if section is None:
            section = {}
        if not isinstance(section, Mapping):
            remedy = "write them below data:"
            raise fail("data", "be a group of options", quoted(section), remedy)
        given = dict(section)
        options = options_class("data", str(given.pop("kind", "digits")), named)
        return with_values("data", options(), given)


def check_is_config(path: Path) -> None:
    """Raise `UserError` unless a file holds sections of a configuration, whatever is in them."""
    values = _read_values(path)
    known = [part.name for part in fields(Config)]
    unknown = [str(name) for name in values if name not in (*known, "format")]
    with _in_file(path):
        if unknown:
            what = ", ".join(unknown)
            raise UserError(f"{what} is no option; choose from {', '.join(known)}")
        if "data" not in values:
            remedy = "choose another --out"
            raise fail("config", "have the section data", "none", remedy)


@contextmanager
def _in_file(path: Path) -> Iterator[None]:
    """Say in which file a mistake is."""
    try:
        yield
    except UserError as error:
        raise UserError(f"in {path}: {error}") from None


def _read_values(path: Path) -> dict[str, Any]:
    """What a file of a configuration holds, whatever it is."""
    remedy = "compare it with the config.yaml of a run"
    text = read_text(path, "a configuration", argument="config", most=MOST_BYTES)
    try:
        values = parse_yaml(text)
    except UserError as error:
        raise fail("config", "be YAML of names and values", f"{path} ({error})", remedy) from error
    if not isinstance(values, dict):
        raise fail("config", "hold sections of options", path, remedy)
    return values


def _current(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a file in today's format."""
    number = values.pop("format", None)
    if number is None and format_1.is_config(values):
        return format_1.upgraded_config(values)
    if number not in (None, FORMAT):
        remedy = "use the version that wrote it"
        raise fail("format", f"be {FORMAT}, the newest that this version reads", number, remedy)
    return values


def _from_values(values: dict[str, Any], named: Collection[str]) -> Config:
    values = _current(values)
    section = values.get("data", {})
    kind = section.get("kind", "digits") if isinstance(section, Mapping) else "digits"
    start = default_config(options_class("data", str(kind), named)())
    if values.get("process", {}) is None:
        del values["process"]
    return changed(start, values, named)


def kinds_of(config: Config) -> list[str]:
    """The kinds of a configuration's sections, by which classes of the user's own are named."""
    sections = [getattr(config, name) for name in KINDS]
    return [section.kind for section in sections if section is not None]


def differences(config: Config, other: Config) -> list[str]:
    """Names of the options in which two configurations differ, such as training.steps."""
    ours, theirs = _flat(to_values(config)), _flat(to_values(other))
    return [
        name for name in {**ours, **theirs} if ours.get(name, _ABSENT) != theirs.get(name, _ABSENT)
    ]


_ABSENT = object()


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= (
            _flat(value, f"{prefix}{name}.")
            if isinstance(value, Mapping)
            else {prefix + name: value}
        )
    return flat

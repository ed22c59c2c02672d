"""Classes of a user's own, reached by name: `package.module:Class`, such as --network.kind mine.networks:Wide.

Such a class is imported only because the user has just named it: files that scud reads keep the name as text, and every command
that needs the class must be given the name again.

A class of options (see `scud.options`) is used as it is. Of any other class, the parameters of the constructor become options,
but for those that the data say: num_states, dims, num_labels and p0.
"""

import inspect
import sys
from collections.abc import Mapping
from dataclasses import field, fields, make_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from scud.errors import UserError, fail
from scud.options import Options
from scud.typing import DataView

SAID_BY_DATA = ("num_states", "dims", "num_labels", "p0")
"""Parameters of constructors that are no options, because the data say them."""


def is_own(kind: str) -> bool:
    """Whether a kind names a class of the user's own."""
    return ":" in kind


def name_of(thing: type) -> str:
    """The name by which `import_class` reaches a class."""
    return f"{thing.__module__}:{thing.__qualname__}"


def import_class(argument: str, name: str) -> type:
    """The class called `package.module:Class`; modules in the working directory are found too.

    Raises:
        UserError: it cannot be imported, or is no class; `argument` is the option that names it.
    """
    rule, remedy = (
        "name a class as package.module:Class",
        "check the spelling, and that Python finds the module",
    )
    module, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        thing: Any = import_module(module)
        for part in attribute.split("."):
            thing = getattr(thing, part)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise fail(argument, rule, f"{name} ({error})", remedy) from error
    if not isinstance(thing, type):
        raise fail(argument, rule, f"{name}, which is a {type(thing).__name__}", remedy)
    return thing


def options_of(section: str, name: str) -> type[Options]:
    """The class of options of a class of the user's own.

    Args:
        section: of the configuration: "network", "process", …
        name: as `import_class` takes it.

    Raises:
        UserError: the class cannot be imported, cannot be saved with a run (it has no `spec()`), or needs an argument that no
            option can give.
    """
    return _options_of(section, name, import_class(f"{section}.kind", name))


@cache
def _options_of(section: str, name: str, thing: type) -> type[Options]:
    """The options of a class, one class of them, so that equal options are equal."""
    argument = f"{section}.kind"
    if issubclass(thing, Options):
        return _named(thing, name)
    if not callable(getattr(thing, "spec", None)):
        rule = "name a class with spec(), which gives the arguments that build it again"
        raise fail(argument, rule, name, "add `def spec(self): return {...}` to it")
    hints = get_type_hints(thing.__init__) if "__init__" in vars(thing) else {}
    parameters = [
        parameter
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.name not in SAID_BY_DATA
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    if needed:
        rule = f"name a class whose arguments have defaults, but for {', '.join(SAID_BY_DATA)}"
        raise fail(
            argument, rule, f"{name}, which needs {', '.join(needed)}", "give these a default"
        )
    declared = [
        (
            parameter.name,
            hints.get(parameter.name, type(parameter.default)),
            field(default=parameter.default),
        )
        for parameter in parameters
        if _is_plain(parameter.default)
    ]

    def build(self: Options, data: DataView) -> Any:
        chosen = {
            part.name: getattr(self, part.name) for part in fields(self) if part.name != "kind"
        }
        return thing(**chosen, **_said(thing, data))

    namespace: dict[str, Any] = {"build": build, "__doc__": inspect.getdoc(thing), "__texts__": {}}
    made = make_dataclass(
        f"{thing.__name__}Options",
        declared,
        bases=(Options,),
        namespace=namespace,
        frozen=True,
        kw_only=True,
    )
    return _named(made, name)


def build_again(argument: str, thing: type, spec: Mapping[str, Any]) -> Any:
    """An object of a user's own class from what its `spec()` gave.

    Raises:
        UserError: the constructor does not take these arguments.
    """
    try:
        return thing(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in spec.items()
                if name != "kind"
            }
        )
    except TypeError as error:
        remedy = "let spec() give the constructor's arguments, or give the class that the run was trained with"
        raise UserError(
            f"{argument} must be built by what its spec() gave, got {error}; {remedy}"
        ) from error


def _named(options: type[Options], name: str) -> type[Options]:
    """The class of options with `kind` the name it is reached by."""
    return make_dataclass(
        options.__name__,
        [("kind", str, field(default=name))],
        bases=(options,),
        namespace={"__texts__": {}},
        frozen=True,
        kw_only=True,
    )


def _is_plain(value: Any) -> bool:
    """Whether a value can be given on the command line and kept in a file."""
    return value is None or isinstance(value, bool | int | float | str | Path)


def _said(thing: type, data: DataView) -> dict[str, Any]:
    """The arguments of a constructor that the data say."""
    taken = inspect.signature(thing).parameters
    known = {"num_states": data.num_states, "dims": data.dims, "num_labels": len(data.label_names)}
    arguments: dict[str, Any] = {name: value for name, value in known.items() if name in taken}
    return arguments | ({"p0": data.p0()} if "p0" in taken else {})

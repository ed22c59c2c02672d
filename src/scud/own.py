"""Classes of a user's own, reached by name: `package.module:Class`, such as --network.kind mine.networks:Wide.

Such a class is imported only because the user has just named it: files that scud reads keep the name as text, and every command
that needs the class must be given the name again.

A class of options (see `scud.options`) is used as it is. Of any other class, the parameters of the constructor become options,
but for those that the data say: num_states, dims, num_labels and p0.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, make_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from torch import nn

from scud.data import Data, Modality
from scud.diffusion import Diffusion
from scud.errors import UserError, fail
from scud.options import Options
from scud.processes import Process
from scud.samplers import Sampler
from scud.schedules import Schedule
from scud.typing import DataView

SAID_BY_DATA = ("num_states", "dims", "num_labels", "p0")
"""Parameters of constructors that are no options, because the data say them."""


@dataclass(frozen=True)
class Sort:
    """What a class must be to be named in a section of a configuration.

    Attributes:
        makes: what its options must make; None: anything that can be called.
        method: of its options, which makes it.
        needs: what else its options must have.
        plain: whether a class of what is made does too, without options.
    """

    makes: type | None
    method: str = "build"
    needs: tuple[str, ...] = ()
    plain: bool = False

    @property
    def rule(self) -> str:
        """What a class must be, in words."""
        members = " and ".join((self.method, *self.needs))
        options = f"a class of options (scud.options.Options) with {members}"
        if not self.plain:
            return f"name {options}"
        made = f"a subclass of {self.makes.__name__}" if self.makes else "one that can be called"
        return f"name a class that is {made}, or {options}"

    def is_made(self, thing: Any) -> bool:
        """Whether an object is what must be made."""
        return callable(thing) if self.makes is None else isinstance(thing, self.makes)

    def suits(self, thing: type) -> bool:
        """Whether a class may be named."""
        if issubclass(thing, Options):
            made = callable(getattr(thing, self.method, None))
            return made and all(hasattr(thing, name) for name in self.needs)
        if not self.plain:
            return False
        if self.makes is None:
            return "__call__" in _names(thing)
        return issubclass(thing, self.makes)


SORTS = {
    "data": Sort(Data, "read", ("modality",)),
    "process": Sort(Process, plain=True),
    "schedule": Sort(Schedule),
    "diffusion": Sort(Diffusion, needs=("takes_process",)),
    "network": Sort(nn.Module, plain=True),
    "objective": Sort(None, plain=True),
}
"""What a class must be, by section."""

OF_COMMANDS: dict[str, type] = {
    "--sampler": Sampler,
    "--modality": Modality,
    "--process": Process,
    "--network": nn.Module,
}
"""What a class named by an option of a command must be a subclass of."""


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
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise fail(argument, rule, f"{name} ({_what(error)})", remedy) from error
    if not isinstance(thing, type):
        raise fail(argument, rule, f"{name}, which is a {type(thing).__name__}", remedy)
    wanted = OF_COMMANDS.get(argument)
    if wanted is not None:
        check_subclass(argument, thing, wanted)
    return thing


def check_subclass(argument: str, thing: type, wanted: type) -> None:
    """Raise `UserError` unless a class can make objects that are `wanted`."""
    rule = f"name a subclass of {wanted.__name__}"
    if not (isinstance(thing, type) and issubclass(thing, wanted)):
        raise fail(argument, rule, thing, "docs/extending.md shows one")
    if inspect.isabstract(thing):
        lacking = ", ".join(sorted(getattr(thing, "__abstractmethods__", ())))
        what = f"{name_of(thing)}, which lacks {lacking}"
        raise fail(argument, f"{rule} that is complete", what, "write these methods")


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
    argument, sort = f"{section}.kind", SORTS[section]
    if not sort.suits(thing):
        raise fail(argument, sort.rule, name, "docs/extending.md shows a class of each sort")
    if issubclass(thing, Options):
        return _checked_options(section, name, thing)
    if section != "objective" and not callable(getattr(thing, "spec", None)):
        rule = "name a class with spec(), which gives the arguments that build it again"
        raise fail(argument, rule, name, "add `def spec(self): return {...}` to it")
    try:
        hints = get_type_hints(thing.__init__) if "__init__" in vars(thing) else {}
        parameters = _free_parameters(section, thing)
    except Exception as error:  # annotations are a user's code
        rule = "name a class whose constructor can be read"
        remedy = "correct its annotations"
        raise fail(argument, rule, f"{name} ({_what(error)})", remedy) from error
    needed = [parameter.name for parameter in parameters if parameter.default is parameter.empty]
    if needed:
        said = "" if section == "objective" else f", but for {', '.join(SAID_BY_DATA)}"
        rule, what = "name a class whose arguments have defaults", ", ".join(needed)
        raise fail(argument, rule + said, f"{name}, which needs {what}", "give these a default")
    declared = [
        (
            parameter.name,
            hints.get(parameter.name, type(parameter.default)),
            field(default=parameter.default),
        )
        for parameter in parameters
        if _is_plain(parameter.default)
    ]

    def build(self: Options, *data: DataView) -> Any:
        chosen = {
            part.name: getattr(self, part.name) for part in fields(self) if part.name != "kind"
        }
        said = _said(thing, data[0]) if data else {}
        return thing(**chosen, **said)

    namespace: dict[str, Any] = {"build": build, "__doc__": inspect.getdoc(thing), "__texts__": {}}
    made = make_dataclass(
        f"{thing.__name__}Options",
        declared,
        bases=(Options,),
        namespace=namespace,
        frozen=True,
        kw_only=True,
    )
    return _checked_options(section, name, made)


def _free_parameters(section: str, thing: type) -> list[inspect.Parameter]:
    """The parameters of a constructor that become options: those that the data do not say."""
    said = () if section == "objective" else SAID_BY_DATA
    return [
        parameter
        for parameter in inspect.signature(thing).parameters.values()
        if parameter.name not in said
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


def build_again(argument: str, thing: type, spec: Mapping[str, Any]) -> Any:
    """An object of a user's own class from what its `spec()` gave.

    Raises:
        UserError: the constructor does not take these arguments, or does not make what it should.
    """
    arguments = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in spec.items()
        if name != "kind"
    }
    try:
        made = thing(**arguments)
    except UserError:
        raise
    except Exception as error:  # a user's constructor may raise anything
        name = getattr(thing, "__qualname__", repr(thing))
        remedy = (
            "let spec() give the constructor's arguments, "
            "or give the class that the run was trained with"
        )
        raise UserError(
            f"{argument} must be built by what its spec() gave, got {_what(error)} "
            f"from {name}; {remedy}"
        ) from error
    _check_made(argument, argument, str(thing), made)
    return made


def _checked_options(section: str, name: str, options: type[Options]) -> type[Options]:
    """The class of options under its name, which checks what it makes."""
    from pydantic import TypeAdapter  # here, because the library works without it

    argument, sort = f"{section}.kind", SORTS[section]
    needed = [
        part.name
        for part in fields(options)
        if part.name != "kind" and part.default is MISSING and part.default_factory is MISSING
    ]
    if needed:
        rule, what = "name options that have defaults", ", ".join(needed)
        raise fail(argument, rule, f"{name}, which needs {what}", "give these a default")
    if section == "data":
        check_subclass(f"{argument}: its modality", options.modality, Modality)  # type: ignore[attr-defined]
    try:
        named = _named(options, name, {sort.method: _checked_method(section, name, options)})
        TypeAdapter(named)
    except Exception as error:  # annotations and defaults are a user's code
        rule = "name options of plain types"
        remedy = "use bool, int, float, str and Path"
        raise fail(argument, rule, f"{name} ({_what(error)})", remedy) from error
    return named


def _checked_method(section: str, name: str, options: type[Options]) -> Callable[..., Any]:
    """The method that makes what the options describe, and tells what went wrong."""
    argument, method = f"{section}.kind", SORTS[section].method
    make = getattr(options, method)

    def checked(self: Options, *arguments: Any) -> Any:
        try:
            made = make(self, *arguments)
        except (UserError, OSError):
            raise
        except Exception as error:  # a user's class may raise anything
            rule = f"name a class whose {method} works"
            what = f"{name}, which raised {_what(error)}"
            raise fail(argument, rule, what, "correct the class, or its options") from error
        _check_made(argument, section, name, made)
        return made

    return checked


def _check_made(argument: str, section: str, name: str, made: Any) -> None:
    """Raise `UserError` unless what a class of a user's own made is what its section needs."""
    sort = SORTS[section]
    if not sort.is_made(made):
        wanted = "what can be called" if sort.makes is None else f"a {sort.makes.__name__}"
        what = f"a {type(made).__name__} from {name}"
        raise fail(argument, f"make {wanted}", what, "docs/extending.md shows a class of each sort")


def _named(options: type[Options], name: str, methods: Mapping[str, Any]) -> type[Options]:
    """The class of options with `kind` the name it is reached by, and other methods."""
    return make_dataclass(
        options.__name__,
        [("kind", str, field(default=name))],
        bases=(options,),
        namespace={"__texts__": {}, **methods},
        frozen=True,
        kw_only=True,
    )


def _names(thing: type) -> set[str]:
    """What a class and its bases define."""
    return {name for base in thing.__mro__ for name in vars(base)}


def _what(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}"


def _is_plain(value: Any) -> bool:
    """Whether a value can be given on the command line and kept in a file."""
    return value is None or isinstance(value, bool | int | float | str | Path)


def _said(thing: type, data: DataView) -> dict[str, Any]:
    """The arguments of a constructor that the data say."""
    taken = inspect.signature(thing).parameters
    known = {"num_states": data.num_states, "dims": data.dims, "num_labels": len(data.label_names)}
    arguments: dict[str, Any] = {name: value for name, value in known.items() if name in taken}
    return arguments | ({"p0": data.p0()} if "p0" in taken else {})

"""What commands share: reading options, loading the run that they are about, and showing how far they are."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_type_hints

import tyro

from scud.errors import check_count, check_seed, fail, printable, shown
from scud.options import texts

if TYPE_CHECKING:
    from scud.ranks import Ranks
    from scud.runs import Run

Form = TypeVar("Form")

Split = Literal["train", "valid", "test"]

DIGITS = 18
"""Of the numbers of a range: more make no number that a computer counts with."""

PARSING = (tyro.conf.FlagConversionOff, tyro.conf.HelptextFromCommentsOff)
"""Switches are read here, and each option has its text: tyro need not search the source for one."""

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
"""What a switch may be set to."""


@dataclass(frozen=True, kw_only=True)
class OfRun:
    """Options of every command about a run."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Folder of the run."""

    seed: int = 0
    """Of all noise."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""

    devices: int | Literal["auto"] = 1
    """Processes that share out the work, one for each GPU; auto takes all GPUs that there are. What is found does not depend on
    how many they are."""

    network: str | None = None
    """package.module:Class of the network, of a run that was trained with a class of your own."""

    process: str | None = None
    """package.module:Class of the process, of a run that was trained with a class of your own."""

    modality: str | None = None
    """package.module:Class of the modality, of a run on a kind of data of your own."""


def parse(form: type[Form], command: str, arguments: Sequence[str]) -> Form:
    """Read a command's options into a dataclass; exits with status 2 and a message when they make no sense."""
    parsed: Form = parse_together([form], command, arguments)[0]
    return parsed


def parse_together(forms: Sequence[type], command: str, arguments: Sequence[str]) -> list[Any]:
    """Read options that stand in several dataclasses, the first of which is the command's own."""
    entries = [entry for form in forms for entry in described_fields(form)]
    together = make_dataclass(
        forms[0].__name__, entries, namespace={"__doc__": forms[0].__doc__}, kw_only=True
    )
    switches = {
        name
        for form in forms
        for name, hint in get_type_hints(form).items()
        if hint in (bool, bool | None)
    }
    plain = plain_switches(arguments, switches)
    values: Any = tyro.cli(together, args=plain, prog=f"scud {command}", config=PARSING)
    parsed = [
        form(**{part.name: at_home(part.name, getattr(values, part.name)) for part in fields(form)})
        for form in forms
    ]
    for options in parsed:
        if isinstance(options, OfRun):
            check_seed(options.seed)
            if options.devices != "auto":
                check_count("devices", options.devices, 1, "write auto for all GPUs")
    return parsed


def at_home(name: str, value: Any) -> Any:
    """The value of an option; of a path that begins with ~, that in the home folder.

    Raises:
        UserError: there is no such home folder.
    """
    if not isinstance(value, Path):
        return value
    try:
        return value.expanduser()
    except RuntimeError as error:
        remedy = "write the path from the root, or ./~ for a folder of that name"
        raise fail(name, "begin with a home folder that exists", value, remedy) from error


def described_fields(form: type) -> list[Any]:
    """The fields of a dataclass as `make_dataclass` takes them, each with the text below it as its help."""
    hints, meanings = get_type_hints(form, include_extras=True), texts(form)
    return [
        (part.name, described(hints[part.name], meanings.get(part.name)), part)
        for part in fields(form)
    ]


def described(hint: Any, text: str | None) -> Any:
    """A type with what an option of it means."""
    return hint if text is None else Annotated[hint, tyro.conf.arg(help=text)]


def plain_switches(arguments: Sequence[str], switches: set[str]) -> list[str]:
    """The arguments with every switch set to True or False: `--network.labels`, `--network.labels true` and `=true` are one."""
    plain: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        option = name.removeprefix("--").replace("-", "_")
        if not name.startswith("--") or option not in switches:
            plain.append(argument)
            continue
        if not equals:
            value = rest.pop(0) if rest and not rest[0].startswith("-") else "true"
        if value.lower() not in TRUTH:
            remedy = f"write {name} true; what stands alone goes before the options"
            raise fail(name, "be true or false", repr(value), remedy)
        plain += [name, str(TRUTH[value.lower()])]
    return plain


def load_run(options: OfRun, ranks: "Ranks") -> "Run":
    """The run that a command is about, on the device of this process, with the classes of the user's own that were named."""
    from scud import own, runs

    named = {name: getattr(options, name) for name in ("network", "process", "modality")}
    classes: dict[str, Any] = {
        name: own.import_class(f"--{name}", text)
        for name, text in named.items()
        if text is not None
    }
    run = runs.load(options.run, ranks.place(runs.resolve_device(options.device)), **classes)
    if not run.checked and ranks.writes:
        lacks = (
            "which kept no checksum of it and no digest of its data: changes of these go unnoticed"
        )
        print(
            printable(f"the model in {options.run} is of version 0.1.0, {lacks}"), file=sys.stderr
        )
    return run


def check_counts(options: Any, *names: str) -> None:
    """Raise `UserError` unless these options, where they are given, are at least 1."""
    for name in names:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise fail(
                name, "be at least 1", getattr(options, name), "leave it out for the default"
            )


def say(text: str) -> None:
    """Print a line, without the control characters that names in it may have."""
    print(printable(text))


@contextmanager
def progress_bar(what: str, *, shown: bool) -> Iterator[Callable[[float], None]]:
    """A bar on standard error, where that is a terminal; within the context, what is called with the share done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, disable=not (shown and console.is_terminal)) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def parse_range(argument: str, text: str) -> tuple[int, int]:
    """First and last number of a range "80-120", or of a single number "100".

    Raises:
        UserError: the text is neither.
    """
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not (first.isdecimal() and last.isdecimal()):
        raise fail(
            argument,
            "be a number or a range of them",
            repr(shown(text)),
            "write it as 100 or 80-120",
        )
    if max(len(first), len(last)) > DIGITS:
        raise fail(argument, f"have at most {DIGITS} digits", text, "give a length such as 100")
    return int(first), int(last)

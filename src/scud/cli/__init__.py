"""The command line: one file per command, loaded when it is called.

A package adds a command of its own by an entry point in the group "scud.commands": its name, and the module whose
`main(arguments)` runs it, or `module:function` for another function.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from scud.cli.endings import of_size, on_signals, status_of, too_large
from scud.cli.places import settle
from scud.cli.streams import guarded
from scud.errors import UserError, printable, shown

COMMANDS = {
    "train": "train a model by a recipe or a saved config.yaml",
    "evaluate": "bound the likelihood of held-out data, in bits or perplexity, with its uncertainty",
    "sample": "draw examples: pictures, sequences as FASTA, text, or arrays",
    "infill": "redesign parts of sequences, or fill gaps in a text, given the rest",
    "score": "bound the log-likelihood of sequences, or compare variants with a wild type",
    "scan": "compare all variants of one mutation with a wild type: a table and a heat map",
}

GROUP = "scud.commands"
"""Of the entry points by which packages add commands."""

USAGE = """usage: scud COMMAND [OPTIONS]

Discrete diffusion models of categorical data, conditioned on the jump schedule.

commands:
{commands}

`scud COMMAND --help` explains every option; `scud --version` says which version this is. Start with: scud train digits"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status.

    That is 0, 2 for a mistake in what was asked for, 128 + N where signal N ended it (130 for Ctrl-C), 141 where nobody read
    what it printed, and 1 where that could not be written. In the last two cases all files are written.
    """
    with guarded() as outlets:
        try:
            status = run([*(sys.argv[1:] if arguments is None else arguments)])
        except SystemExit as stopped:  # after --help, and for an option that does not exist
            code = stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
            raise SystemExit(outlets.status(code)) from None
        return outlets.status(status)


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit status, but for what becomes of its output."""
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command == "--version":
        from scud import __version__

        print(f"scud {__version__}")
        return 0
    others = {} if command in COMMANDS else added()
    if command not in COMMANDS and command not in others:
        names = ", ".join([*COMMANDS, *others])
        print(f"scud: no command {shown(command)!r}; choose from {names}", file=sys.stderr)
        return 2
    settle()
    # Training waits for the step at hand before it ends; commands of other packages do as they like.
    ends = nullcontext() if command == "train" or command in others else on_signals()
    try:
        with ends:
            function = load(others[command]) if command in others else built_in(command)
            function(rest)
    except KeyboardInterrupt as interrupt:
        tell(command, f"interrupted{interrupt}")
        return status_of(interrupt)
    except (UserError, OSError) as error:
        tell(command, str(error))
        return 2
    except (MemoryError, RuntimeError) as error:
        if not too_large(error):
            raise
        tell(command, str(of_size(error, rest)))
        return 2
    return 0


def tell(command: str, message: str) -> None:
    """Say how a command ended."""
    print(f"scud {command}: {printable(message)}", file=sys.stderr)


def added() -> dict[str, EntryPoint]:
    """The commands of other packages, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in COMMANDS}


def built_in(command: str) -> Callable[[Sequence[str]], Any]:
    """What runs a command of scud's own."""
    function: Callable[[Sequence[str]], Any] = import_module(f"scud.cli.{command}").main
    return function


def load(entry: EntryPoint) -> Callable[[Sequence[str]], Any]:
    """What runs a command of another package.

    Raises:
        UserError: it cannot be loaded.
    """
    try:
        found: Any = import_module(entry.module)
        for name in (entry.attr or "main").split("."):
            found = getattr(found, name)
    except (Exception, SystemExit) as error:  # the module of another package may raise anything
        raise broken(f"{type(error).__name__}: {error}") from error
    if not callable(found):
        raise broken(f"{entry.value} is no function")
    function: Callable[[Sequence[str]], Any] = found
    return function


def broken(what: str) -> UserError:
    """The error of a command that cannot be loaded."""
    return UserError(f"the package that adds this command is broken ({what})")


def usage() -> str:
    """What `scud --help` prints."""
    lines = [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    lines += [f"  {name:<10}of {entry.value}" for name, entry in added().items()]
    return USAGE.format(commands="\n".join(lines))

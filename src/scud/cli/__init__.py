"""The command line: one file per command, loaded when it is called.

A package adds a command of its own by an entry point in the group "scud.commands": its name, and the module whose
`main(arguments)` runs it, or `module:function` for another function.
"""

import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from scud.errors import UserError

COMMANDS = {
    "train": "train a model by a recipe or a saved config.yaml",
    "evaluate": "bound the likelihood of held-out data, in bits or perplexity, with its uncertainty",
    "sample": "draw examples: pictures, sequences as FASTA, text, or arrays",
    "infill": "redesign parts of sequences, or fill gaps in a text, given the rest",
    "score": "bound the log-likelihood of sequences, or compare variants with a wild type",
}

GROUP = "scud.commands"
"""Of the entry points by which packages add commands."""

USAGE = """usage: scud COMMAND [OPTIONS]

Discrete diffusion models of categorical data, conditioned on the jump schedule.

commands:
{commands}

`scud COMMAND --help` explains every option; `scud --version` says which version this is. Start with: scud train digits"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status: 0, 2 for a mistake in what was asked for, 130 when interrupted."""
    command, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if command in ("-h", "--help"):
        print(usage())
        return 0
    if command == "--version":
        from scud import __version__

        print(f"scud {__version__}")
        return 0
    others = {} if command in COMMANDS else added()
    if command not in COMMANDS and command not in others:
        print(
            f"scud: no command {command!r}; choose from {', '.join([*COMMANDS, *added()])}",
            file=sys.stderr,
        )
        return 2
    try:
        run = load(others[command]) if command in others else built_in(command)
        run(rest)
    except (UserError, OSError) as error:
        print(f"scud {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"scud {command}: interrupted{interrupt}", file=sys.stderr)
        return 128 + getattr(interrupt, "signum", signal.SIGINT)
    return 0


def added() -> dict[str, EntryPoint]:
    """The commands of other packages, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in COMMANDS}


def built_in(command: str) -> Callable[[Sequence[str]], Any]:
    """What runs a command of scud's own."""
    run: Callable[[Sequence[str]], Any] = import_module(f"scud.cli.{command}").main
    return run


def load(entry: EntryPoint) -> Callable[[Sequence[str]], Any]:
    """What runs a command of another package.

    Raises:
        UserError: it cannot be loaded.
    """
    try:
        run: Any = import_module(entry.module)
        for name in (entry.attr or "main").split("."):
            run = getattr(run, name)
    except (Exception, SystemExit) as error:  # the module of another package may raise anything
        raise broken(f"{type(error).__name__}: {error}") from error
    if not callable(run):
        raise broken(f"{entry.value} is no function")
    function: Callable[[Sequence[str]], Any] = run
    return function


def broken(what: str) -> UserError:
    """The error of a command that cannot be loaded."""
    return UserError(f"the package that adds this command is broken ({what})")


def usage() -> str:
    """What `scud --help` prints."""
    lines = [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    lines += [f"  {name:<10}of {entry.value}" for name, entry in added().items()]
    return USAGE.format(commands="\n".join(lines))

"""The command line: one file per command, loaded when it is called.

A package adds a command of its own by an entry point in the group "scud.commands": its name, and the module whose
`main(arguments)` runs it.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

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
    module = find(command)
    if module is None:
        print(
            f"scud: no command {command!r}; choose from {', '.join([*COMMANDS, *added()])}",
            file=sys.stderr,
        )
        return 2
    try:
        module.main(rest)
    except (UserError, OSError) as error:
        print(f"scud {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"scud {command}: interrupted{interrupt}", file=sys.stderr)
        return 130
    return 0


def added() -> dict[str, EntryPoint]:
    """The commands of other packages, by name."""
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in COMMANDS}


def find(command: str) -> ModuleType | None:
    """The module of a command, or None if there is none of that name."""
    if command in COMMANDS:
        return import_module(f"scud.cli.{command}")
    others = added()
    return import_module(others[command].module) if command in others else None


def usage() -> str:
    """What `scud --help` prints."""
    lines = [f"  {name:<10}{text}" for name, text in COMMANDS.items()]
    lines += [f"  {name:<10}of {entry.module}" for name, entry in added().items()]
    return USAGE.format(commands="\n".join(lines))

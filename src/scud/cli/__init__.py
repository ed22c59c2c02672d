"""The command line: one file per command, loaded when it is called."""

import sys
from collections.abc import Sequence
from importlib import import_module

from scud.errors import UserError

COMMANDS = {
    "train": "train a model by a recipe or a saved config.yaml",
    "evaluate": "bound the likelihood of held-out data, in bits or perplexity, with its uncertainty",
    "sample": "draw examples: pictures, sequences as FASTA, or text",
    "infill": "redesign parts of sequences, or fill gaps in a text, given the rest",
    "score": "bound the log-likelihood of sequences, or compare variants with a wild type",
}

USAGE = """usage: scud COMMAND [OPTIONS]

Discrete diffusion models of categorical data, conditioned on the jump schedule.

commands:
{commands}

`scud COMMAND --help` explains every option. Start with: scud train digits"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit status: 0, 2 for a mistake in what was asked for, 130 when interrupted."""
    command, *rest = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if command in ("-h", "--help"):
        print(USAGE.format(commands="\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())))
        return 0
    if command not in COMMANDS:
        print(f"scud: no command {command!r}; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        import_module(f"scud.cli.{command}").main(rest)
    except (UserError, OSError) as error:
        print(f"scud {command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"scud {command}: interrupted{interrupt}", file=sys.stderr)
        return 130
    return 0

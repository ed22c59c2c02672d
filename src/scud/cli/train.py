"""scud train: a recipe, a saved config.yaml or a kind of data, with other options, to a run folder."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scud.cli.options import say
from scud.cli.sections import parse_config
from scud.config import Config, default_config, options_class, read_config
from scud.errors import Interrupted, fail
from scud.files import absolute, is_file
from scud.files.opening import expanded
from scud.recipes import RECIPES


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train a model by a recipe or a saved config.yaml, into a run folder.

    The folder holds config.yaml (which reproduces the run), metrics.csv, curves.png, checkpoints/ (to resume) and
    model/ (to evaluate, sample and load). Ctrl-C stops after the step at hand; --resume continues bit for bit.
    The defaults shown, and the options listed, are those of the recipe and the kinds that are chosen.
    """

    recipe: Annotated[
        tyro.conf.Positional[str],
        tyro.conf.arg(
            metavar="RECIPE",
            help=f"{', '.join(RECIPES)}, or a saved config.yaml; left out where --data.kind is given.",
        ),
    ] = ""

    out: Path | None = None
    """Folder of the run; runs/RECIPE by default."""

    resume: bool = False
    """Continue the run in the folder, from its last checkpoint."""

    overwrite: bool = False
    """Replace the run in the folder."""

    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda or cuda:N."""


def main(arguments: Sequence[str]) -> None:
    """Run the command."""
    name = arguments[0] if arguments and not arguments[0].startswith("-") else None
    parsed = parse_config(Train, starting_point(name, arguments), arguments, "scud train")
    options: Train = parsed.options
    if name is None and (options.recipe or not gives(arguments, "--data.kind")):
        remedy = (
            "write `scud train RECIPE` first and options after it; "
            f"choose from {', '.join(RECIPES)}"
        )
        what = repr(options.recipe) if options.recipe else "none"
        raise fail("the first argument", "name a recipe or a config.yaml", what, remedy)
    folder = expanded(options.out or default_folder(name or parsed.config.data.kind), "out")

    from scud import experiment
    from scud.training import metrics
    from scud.training.threads import check_threads

    if gives(arguments, "--threads"):
        check_threads(parsed.config.threads)
    try:
        trained = experiment.train(
            parsed.config,
            folder,
            resume=options.resume,
            overwrite=options.overwrite,
            device=options.device,
        )
    except Interrupted as interrupt:
        place = shlex.quote(str(folder))
        hint = f"; continue with: scud train {place}/config.yaml --out {place} --resume"
        raise Interrupted(interrupt.signum, hint) from None
    if trained is None:  # another process of this run says how it went
        return
    final, unit = trained
    loss = metrics.describe_validation(final, unit)
    say(f"wrote {folder}: {final.step} steps, {loss}; model/, curves.png")


def gives(arguments: Sequence[str], option: str) -> bool:
    """Whether an option is given."""
    return any(argument.partition("=")[0] == option for argument in arguments)


def starting_point(name: str | None, arguments: Sequence[str]) -> Config:
    """The configuration of a recipe or in a file; without either, that of a kind of data."""
    if name is not None:
        return find_config(name, named_kinds(arguments))
    for place, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option == "--data.kind":
            kind = value if equals else (arguments[place + 1] if place + 1 < len(arguments) else "")
            return default_config(options_class("data", kind)())
    return RECIPES["digits"]()


def named_kinds(arguments: Sequence[str]) -> list[str]:
    """What every --SECTION.kind names."""
    named = []
    for place, argument in enumerate(arguments):
        option, equals, value = argument.partition("=")
        if option.startswith("--") and option.endswith(".kind"):
            named.append(value if equals else "".join(arguments[place + 1 : place + 2]))
    return named


def find_config(name: str, named: Sequence[str]) -> Config:
    """The configuration of a recipe, or in a file; `named` are the kinds that the user names beside it.

    Raises:
        UserError: neither a recipe nor a file.
    """
    if name in RECIPES:
        return RECIPES[name]()
    if not is_file(Path(name), "the first argument"):
        remedy = "choose one of these, or correct the path"
        raise fail("recipe", f"be one of {', '.join(RECIPES)} or a config.yaml", repr(name), remedy)
    return read_config(Path(name), named)


def default_folder(name: str) -> Path:
    """runs/NAME, NAME being the recipe, the file without its ending, or the folder of a run's config.yaml."""
    path = Path(name)
    return Path("runs") / (absolute(path).parent.name if path.name == "config.yaml" else path.stem)

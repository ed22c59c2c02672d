"""scud train: a recipe or a saved config.yaml, with overrides, to a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scud.cli.options import parse
from scud.config import Config, read_config
from scud.errors import fail
from scud.recipes import RECIPES


@dataclass(frozen=True)
class Train:
    """Train a model by a recipe or a saved config.yaml, into a run folder.

    The folder holds config.yaml (which reproduces the run), metrics.csv, curves.png, checkpoints/ (to resume) and
    model/ (to evaluate, sample and load). Ctrl-C stops after the step at hand; --resume continues bit for bit.
    """

    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """cifar10, digits, fashion_mnist, images, lm1b, proteins, text, text8, or a saved config.yaml.
    The defaults shown are those of the recipe."""

    config: Annotated[Config, tyro.conf.arg(name="")]

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
    default = Train(name or "digits", RECIPES["digits"]() if name is None else find_config(name))
    options = parse(Train, "train", arguments, default)
    if name is None:
        remedy = f"write `scud train RECIPE` first and options after it; choose from {', '.join(RECIPES)}"
        raise fail("the first argument", "name a recipe or a config.yaml", "none", remedy)
    folder = options.out or default_folder(name)

    from scud import experiment  # loads PyTorch, which `scud train --help` does not need
    from scud.training import metrics

    try:
        final = experiment.train(
            options.config, folder, resume=options.resume, overwrite=options.overwrite, device=options.device
        )
    except KeyboardInterrupt:
        hint = f"; continue with: scud train {folder}/config.yaml --out {folder} --resume"
        raise KeyboardInterrupt(hint if (folder / "config.yaml").exists() else "") from None
    assert final.valid_bits_per_dim is not None, "training ends with a validation"
    loss = metrics.describe(final.valid_bits_per_dim, experiment.unit(options.config))
    print(f"wrote {folder}: {final.step} steps, validation {loss}; model/, curves.png")


def find_config(name: str) -> Config:
    """The configuration of a recipe, or in a file.

    Raises:
        UserError: neither a recipe nor a file.
    """
    if name in RECIPES:
        return RECIPES[name]()
    if not Path(name).is_file():
        remedy = "choose one of these, or correct the path"
        raise fail("recipe", f"be one of {', '.join(RECIPES)} or a config.yaml", repr(name), remedy)
    return read_config(Path(name))


def default_folder(name: str) -> Path:
    """runs/NAME, NAME being the recipe, the file without its ending, or the folder of a run's config.yaml."""
    path = Path(name)
    return Path("runs") / (path.resolve().parent.name if path.name == "config.yaml" else path.stem)

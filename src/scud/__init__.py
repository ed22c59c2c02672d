"""scud: discrete diffusion models of categorical data, conditioned on the jump schedule.

The public names are loaded when first used, so that `import scud`, and `scud --help`, do not wait for PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scud.diffusion import SCUD, Classical, Diffusion, Elbo, Masking, Noisy
    from scud.runs import Run, load, save
    from scud.typing import Conditioning, Denoiser

__version__ = "0.1.0"

__all__ = [
    "SCUD",
    "Classical",
    "Conditioning",
    "Denoiser",
    "Diffusion",
    "Elbo",
    "Masking",
    "Noisy",
    "Run",
    "load",
    "save",
]

_HOMES = {
    "scud.diffusion": ("SCUD", "Classical", "Diffusion", "Elbo", "Masking", "Noisy"),
    "scud.runs": ("Run", "load", "save"),
    "scud.typing": ("Conditioning", "Denoiser"),
}

_MODULES = ("data", "diffusion", "evaluation", "networks", "plots", "processes", "samplers", "schedules")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"scud.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'scud' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])

"""scud: discrete diffusion models of categorical data, conditioned on the jump schedule.

    data = scud.Data.of(train=x, valid=y, num_states=32)
    model = scud.SCUD(scud.processes.Uniform(32), p0=data.p0())
    network = scud.networks.DiT(32, dims=data.dims)
    run = scud.fit(model, network, data, "runs/mine", steps=1000)
    print(scud.evaluate(run, data.split("valid")))
    samples = scud.sample(run, 16)

The public names are loaded when first used, so that `import scud`, and `scud --help`, do not wait for PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scud.data import Data
    from scud.diffusion import SCUD, Classical, Diffusion, Elbo, Masking
    from scud.evaluation import Evaluation
    from scud.front import evaluate, fit, sample
    from scud.runs import Run, load, save
    from scud.training.ema import Ema
    from scud.typing import Batch, Conditioning, Denoiser, Given, Noisy

__version__ = "0.2.0.dev0"

__all__ = [
    "SCUD",
    "Batch",
    "Classical",
    "Conditioning",
    "Data",
    "Denoiser",
    "Diffusion",
    "Elbo",
    "Ema",
    "Evaluation",
    "Given",
    "Masking",
    "Noisy",
    "Run",
    "evaluate",
    "fit",
    "load",
    "sample",
    "save",
]

_HOMES = {
    "scud.data": ("Data",),
    "scud.diffusion": ("SCUD", "Classical", "Diffusion", "Elbo", "Masking"),
    "scud.evaluation": ("Evaluation",),
    "scud.front": ("evaluate", "fit", "sample"),
    "scud.runs": ("Run", "load", "save"),
    "scud.training.ema": ("Ema",),
    "scud.typing": ("Batch", "Conditioning", "Denoiser", "Given", "Noisy"),
}

_MODULES = (
    "config",
    "data",
    "diffusion",
    "evaluation",
    "networks",
    "plots",
    "processes",
    "recipes",
    "samplers",
    "schedules",
    "training",
)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"scud.{name}")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'scud' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])

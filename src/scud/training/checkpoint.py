"""Checkpoints: what a run needs to continue as if it had never stopped.

There is no random state among it: seeds derive from the step.
"""

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from scud.diffusion import Diffusion
from scud.errors import fail
from scud.files import replacing


@dataclass(frozen=True)
class Checkpoint:
    """The state of training after a step.

    Attributes:
        step: optimiser steps done.
        network: weights of the network being trained.
        average: moving average of them.
        optimizer: state of the optimiser.
        best: lowest validation loss so far, nats per position.
        seconds: spent training.
        p0: training marginal [B], by which other data are told apart; None in checkpoints of earlier versions.
        process: arguments of the noise, by which other noise is told apart; None in checkpoints of earlier versions.
    """

    step: int
    network: dict[str, Any]
    average: dict[str, Any]
    optimizer: dict[str, Any]
    best: float
    seconds: float
    p0: torch.Tensor | None = None
    process: dict[str, Any] | None = None


def process_arguments(model: Diffusion) -> dict[str, Any]:
    """The arguments of a model's noise; none for masking, which has its own."""
    process = getattr(model, "process", None)
    return {} if process is None else process.spec()


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one at `path`."""
    with replacing(path) as temporary:
        torch.save(vars(checkpoint), temporary)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file can run code.

    Raises:
        UserError: the file is missing, cut short or not a checkpoint.
    """
    if not path.is_file():
        raise fail("checkpoint", "exist", path, "start the run again with --overwrite, or choose another --out")
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (OSError, EOFError, RuntimeError, ValueError, TypeError, KeyError, UnpicklingError) as error:
        remedy = "if best.ckpt beside it is sound, copy it over this file; or start again with --overwrite"
        raise fail("checkpoint", "be a complete checkpoint", f"a damaged file, {path}", remedy) from error

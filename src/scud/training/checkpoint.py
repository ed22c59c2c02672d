"""Checkpoints: what a run needs to continue as if it had never stopped.

There is no random state among it: seeds derive from the step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from scud.diffusion import Diffusion
from scud.errors import fail
from scud.files import writing
from scud.training.job import Job

_SAME_LABELS = "be those that the run was trained on"
_RESTORE_LABELS = "restore the table of labels, or train a new run on the new labels"


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
        labels: what each label is called, by which other tables of labels are told apart; empty
            where the network reads none, None in checkpoints of earlier versions.
        label_counts: how often each occurs in training; None in checkpoints of earlier versions.
    """

    step: int
    network: dict[str, Any]
    average: dict[str, Any]
    optimizer: dict[str, Any]
    best: float
    seconds: float
    p0: torch.Tensor | None = None
    process: dict[str, Any] | None = None
    labels: list[str] | None = None
    label_counts: list[int] | None = None


def process_arguments(model: Diffusion) -> dict[str, Any]:
    """The arguments of a model's noise; none for masking, which has its own."""
    process = getattr(model, "process", None)
    return {} if process is None else process.spec()


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one at `path`."""
    with writing(path) as file:
        torch.save(vars(checkpoint), file)


def read(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file can run code.

    Raises:
        UserError: the file is missing, cut short or not a checkpoint.
    """
    if not path.is_file():
        raise fail(
            "checkpoint",
            "exist",
            path,
            "start the run again with --overwrite, or choose another --out",
        )
    try:
        return Checkpoint(**torch.load(path, map_location="cpu", weights_only=True))
    except (
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        TypeError,
        KeyError,
        UnpicklingError,
    ) as error:
        remedy = "if best.ckpt beside it is sound, copy it over this file; or start again with --overwrite"
        raise fail(
            "checkpoint", "be a complete checkpoint", f"a damaged file, {path}", remedy
        ) from error


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Copy weights into a network of the same architecture; `origin` is where they come from, for the message.

    Raises:
        UserError: naming the first layer that differs.
    """
    state = network.state_dict()
    for name in [*state, *weights]:
        ours, theirs = (
            list(part[name].shape) if name in part else "no such layer" for part in (state, weights)
        )
        if ours != theirs:
            remedy = (
                "give the network and data the options that the saved model has (see its config)"
            )
            raise fail(
                f"layer {name}",
                f"have the shape of this network's, {ours}",
                f"{theirs} in {origin}",
                remedy,
            )
    network.load_state_dict(dict(weights))


def check_continues(start: Checkpoint, path: Path, job: Job, data: str) -> None:
    """Raise `UserError` unless training can go on from a checkpoint.

    Its weights must fit the network and its optimiser be whole, and the data (called `data` in
    messages), the labels and the noise must be those that the run was trained on: their files may
    have changed.
    """
    if set(start.optimizer) != {"state", "param_groups"}:
        remedy = "if best.ckpt beside it is sound, copy it over this file; or start again with --overwrite"
        raise fail("checkpoint", "hold the optimiser's state", path, remedy)
    for weights in (start.network, start.average):
        load_weights(job.network, weights, str(path))
    if start.p0 is not None:
        check_same_data(job.model.p0, start.p0, data)
    if start.process is not None:
        check_same_noise(job.model, start.process)
    if start.labels is not None:
        check_same_labels(job.label_names, start.labels)
    if start.label_counts is not None and job.label_counts != start.label_counts:
        count = sum(
            one != other for one, other in zip(job.label_counts, start.label_counts, strict=False)
        )
        found = f"other numbers of examples of {count} of {len(start.label_counts)} labels"
        raise fail("labels", _SAME_LABELS, found, _RESTORE_LABELS)


def check_same_data(ours: Tensor, p0: Tensor, data: str) -> None:
    """Raise `UserError` unless training data have the marginal p0 [B] of those that a run was trained on."""
    if ours.shape != p0.shape or not torch.allclose(ours.cpu(), p0.cpu(), rtol=1e-12, atol=0):
        remedy = "restore the data file, and vocabulary, that the run was trained on, or train a new run on the new data"
        raise fail("data", "be those that the run was trained on", f"another {data}", remedy)


def check_same_labels(ours: Sequence[str], names: Sequence[str]) -> None:
    """Raise `UserError` unless labels are called as those of a run, in the same order."""
    if list(ours) == list(names):
        return
    new = [name for name in ours if name not in names]
    lost = [name for name in names if name not in ours]
    parts = [f"{', '.join(new[:10])}, which it does not know"] if new else []
    parts += [f"no {', '.join(lost[:10])}"] if lost else []
    found = " and ".join(parts) or f"another order, {', '.join(ours[:10])}"
    raise fail("labels", _SAME_LABELS, found, _RESTORE_LABELS)


def check_same_noise(model: Diffusion, arguments: Mapping[str, Any]) -> None:
    """Raise `UserError` unless a model's noise has these arguments."""
    ours = process_arguments(model)
    changed = [name for name in ours if not _alike(ours[name], arguments.get(name))]
    if changed:
        remedy = "restore the file it was read from, or train a new run"
        raise fail(
            "the noise",
            "be that which the run was trained on",
            f"other {', '.join(changed)}",
            remedy,
        )


def _alike(one: Any, other: Any) -> bool:
    """Whether two arguments are the same, numbers of tensors up to rounding."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return bool(one == other) if type(one) is type(other) else False
    return one.shape == other.shape and torch.allclose(
        one.double(), other.double(), rtol=1e-5, atol=0
    )

"""Checkpoints: what a run needs to continue as if it had never stopped.

There is no random state among it: seeds derive from the step.
"""

import io
import math
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scud.diffusion import Diffusion
from scud.errors import UserError, fail
from scud.files import is_file, writing
from scud.training import shards
from scud.training.job import Job
from scud.training.metrics import MEASURED, Metrics
from scud.training.stream import order_version

_RESTORE_DATA = "restore the data file, and vocabulary, that the run was trained on, or train a new run on the new data"
_DEEPEST, _MOST_PARTS = 6, 1_000_000
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
        digests: of the content of the training and validation data, by which changed files are told; None in
            checkpoints of earlier versions, empty for data that have none.
        multiple: of how many examples every batch of examples of different length is, fixed when the run began; None in
            checkpoints of earlier versions, where it is the number of accumulation steps.
        row: what `Metrics.measured` says of the step; None in checkpoints of earlier versions.
        order: version of the order in which training takes examples (see `order_version`); 1 in checkpoints of earlier
            versions.
        shards: where the tensors are that several processes have written beside the file; `read` puts them together.
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
    digests: dict[str, str] | None = None
    multiple: int | None = None
    row: dict[str, float | None] | None = None
    order: int = 1
    shards: dict[str, Any] | None = None

    @property
    def metrics(self) -> Metrics | None:
        """The row of metrics of the step, if it is known."""
        if self.row is None:
            return None
        values: dict[str, Any] = self.row
        return Metrics(step=self.step, seconds=round(self.seconds, 3), **values)


def process_arguments(model: Diffusion) -> dict[str, Any]:
    """The arguments of a model's noise; none for masking, which has its own."""
    process = getattr(model, "process", None)
    return {} if process is None else process.spec()


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint in place of the one at `path`."""
    content = io.BytesIO()  # PyTorch hides what the disk refuses behind errors of its own
    torch.save(vars(checkpoint), content)
    with writing(path) as file:
        file.write(content.getbuffer())


def write_shards(checkpoints: Path, state: Checkpoint) -> Checkpoint:
    """Write the tensors of a checkpoint as `shards.write` does, by all processes; the checkpoint that says where they are."""
    parts = shards.Parts(state.network, state.average, state.optimizer["state"])
    note = shards.write(checkpoints, state.step, parts)
    optimizer = {**state.optimizer, "state": {}}
    return replace(state, network={}, average={}, optimizer=optimizer, shards=note)


def _put_together(path: Path, state: Checkpoint) -> Checkpoint:
    """A checkpoint with the tensors that it says are elsewhere."""
    if state.shards is None:
        return state
    wrong = shards.what_is_wrong(path.parent, state.shards)
    if wrong is not None:
        raise _damaged(path, wrong)
    network, average, moments = shards.read(path.parent, state.shards)
    optimizer = {**state.optimizer, "state": moments}
    return replace(state, network=network, average=average, optimizer=optimizer, shards=None)


def write_best_again(path: Path, last_path: Path, last: Checkpoint) -> None:
    """Write the best checkpoint that was lost, where it is the last one; elsewhere say that it is lost."""
    valid = None if last.metrics is None else last.metrics.valid_bits_per_dim
    if valid is not None and math.isclose(valid * math.log(2), last.best, rel_tol=1e-12):
        with writing(path) as file:
            file.write(last_path.read_bytes())
    elif math.isfinite(last.best):
        warnings.warn(
            f"{path} was lost, and is not that of the last step: it stays lost", stacklevel=2
        )


def read(path: Path) -> Checkpoint:
    """Read a checkpoint; nothing in the file can run code.

    Raises:
        UserError: the file is missing, cut short, damaged or not a checkpoint.
    """
    if not is_file(path, "checkpoint"):
        remedy = "start the run again with --overwrite, or choose another --out"
        raise fail("checkpoint", "exist", path, remedy)
    try:
        _check_archive(path)
        values = torch.load(path, map_location="cpu", weights_only=True)
        if not _is_plain(values):
            raise _damaged(path, "it holds what no checkpoint does, or is nested deeply")
        unknown = _wrong_names(values)
        if unknown:
            raise _damaged(path, unknown)
        found = Checkpoint(**values)
        wrong = _wrong_entry(found)
        if wrong is not None:
            raise _damaged(path, f"{wrong} is not as it should be")
        return _put_together(path, found)
    except UserError:
        raise
    except Exception as error:  # PyTorch's reader raises whatever the damage leads it to
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _damaged(path: Path, what: str) -> UserError:
    remedy = (
        "if best.ckpt beside it is sound, copy it over this file; or start again with --overwrite"
    )
    return fail(
        "checkpoint", "be a complete checkpoint", f"a damaged file, {path} ({what})", remedy
    )


def _check_archive(path: Path) -> None:
    """Raise `UserError` unless the sums of the archive are right, which PyTorch does not compare, and nothing in it is packed."""
    with zipfile.ZipFile(path) as archive:
        if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
            raise _damaged(path, "its parts are packed, as scud does not write them")
        wrong = archive.testzip()
    if wrong is not None:
        raise _damaged(path, f"the checksum of {wrong} differs")


def _wrong_names(values: Any) -> str:
    """What is wrong with the names of the entries of a file; nothing, if they are those of a checkpoint."""
    if not isinstance(values, dict):
        return "it holds no entries by name"
    known = {part.name: part.default is MISSING for part in fields(Checkpoint)}
    lacking = [name for name, needed in known.items() if needed and name not in values]
    further = [str(name) for name in values if name not in known]
    parts = [f"no {name}" for name in lacking] + [f"an unknown entry {name}" for name in further]
    return ", ".join(parts)


def _wrong_entry(found: Checkpoint) -> str | None:
    """The name of an entry of the wrong kind, if there is one."""
    numbers = {"best": found.best, "seconds": found.seconds}
    weights = {"network": found.network, "average": found.average}
    right = {
        "step": type(found.step) is int and found.step >= 0,
        **{name: isinstance(value, float | int) for name, value in numbers.items()},
        **{name: _is_tensors(value) for name, value in weights.items()},
        "optimizer": isinstance(found.optimizer, dict),
        "p0": found.p0 is None or _is_distribution(found.p0),
        "process": isinstance(found.process, dict | None),
        "labels": found.labels is None or _is_list(found.labels, str),
        "label_counts": found.label_counts is None or _is_list(found.label_counts, int),
        "digests": found.digests is None or _is_texts(found.digests),
        "multiple": found.multiple is None or (type(found.multiple) is int and found.multiple > 0),
        "row": found.row is None or _is_row(found.row),
        "order": type(found.order) is int and found.order >= 1,
        "shards": found.shards is None or shards.is_note(found.shards),
    }
    return next((name for name, fits in right.items() if not fits), None)


def _is_plain(content: object) -> bool:
    """Whether something is made of dense tensors, numbers, texts, lists and dictionaries, not nested deeply nor without end."""
    waiting, parts = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, Mapping):
            value = list(value.values())
        if isinstance(value, list | tuple):
            parts += len(value)
            if depth > _DEEPEST or parts > _MOST_PARTS:
                return False
            waiting += [(part, depth + 1) for part in value]
        elif not (_is_dense(value) or isinstance(value, int | float | str | None)):
            return False
    return True


def _is_dense(value: object) -> bool:
    if not isinstance(value, Tensor) or value.is_quantized or value.is_nested:
        return False
    return value.layout == torch.strided and value.device.type == "cpu"


def _is_tensors(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(part, Tensor) for part in value.values())


def _is_distribution(value: object) -> bool:
    return isinstance(value, Tensor) and value.ndim == 1 and value.is_floating_point()


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(type(part) is kind for part in value)


def _is_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(part, str) for part in value.values())


def _is_row(value: object) -> bool:
    numbers = isinstance(value, dict) and all(
        isinstance(part, float | None) for part in value.values()
    )
    return isinstance(value, dict) and list(value) == MEASURED and numbers


def is_finite(state: Checkpoint, network: nn.Module) -> bool:
    """Whether the parameters of the network and what the optimiser keeps of them are finite, so that they may be kept.

    Buffers may be what they like: a mask of a user's own may hold minus infinity. Of what is shared out over processes, this one
    looks at its own.
    """
    names = [name for name, _ in network.named_parameters()]
    numbers = [weights[name] for weights in (state.network, state.average) for name in names]
    for moments in state.optimizer["state"].values():
        numbers += moments.values()
    return all(bool(torch.isfinite(shards.local(part)).all()) for part in numbers)


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

    Its weights must fit the network and be finite, its optimiser be whole, and the data (called `data` in
    messages), the labels and the noise must be those that the run was trained on: their files may
    have changed.
    """
    for weights in (start.network, start.average):
        load_weights(job.network, weights, str(path))
    _check_optimizer(start.optimizer, path, job.network)
    if not is_finite(start, job.network):
        raise _damaged(path, "it holds NaN or infinity")
    if start.p0 is not None:
        check_same_data(job.model.p0, start.p0, data)
    if start.labels is not None:
        check_same_labels(job.label_names, start.labels)
    if start.label_counts is not None and job.label_counts != start.label_counts:
        count = sum(
            one != other for one, other in zip(job.label_counts, start.label_counts, strict=False)
        )
        found = f"other numbers of examples of {count} of {len(start.label_counts)} labels"
        raise fail("labels", _SAME_LABELS, found, _RESTORE_LABELS)
    if start.digests is not None:  # of states and labels together: what is told above says more
        check_same_content(job.digests, start.digests)
    if start.process is not None:
        check_same_noise(job.model, start.process)


def tell_order(start: Checkpoint, job: Job) -> None:
    """Say that a run goes on with another order of examples; once, because the next checkpoint is of this order."""
    if start.order != order_version(job) and start.step < job.settings.steps:
        warnings.warn(
            f"the first {start.step} steps of this run took examples in the order of another version of scud: from here on it "
            "is the order of this version, and the steps are not those that would have followed, bit for bit",
            stacklevel=3,
        )


def _check_optimizer(state: Mapping[str, Any], path: Path, network: nn.Module) -> None:
    """Raise `UserError` unless this is the state of an optimiser of the network's parameters."""
    weights = dict(enumerate(network.parameters()))
    moments = state.get("state")
    whole = set(state) == {"state", "param_groups"} and isinstance(moments, dict)
    parts = moments.items() if isinstance(moments, dict) else ()
    if not whole or not all(_are_moments(part, weights.get(i)) for i, part in parts):
        remedy = "if best.ckpt beside it is sound, copy it over this file; or start again with --overwrite"
        raise fail("checkpoint", "hold the optimiser's state", path, remedy)


def _are_moments(value: object, weight: Tensor | None) -> bool:
    """Whether a value is what AdamW keeps of a parameter."""
    if weight is None or not isinstance(value, dict):
        return False
    shapes = {"step": (), "exp_avg": weight.shape, "exp_avg_sq": weight.shape}
    return set(value) == set(shapes) and all(
        isinstance(value[name], Tensor)
        and value[name].shape == shape
        and value[name].is_floating_point()
        for name, shape in shapes.items()
    )


def check_same_content(ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    """Raise `UserError` unless splits of data have the content (by its digest) of those that a run was trained on."""
    changed = [name for name in theirs if name in ours and ours[name] != theirs[name]]
    if changed:
        found = f"other examples or labels of {' and '.join(changed)}"
        raise fail("data", "be those that the run was trained on", found, _RESTORE_DATA)


def check_same_data(ours: Tensor, p0: Tensor, data: str) -> None:
    """Raise `UserError` unless training data have the marginal p0 [B] of those that a run was trained on."""
    if ours.shape != p0.shape or not torch.allclose(ours.cpu(), p0.cpu(), rtol=1e-12, atol=0):
        raise fail("data", "be those that the run was trained on", f"another {data}", _RESTORE_DATA)


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

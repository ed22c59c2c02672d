"""What can be told of a job before anything is written: its parts, and one draw."""

import sys
from collections.abc import Sequence
from copy import deepcopy
from math import prod
from typing import Any

import torch
from torch import nn

from scud.diffusion import Diffusion
from scud.errors import UserError, check_seed, fail
from scud.networks.labels import reads_labels
from scud.numerics.memory import check_memory
from scud.training.job import Job
from scud.typing import Batch, Shape

MOST_STATES = 2048
"""Of a model that is tried: with more, one draw takes long."""

PER_POSITION, PER_DRAW = 16, 64
"""Bytes that a position of a batch, and a draw of a validation, take at least."""

EXAMPLES = 8
"""That an objective of the user's own is tried with."""


def check_parts(model: Any, network: Any, objective: Any, seed: Any) -> None:
    """Raise `UserError` for parts of a job that are of the wrong sort."""
    if not isinstance(model, Diffusion):
        remedy = "build one, such as scud.SCUD"
        raise fail("model", "be a Diffusion", type(model).__name__, remedy)
    if not isinstance(network, nn.Module):
        remedy = "derive it from torch.nn.Module to train it"
        raise fail("network", "be a torch.nn.Module", type(network).__name__, remedy)
    if hasattr(network, "_orig_mod"):
        remedy = "give the network itself, and compile=True"
        raise fail("network", "not be compiled yet", type(network).__name__, remedy)
    if not any(weight.requires_grad for weight in network.parameters()):
        remedy = "call network.requires_grad_(), or give it parameters"
        raise fail("network", "have a parameter that requires a gradient", "none", remedy)
    if isinstance(objective, type) or not callable(objective):
        remedy = "give a callable (model, draw) -> nats per example"
        raise fail("objective", "be a callable that is no class", repr(objective), remedy)
    check_seed(seed)


def check_room(job: Job, dims: Shape | None) -> None:
    """Raise `UserError` where the batch of a step, or the draws of a validation, clearly cannot fit into memory.

    Args:
        job: what is to be trained.
        dims: the shape of one example; None where examples differ in length.
    """
    size, remedy = job.settings.size, "lower it"
    each = prod(dims or (1,))
    for name, number, positions in (
        ("training.batch_size", size.examples, each),
        ("training.batch_tokens", size.positions, 1),
    ):
        check_memory(name, PER_POSITION * number * positions, number, remedy)
    repeats = job.settings.validation_repeats
    check_memory(
        "training.validation_repeats", PER_DRAW * repeats * len(job.valid), repeats, remedy
    )


def check_strategy(job: Job, processes: int) -> None:
    """Raise `UserError` where so many processes cannot share out the network, or there is nothing to share."""
    if job.settings.strategy != "fsdp":
        return
    if processes == 1:
        remedy = "leave it out, or train on several (--training.devices)"
        raise fail("training.strategy", "be auto or ddp on one device", "fsdp", remedy)
    for name, weight in job.network.named_parameters():
        if weight.ndim == 0 or not weight.is_contiguous():
            found = "a single number" if weight.ndim == 0 else "another layout"
            remedy = "give it the shape [1]" if weight.ndim == 0 else "call contiguous() on it"
            rule = "have an axis, and lie in memory row by row, for training.strategy fsdp"
            raise fail(f"the network's {name}", rule, found, remedy)


def check_watchers(loggers: Any, callbacks: Any) -> None:
    """Raise `UserError` for what cannot watch training."""
    # Whoever made a callback of Lightning has loaded Lightning, which takes seconds.
    lightning = sys.modules.get("pytorch_lightning")
    theirs: tuple[type, ...] = () if lightning is None else (lightning.Callback,)
    remedy = "give functions of one row of metrics, or callbacks of pytorch_lightning"
    for callback in _listed("callbacks", callbacks):
        if isinstance(callback, type) or not (callable(callback) or isinstance(callback, theirs)):
            raise fail("callbacks", "be callable, or Lightning's", repr(callback), remedy)
    for logger in _listed("loggers", loggers):
        if isinstance(logger, type) or not callable(getattr(logger, "log_metrics", None)):
            remedy = "give loggers of pytorch_lightning"
            raise fail("loggers", "have log_metrics", repr(logger), remedy)


def _listed(argument: str, given: Any) -> Sequence[Any]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise fail(argument, "be a list", repr(given), f"write {argument}=[…]")
    return given


def try_draw(job: Job) -> None:
    """Make one draw for a few examples, as training would, and forget it.

    It is made by a copy of the network, with randomness of its own. One example tells whether the network fits; an
    objective of the user's own may compare examples, and gets `EXAMPLES`.

    Raises:
        UserError: the network or the objective cannot be used, or gives something of another shape.
    """
    places = {weight.device for weight in job.network.parameters()} | {job.model.p0.device}
    if job.model.num_states > MOST_STATES or len(places) > 1:
        return
    (place,) = places
    library = type(job.objective).__module__.startswith("scud.")
    number = 1 if library else min(EXAMPLES, len(job.train))
    batch = job.train.batch(torch.arange(number)).to(place)
    if not reads_labels(job.network):
        batch = Batch(batch.x0, batch.mask, None, batch.known)
    devices = [place.index or 0] if place.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        try:
            loss = _loss(job, batch, place)
        except UserError:
            raise
        except Exception as error:  # the network or the objective may be a user's
            what = f"{type(error).__name__}: {error}"
            remedy = "correct the network or the objective"
            raise fail("training", "be able to make a draw", what, remedy) from error
    if not loss.requires_grad:
        remedy = "make it from draw.diffusion, draw.reconstruction or draw.logits"
        raise fail("the loss", "depend on the network's parameters", "a constant", remedy)


def _loss(job: Job, batch: Batch, place: torch.device) -> torch.Tensor:
    """The loss of one draw, by a copy of the network without dropout."""
    network = deepcopy(job.network).eval()
    noise = torch.Generator(place).manual_seed(0)
    asked: list[Any] = []

    def objective(model: Any, draw: Any) -> Any:
        asked.append(job.objective(model, draw))
        if not isinstance(asked[0], torch.Tensor):
            rule = f"return nats per example, a tensor of shape [{len(batch)}]"
            remedy = "return one number per example"
            raise fail("objective", rule, type(asked[0]).__name__, remedy)
        return asked[0]

    return job.model.objective(network, batch, objective, generator=noise).loss

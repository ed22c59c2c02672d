"""What saved models keep of their parts: the kind and the arguments of each, from which `building` makes it again."""

import inspect
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from scud import own
from scud.data import MODALITIES, Modality
from scud.diffusion import SCUD, Classical, Diffusion, Masking
from scud.errors import UserError, fail
from scud.networks import NETWORKS
from scud.processes import PROCESSES, Process
from scud.schedules import Cosine, Linear, MutualInformation

Spec = dict[str, Any]


def of_process(process: Process) -> Spec:
    """The spec of a process; a class of a user's own is kept by name."""
    return _named("process", process, PROCESSES.values())


def of_network(network: nn.Module) -> Spec:
    """The spec of a network; a class of a user's own is kept by name."""
    return _named("network", network, [options.network for options in NETWORKS.values()])


def of_modality(modality: Modality) -> Spec:
    """The spec of what data stand for; a class of a user's own is kept by name."""
    kind = type(modality)
    library = kind in MODALITIES.values()
    spec = _called_spec("modality", modality)
    return {**spec, "kind": modality.kind if library else own.name_of(kind)}


def _named(part: str, thing: Any, known: Any) -> Spec:
    spec = _called_spec(part, thing)
    return spec if type(thing) in known else {**spec, "kind": own.name_of(type(thing))}


def check_savable(model: Diffusion, network: nn.Module, modality: Modality) -> None:
    """Raise `UserError` unless a model, its network and what its data stand for can be saved: told before training, not after."""
    process = getattr(model, "process", None)
    if process is not None:
        _check_spec("process", process, of_process(process))
    _check_spec("network", network, of_network(network))
    _check_written("modality", of_modality(modality))
    for part, thing, known in (
        ("model", model, (SCUD, Masking, Classical)),
        ("schedule", model.schedule, (Linear, Cosine, MutualInformation)),
    ):
        if type(thing) not in known:
            names = ", ".join(kind.__name__ for kind in known)
            remedy = "train with one of these: a saved model cannot name another"
            raise fail(part, f"be one of {names}", type(thing).__name__, remedy)


def _check_spec(part: str, thing: Any, spec: Spec) -> None:
    """Raise `UserError` unless a spec can be written, and builds a class of a user's own again."""
    _check_written(part, spec)
    if not own.is_own(spec["kind"]):
        return
    arguments = {name: value for name, value in spec.items() if name != "kind"}
    try:
        inspect.signature(type(thing)).bind(**arguments)
    except (TypeError, ValueError) as error:
        rule = "have a spec() that gives the arguments of its constructor"
        remedy = "return these, by their names"
        what = f"{type(thing).__name__}: {error}"
        raise fail(part, rule, what, remedy) from error


def _check_written(part: str, spec: Spec) -> None:
    """Raise `UserError` unless a spec can be written to the files of a run."""
    plain = {name: value for name, value in spec.items() if not isinstance(value, Tensor)}
    try:
        json.dumps(plain)
    except (TypeError, ValueError, RecursionError) as error:
        rule = "have a spec() of texts, numbers, lists of them, and tensors"
        remedy = "convert what is none of these"
        raise fail(part, rule, str(error), remedy) from error


def _called_spec(part: str, thing: Any) -> Spec:
    """What `spec()` gives."""
    spec = getattr(thing, "spec", None)
    if not callable(spec):
        remedy = "add `def spec(self): return {...}` with the constructor's arguments"
        rule = "have a spec(), which gives the arguments that build it again"
        raise fail(part, rule, type(thing).__name__, remedy)
    rule, name = "have a spec() that returns a dictionary", type(thing).__name__
    remedy = "return the constructor's arguments by their names"
    try:
        given = spec()
    except UserError:
        raise
    except Exception as error:  # a user's method may raise anything
        what = f"{name}, whose spec() raised {type(error).__name__}: {error}"
        raise fail(part, rule, what, remedy) from error
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise fail(part, rule, f"{name}, whose spec() returned {given!r}", remedy)
    return dict(given)

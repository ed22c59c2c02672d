"""The parts of a saved model, built again from their specs: the kind and the arguments of each."""

from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from scud import own
from scud.data import MODALITIES, Modality
from scud.diffusion import SCUD, Classical, Diffusion, Masking
from scud.errors import check_choice, fail
from scud.networks import NETWORKS
from scud.processes import PROCESSES, Process
from scud.schedules import Cosine, Linear, MutualInformation, Schedule
from scud.specs import Spec

Built = TypeVar("Built")

_WRITE = "write it again with scud.save"

_SMALL = 10_000_000
"""Weights up to which a network is built whatever there is for it: comparing them names the layer that differs."""

_LARGEST = 1 << 1000
"""Larger whole numbers are no floating-point numbers."""

SCHEDULES: dict[str, Callable[[], Schedule]] = {"linear": Linear, "cosine": Cosine}
"""Schedules by kind; besides, "mutual_information" depends on process, p0 and gamma."""


def build_model(
    p0: Tensor, diffusion: Spec, schedule: Spec, process: Spec, own_process: type | None = None
) -> Diffusion:
    """A diffusion model from the specs of its parts.

    Args:
        p0: training marginal [B].
        diffusion: kind scud (gamma, t_max), masking (t_max) or classical (t_max).
        schedule: kind linear, cosine or mutual_information; the last takes its gamma from the model.
        process: kind and arguments of the process; empty for masking, which has its own.
        own_process: the class of the process, where it is a user's own.

    Raises:
        UserError: an unknown kind or argument, or a value that breaks the rules of a part.
    """
    kind, options = _split("diffusion", diffusion)
    check_choice("diffusion.kind", kind, ("scud", "masking", "classical"))
    if kind == "masking":
        when = build_schedule(schedule, None, p0, 0.0)
        return _construct("diffusion", Masking, len(p0), when, p0=p0, **options)
    noise = build_process(process, own_process)
    gamma = float(options["gamma"]) if kind == "scud" else 0.0
    when = build_schedule(schedule, noise, p0, gamma)
    model: Callable[..., Diffusion] = SCUD if kind == "scud" else Classical
    return _construct("diffusion", model, noise, when, p0=p0, **options)


def build_process(spec: Spec, own_process: type | None = None) -> Process:
    """A process from its spec; errors as in `build_model`."""
    kind, options = _split("process", spec)
    if own.is_own(kind):
        process: Process = own.build_again(
            "process", _given_class("process", kind, own_process), options
        )
        return process
    _refuse_class("process", kind, own_process)
    check_choice("process.kind", kind, PROCESSES)
    return _construct("process", PROCESSES[kind], **options)


def build_schedule(spec: Spec, process: Process | None, p0: Tensor, gamma: float) -> Schedule:
    """A schedule from its spec; errors as in `build_model`."""
    kind, options = _split("schedule", spec)
    check_choice("schedule.kind", kind, (*SCHEDULES, "mutual_information"))
    if kind in SCHEDULES:
        return _construct("schedule", SCHEDULES[kind], **options)
    if process is None:
        rule = "be linear or cosine for masking"
        raise fail("schedule.kind", rule, kind, "write the model again")
    return _construct("schedule", MutualInformation, process, p0, **{**options, "gamma": gamma})


def build_network(
    spec: Spec, own_network: type | None = None, most: int | None = None
) -> nn.Module:
    """A network from its spec, with new weights; errors as in `build_model`.

    Args:
        spec: its kind and arguments.
        own_network: its class, where it is a user's own.
        most: weights that there are for it: a large one of the library's that would have more is not built.
    """
    kind, options = _split("network", spec)
    if own.is_own(kind):
        made: nn.Module = own.build_again(
            "network", _given_class("network", kind, own_network), options
        )
        return made
    _refuse_class("network", kind, own_network)
    check_choice("network.kind", kind, NETWORKS)
    options = {
        name: tuple(value) if isinstance(value, list) else value for name, value in options.items()
    }
    network_class: Any = NETWORKS[kind].network
    least = _construct("network", network_class.least_weights, **options)
    if most is not None and least > max(most, _SMALL):
        rule = f"have as many weights as were saved, {most:,}"
        raise fail("network", rule, f"options for {least:,} or more", _WRITE)
    network: nn.Module = _construct("network", network_class, **options)
    return network


def build_modality(spec: Spec, own_modality: type[Modality] | None = None) -> Modality:
    """What data stand for, from its spec; errors as in `build_model`."""
    kind, options = _split("data", spec)
    if own.is_own(kind):
        modality: type[Modality] = _given_class("modality", kind, own_modality)
        own.check_subclass("modality", modality, Modality)
        return modality.from_spec(options)
    _refuse_class("modality", kind, own_modality)
    check_choice("data.kind", kind, MODALITIES)
    return MODALITIES[kind].from_spec(options)


def _given_class(part: str, kind: str, given: type | None) -> Any:
    """The class of a user's own that a saved model needs."""
    if given is None:
        remedy = f"give it: scud.load(folder, {part}={kind.partition(':')[2]}), or --{part} {kind} to a command"
        raise fail(
            part, f"be given, since this run's is a class of its own, {kind}", "none", remedy
        )
    return given


def _refuse_class(part: str, kind: str, given: type | None) -> None:
    if given is not None:
        raise fail(
            part,
            f"be left out, since this run's is the library's {kind}",
            own.name_of(given),
            "drop it",
        )


def _split(part: str, spec: Spec) -> tuple[str, Spec]:
    if not isinstance(spec.get("kind"), str):
        raise fail(part, "have a kind", sorted(spec), _WRITE)
    return spec["kind"], {name: value for name, value in spec.items() if name != "kind"}


def _check_types(part: str, constructor: Any, options: Spec) -> None:
    """Raise `UserError` for an argument of another type than the constructor says: files of others may hold anything."""
    made = vars(constructor).get("__init__") if isinstance(constructor, type) else constructor
    hints = get_type_hints(made) if made else {}
    for name, value in options.items():
        if name in hints and not _is_of(value, hints[name]):
            kind = getattr(hints[name], "__name__", str(hints[name]))
            raise fail(f"{part}.{name}", f"be of the type {kind}", type(value).__name__, _WRITE)


def _is_of(value: Any, hint: Any) -> bool:
    """Whether a value is of a type: a number, a text, a tensor, a tuple of whole numbers, or one of several."""
    kinds = get_args(hint)
    if get_origin(hint) is Literal:
        return value in kinds
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(type(size) is int for size in value)
    if kinds:
        return any(_is_of(value, kind) for kind in kinds)
    if hint is float:
        return type(value) is float or (type(value) is int and abs(value) < _LARGEST)
    return type(value) is hint if hint in (bool, int) else isinstance(value, hint)


def _construct(
    part: str, constructor: Callable[..., Built], *arguments: Any, **options: Any
) -> Built:
    """Call the constructor; arguments that it does not know are a mistake of whoever wrote the spec."""
    _check_types(part, constructor, options)
    try:
        return constructor(*arguments, **options)
    except TypeError as error:
        raise fail(
            part, "have the arguments of its kind", str(error), "compare it with a saved config"
        ) from error

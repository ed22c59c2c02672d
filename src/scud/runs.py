"""Saved models: writing one, and building it again from its two files.

`FOLDER/model/` holds `model.safetensors` (the network's weights, p0, and tensors among the arguments, such as the
rates of a `Dense` process) and `config.json` (the kind and arguments of process, schedule, diffusion and network, and
what of the data is needed to use them: the letters and training lengths of sequences, the tokens and length of text). Neither
can run code.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scud.data.sequences.alphabets import Alphabet, find_alphabet
from scud.data.source import Kind
from scud.data.text.tokenizers import Tokenizer, tokenizer_from_spec
from scud.diffusion import SCUD, Classical, Diffusion, Elbo, Masking
from scud.errors import UserError, check_choice, fail
from scud.files import replacing
from scud.networks import NETWORKS
from scud.processes import PROCESSES, Process
from scud.samplers import Ancestral, draw, draw_lengths
from scud.schedules import Cosine, Linear, MutualInformation, Schedule
from scud.training.files import RunFolder
from scud.typing import Batch

Spec = dict[str, Any]
Built = TypeVar("Built")

SCHEDULES: dict[str, Callable[[], Schedule]] = {"linear": Linear, "cosine": Cosine}
"""Schedules by kind; besides, "mutual_information" depends on process, p0 and gamma."""

_PARTS = ("process", "schedule", "diffusion", "network")


@dataclass(frozen=True)
class Run:
    """A trained model.

    Attributes:
        model: the diffusion.
        network: its denoiser, in evaluation mode.
        config: kind and arguments of process, schedule, diffusion and network.
        data: what it was trained on, as `scud.data.Source.spec` gives it.
    """

    model: Diffusion
    network: nn.Module
    config: dict[str, Any] = field(default_factory=dict)
    data: Spec = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """What it models."""
        return "text" if "tokens" in self.data else "sequences" if "alphabet" in self.data else "images"

    @property
    def dims(self) -> tuple[int, ...]:
        """Shape of one example.

        Raises:
            UserError: the network takes examples of any shape.
        """
        if self.kind == "text":
            return (self.length,)
        if "dims" not in self.config["network"]:
            remedy = "use run.sample_sequences for sequences, or run.model.sample"
            raise fail("network", "say the shape of an example", self.config["network"]["kind"], remedy)
        return tuple(self.config["network"]["dims"])

    @property
    def alphabet(self) -> Alphabet:
        """The letters of the sequences that it models.

        Raises:
            UserError: the run does not model sequences.
        """
        if self.kind != "sequences":
            raise fail(
                "run", "model sequences", f"a {self.config['network']['kind']} of {self.kind}", "give another run"
            )
        return find_alphabet(self.data["alphabet"])

    @cached_property
    def tokens(self) -> Tokenizer:
        """What the states of the text that it models stand for.

        Raises:
            UserError: the run does not model text.
        """
        if self.kind != "text":
            raise fail("run", "model text", f"a {self.config['network']['kind']} of {self.kind}", "give another run")
        return tokenizer_from_spec(self.data["tokens"])

    @property
    def length(self) -> int:
        """States per example of the text that it models."""
        return int(self.data["length"])

    @property
    def length_counts(self) -> Tensor:
        """How many training sequences had each length, [longest + 1] int64."""
        counts: Tensor = self.data["length_counts"]
        return counts

    @property
    def longest(self) -> int:
        """Length of the longest sequence that it was trained on."""
        return len(self.length_counts) - 1

    def sample(self, num: int, steps: int = 128, *, generator: torch.Generator | None = None, **options: Any) -> Tensor:
        """Draw examples [num, *dims], int64. Options as in `Diffusion.sample`: given, sampler."""
        with torch.no_grad():
            return self.model.sample(self.network, (num, *self.dims), steps, generator=generator, **options)

    def sample_sequences(
        self,
        num: int,
        steps: int = 128,
        *,
        lengths: tuple[int, int] | None = None,
        generator: torch.Generator | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> list[str]:
        """Draw sequences; lengths from the training distribution, restricted to first..last where `lengths` gives these.

        Raises:
            UserError: the run does not model sequences, or the lengths are beyond what it was trained on.
        """
        alphabet = self.alphabet
        drawn = draw_lengths(self.length_counts, num, lengths, generator)
        shapes = [torch.zeros(length, dtype=torch.int64) for length in drawn.tolist()]
        sampler = Ancestral(steps=steps)
        samples = draw(sampler, self.model, self.network, shapes, generator=generator, progress=progress)
        return [alphabet.decode(sequence.numpy()) for sequence in samples.states]

    def sample_text(
        self,
        num: int,
        steps: int = 128,
        *,
        length: int | None = None,
        generator: torch.Generator | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> list[str]:
        """Draw texts of `length` states each; of as many as an example of training has if it is None.

        Raises:
            UserError: the run does not model text, num is below 1, or the length is not one of 1..run.length.
        """
        tokens, length = self.tokens, self.length if length is None else length
        if num < 1:
            raise fail("num", "be at least 1", num, "say how many texts to draw")
        if not 1 <= length <= self.length:
            remedy = f"the model was trained on {self.length} {tokens.units} at once"
            raise fail("length", f"lie in 1..{self.length}", length, remedy)
        shapes = [torch.zeros(length, dtype=torch.int64)] * num
        sampler = Ancestral(steps=steps)
        samples = draw(sampler, self.model, self.network, shapes, generator=generator, progress=progress)
        return [tokens.decode(text.numpy()) for text in samples.states]

    def elbo(self, batch: Batch | Tensor, **options: Any) -> Elbo:
        """The bound for clean examples, or for x0 [batch, *dims], nats per example; arguments as in `Diffusion.elbo`."""
        with torch.no_grad():
            return self.model.elbo(self.network, batch, **options)


def describe_states(data: Spec) -> str:
    """What the states of a run stand for, in words; data as `scud.data.Source.spec` gives it."""
    if "tokens" in data:
        return f"text in {tokenizer_from_spec(data['tokens']).describe()}"
    return f"sequences of {data['alphabet']}" if "alphabet" in data else "images"


def build_model(p0: Tensor, diffusion: Spec, schedule: Spec, process: Spec) -> Diffusion:
    """A diffusion model from the specs of its parts.

    Args:
        p0: training marginal [B].
        diffusion: kind scud (gamma, t_max), masking (t_max) or classical (t_max).
        schedule: kind linear, cosine or mutual_information; the last takes its gamma from the model, and is linear for
            masking.
        process: kind and arguments of the process; empty for masking, which has its own.

    Raises:
        UserError: an unknown kind or argument, or a value that breaks the rules of a part.
    """
    kind, options = _split("diffusion", diffusion)
    check_choice("diffusion.kind", kind, ("scud", "masking", "classical"))
    if kind == "masking":
        when = "linear" if schedule["kind"] == "mutual_information" else schedule["kind"]
        return _construct(
            "diffusion", Masking, len(p0), build_schedule({"kind": when}, None, p0, 0.0), p0=p0, **options
        )
    noise = build_process(process)
    gamma = float(options["gamma"]) if kind == "scud" else 0.0
    when_noise = build_schedule(schedule, noise, p0, gamma)
    model: Callable[..., Diffusion] = SCUD if kind == "scud" else Classical
    return _construct("diffusion", model, noise, when_noise, p0=p0, **options)


def build_process(spec: Spec) -> Process:
    """A process from its spec; errors as in `build_model`."""
    kind, options = _split("process", spec)
    check_choice("process.kind", kind, PROCESSES)
    return _construct("process", PROCESSES[kind], **options)


def build_schedule(spec: Spec, process: Process | None, p0: Tensor, gamma: float) -> Schedule:
    """A schedule from its spec; errors as in `build_model`."""
    check_choice("schedule.kind", spec["kind"], (*SCHEDULES, "mutual_information"))
    if spec["kind"] == "mutual_information":
        assert process is not None, "masking has no process, and the linear schedule"
        return MutualInformation(process, p0, gamma, spec.get("curve"), spec.get("error", 0.0))
    return SCHEDULES[spec["kind"]]()


def build_network(spec: Spec) -> nn.Module:
    """A network from its spec, with new weights; errors as in `build_model`."""
    kind, options = _split("network", spec)
    check_choice("network.kind", kind, NETWORKS)
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return _construct("network", NETWORKS[kind], **options)


def save(folder: str | Path, model: Diffusion, network: nn.Module, data: Spec | None = None) -> None:
    """Write `folder`/model/, from which `load` builds both again; `data` is `scud.data.Source.spec()` of the training data.

    Raises:
        UserError: the network has no `spec()` of a registered kind.
    """
    spec = getattr(network, "spec", None)
    if spec is None or spec()["kind"] not in NETWORKS:
        rule = f"have a spec() whose kind is one of {', '.join(sorted(NETWORKS))}"
        raise fail("network", rule, type(network).__name__, "register it in scud.networks.NETWORKS")
    process = getattr(model, "process", None)
    parts = {
        "process": {} if process is None else process.spec(),
        "schedule": model.schedule.spec(),
        "diffusion": model.spec(),
        "network": spec(),
        "data": data or {},
    }
    tensors = {"p0": model.p0} | {f"network.{name}": value for name, value in network.state_dict().items()}
    config: dict[str, Any] = {"format": 1}
    for part, values in parts.items():
        held = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        tensors |= {f"{part}.{name}": value for name, value in held.items()}
        config[part] = {name: value for name, value in values.items() if name not in held} | {"tensors": sorted(held)}
    target = RunFolder(Path(folder)).model
    target.mkdir(parents=True, exist_ok=True)
    with replacing(target / "model.safetensors") as weights, replacing(target / "config.json") as text:
        save_file({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, weights)
        text.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load(folder: str | Path, device: str | torch.device = "cpu") -> Run:
    """Build a saved model again.

    Args:
        folder: the run folder, which holds model/model.safetensors and model/config.json.
        device: where to put it: "cpu", "cuda", "cuda:1" or "auto".

    Raises:
        UserError: the folder or a file in it is missing or damaged, or holds a kind this version does not know.
    """
    place = resolve_device(device)
    source = RunFolder(Path(folder)).model
    config, tensors = _read(Path(folder), source / "config.json", source / "model.safetensors")
    try:
        parts = {part: _with_tensors(part, config[part], tensors) for part in _PARTS}
        model = build_model(tensors["p0"], parts["diffusion"], parts["schedule"], parts["process"])
        network = build_network(parts["network"])
        data = _with_tensors("data", config.get("data", {"tensors": []}), tensors)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(source, f"an entry is missing or of the wrong kind: {error}") from error
    weights = {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
    load_weights(network, weights, str(source))
    network.eval().requires_grad_(False)
    return Run(model.to(place), network.to(place), config, data)


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Copy weights into a network of the same architecture; `origin` is where they come from, for the message.

    Raises:
        UserError: naming the first layer that differs.
    """
    own = network.state_dict()
    for name in [*own, *weights]:
        ours, theirs = (list(held[name].shape) if name in held else "no such layer" for held in (own, weights))
        if ours != theirs:
            remedy = "give the network and data the options that the saved model has (see its config)"
            raise fail(f"layer {name}", f"have the shape of this network's, {ours}", f"{theirs} in {origin}", remedy)
    network.load_state_dict(dict(weights))


def resolve_device(device: str | torch.device) -> torch.device:
    """The device called "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".

    Raises:
        UserError: no such device here.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        place = torch.device("meta")
    if place.type not in ("cpu", "cuda"):
        raise fail("device", "be auto, cpu, cuda or cuda:N", repr(str(device)), "choose one of these")
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise fail("device", "exist", f"{device} with {torch.cuda.device_count()} GPUs", "use --device cpu")
    return place


def _with_tensors(part: str, values: Spec, tensors: Mapping[str, Tensor]) -> Spec:
    """The spec that `save` divided between its two files."""
    plain = dict(values)
    return plain | {name: tensors[f"{part}.{name}"] for name in plain.pop("tensors")}


def _split(part: str, spec: Spec) -> tuple[str, Spec]:
    if "kind" not in spec:
        raise fail(part, "have a kind", sorted(spec), "write it again with scud.save")
    return spec["kind"], {name: value for name, value in spec.items() if name != "kind"}


def _construct(part: str, constructor: Callable[..., Built], *arguments: Any, **options: Any) -> Built:
    """Call the constructor; arguments that it does not know are a mistake of whoever wrote the spec."""
    try:
        return constructor(*arguments, **options)
    except TypeError as error:
        raise fail(part, "have the arguments of its kind", str(error), "compare it with a saved config") from error


def _read(folder: Path, text: Path, weights: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not folder.is_dir():
        raise fail("run", "be a folder that exists", folder, "check the spelling; `scud train` makes one")
    for file in (text, weights):
        if not file.is_file():
            raise fail(
                "run", f"hold model/{file.name}", folder, "train it until its first validation with `scud train`"
            )
    try:
        return json.loads(text.read_text(encoding="utf-8")), load_file(weights)
    except (ValueError, SafetensorError) as error:
        raise _damaged(text.parent, str(error)) from error


def _damaged(folder: Path, what: str) -> UserError:
    remedy = "write it again: `scud train ... --resume` does, from the run's checkpoint"
    return fail("model", "be complete", f"damaged files in {folder} ({what})", remedy)

"""Saved models: a trained model as `Run`, writing one, and building it again.

`FOLDER/model/` holds `model.safetensors` (the network's weights, p0, and tensors among the arguments, such as the rates of a
`Dense` process) and in it, with a copy in `config.json`, the kind and arguments of process, schedule, diffusion and network;
the kind of the data and what of them is needed to use the model, such as the letters and training lengths of sequences; and
the names of class labels. Neither can run code: a class of one's own is kept by name, and must be given to whoever loads the
model.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scud import own, saved, specs
from scud.building import build_modality, build_model, build_network
from scud.data import MODALITIES, Data, Modality, label_of
from scud.diffusion import Diffusion, Elbo
from scud.errors import UserError, check_at_least, fail
from scud.networks import NETWORKS
from scud.networks.labels import num_labels, reads_labels
from scud.networks.options import check_shape
from scud.ranks import ALONE, Ranks
from scud.samplers import Ancestral, Sampler, Samples, Spool, check_number, draw
from scud.saved import FORMAT, Saved, damaged
from scud.specs import Spec
from scud.training.checkpoint import load_weights
from scud.training.files import RunFolder
from scud.typing import Batch

DAMAGE = (TypeError, ValueError, RuntimeError, OverflowError, RecursionError)
"""What building from a damaged configuration may raise."""


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained model.

    Attributes:
        model: the diffusion.
        network: its denoiser, in evaluation mode.
        modality: what the states of its data stand for.
        label_names: what each class label is called, in the order of their numbers; none where it reads no labels.
        folder: where it was loaded from, or None.
        digests: hashes of the data that it was trained on and validated with, by split, as `save` was given them.
        checked: whether a checksum says that its numbers are those that were saved; models of version 0.1.0 have none.
    """

    model: Diffusion
    network: nn.Module
    modality: Modality
    label_names: tuple[str, ...] = ()
    folder: Path | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    checked: bool = True

    def __repr__(self) -> str:
        weights = sum(weight.numel() for weight in self.network.parameters())
        what = f"{type(self.model).__name__} of {self.modality.describe()}"
        network = f"{type(self.network).__name__} of {weights:,} parameters"
        return f"Run of {what}, {network}" + ("" if self.folder is None else f", {self.folder}")

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model.p0.device

    def label(self, name: str, num: int) -> Tensor:
        """The class called `name` as labels of `num` examples, [num] int64.

        Raises:
            UserError: the model reads no labels, or none of that name.
        """
        if not self.label_names:
            remedy = "leave it out, or train with --network.labels true"
            raise fail("label", "be left out for a model that reads no labels", repr(name), remedy)
        return torch.full((num,), label_of(self.label_names, name))

    @torch.no_grad()
    def draw(
        self,
        num: int,
        *,
        length: tuple[int, int] | None = None,
        label: str | None = None,
        sampler: Sampler | None = None,
        frames: int = 0,
        spool: Spool | None = None,
        generator: torch.Generator | None = None,
        ranks: Ranks = ALONE,
        progress: Callable[[float], None] | None = None,
    ) -> Samples:
        """Draw examples.

        Args:
            num: how many.
            length: the first and last length allowed, of data whose examples differ in it; as in training by default.
            label: the name of a class, of a model that reads labels.
            sampler: how; `Ancestral()` by default.
            frames: at how many moments to keep the first examples, for an animation.
            spool: where to keep what is drawn; in memory by default.
            generator: source of all noise, on the model's device.
            ranks: the processes that share out the batches, as in `scud.samplers.draw`.
            progress: called with the share done, in (0, 1].

        Raises:
            UserError: a length that the model was not trained on, a label it does not know, or num below 1.
        """
        check_at_least("num", num, 1, "say how many examples to draw")
        check_number(num)
        labels = None if label is None else self.label(label, num)
        shapes = self.modality.shapes(num, length, generator)
        like = {shape: torch.zeros(shape, dtype=torch.int64) for shape in set(shapes)}
        states = [like[shape] for shape in shapes]
        return draw(
            sampler or Ancestral(),
            self.model,
            self.network,
            states,
            label=labels,
            positions=self.modality.at_once,
            frames=frames,
            spool=spool,
            generator=generator,
            ranks=ranks,
            progress=progress,
        )

    def sample(self, num: int, **options: Any) -> Any:
        """Draw examples as people read them: pixels, letters, text. Options and errors as in `draw`."""
        return self.modality.decode(self.draw(num, **options).states)

    @torch.no_grad()
    def elbo(self, batch: Batch | Tensor, **options: Any) -> Elbo:
        """The bound for clean examples, nats per example. Options as in `Diffusion.elbo`: generator, u."""
        return self.model.elbo(self.network, batch, **options)


def save(
    folder: str | Path,
    model: Diffusion,
    network: nn.Module,
    modality: Modality | Data,
    label_names: tuple[str, ...] = (),
    *,
    step: int | None = None,
    digests: Mapping[str, str] | None = None,
) -> None:
    """Write `folder`/model/, from which `load` builds all again.

    Args:
        folder: of the run; made if it does not exist.
        model: the diffusion.
        network: its denoiser, which has `spec()`: the arguments that build it again.
        modality: what the states stand for, or the data that say so.
        label_names: of a network that reads labels; by default those of the data.
        step: of training, which `saved_step` gives back.
        digests: hashes of the data by split, to be kept as `Run.digests`; by default those of the data.

    Raises:
        UserError: the network or the process has no `spec()`; the model or the schedule is of a class of one's own; names of
            labels that the network does not read, or another number of them; a weight that is NaN or infinite; another
            process writes to the folder.
    """
    content = _content(model, network, modality, label_names, digests)
    files = RunFolder(Path(folder))
    with files.held():
        saved.write_model(files.model, *content, step)


def save_held(
    folder: Path,
    model: Diffusion,
    network: nn.Module,
    modality: Modality,
    label_names: tuple[str, ...],
    *,
    step: int,
    digests: Mapping[str, str],
) -> None:
    """Like `save`, for who holds the folder's lock."""
    content = _content(model, network, modality, label_names, digests)
    saved.write_model(RunFolder(folder).model, *content, step)


def _content(
    model: Diffusion,
    network: nn.Module,
    modality: Modality | Data,
    label_names: tuple[str, ...],
    digests: Mapping[str, str] | None,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and the tensors of a saved model; arguments and errors as in `save`."""
    if isinstance(modality, Data):
        if not label_names and reads_labels(network):
            label_names = tuple(modality.label_names)
        digests = modality.digests() if digests is None else digests
        modality = modality.modality
    _check_label_names(network, label_names)
    _check_finite(network)
    specs.check_savable(model, network, modality)
    process = getattr(model, "process", None)
    parts: dict[str, Spec] = {
        "process": {} if process is None else specs.of_process(process),
        "schedule": model.schedule.spec(),
        "diffusion": model.spec(),
        "network": specs.of_network(network),
        "data": specs.of_modality(modality),
    }
    tensors = {"p0": model.p0} | {
        f"network.{name}": value for name, value in network.state_dict().items()
    }
    config: dict[str, Any] = {"format": FORMAT}
    for part, values in parts.items():
        among = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        tensors |= {f"{part}.{name}": value for name, value in among.items()}
        config[part] = {name: value for name, value in values.items() if name not in among} | {
            "tensors": sorted(among)
        }
    config["labels"] = list(label_names)
    if digests:
        config["digests"] = dict(digests)
    return config, tensors


def saved_step(folder: str | Path) -> int | None:
    """The step of training that the model in a run folder belongs to.

    None where a file of it is missing or damaged, or it was saved without a step: then it must be written again.
    """
    return saved.saved_step(RunFolder(Path(folder)).model)


def _check_finite(network: nn.Module) -> None:
    """Raise `UserError` for a network with a weight that is NaN or infinite: nothing could be drawn from it."""
    for name, weight in network.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            remedy = "train it again with a lower learning rate"
            raise fail(f"the network's {name}", "hold finite numbers", "NaN or infinity", remedy)


def _check_label_names(network: nn.Module, label_names: tuple[str, ...]) -> None:
    """Raise `UserError` unless a network reads as many labels as are named."""
    count = num_labels(network)
    if len(label_names) != count:
        rule = f"name the {count} labels that the network reads"
        remedy = "add label_names=data.label_names"
        if not count:
            rule, remedy = "be left out for a network that reads no labels", "leave it out"
        raise fail("label_names", rule, list(label_names), remedy)


def load(
    folder: str | Path,
    device: str | torch.device = "cpu",
    *,
    process: type | None = None,
    network: type | None = None,
    modality: type[Modality] | None = None,
) -> Run:
    """Build a saved model again.

    Args:
        folder: the run folder, which holds model/model.safetensors and model/config.json.
        device: where to put it: "cpu", "cuda", "cuda:1" or "auto".
        process, network, modality: the classes of your own that the run was trained with, if any.

    Raises:
        UserError: the folder or a file in it is missing or damaged, or holds a kind this version does not know; a class of your
            own that is needed was not given.
    """
    place, files = resolve_device(device), saved.read_model(Path(folder))
    with _named(files.folder):
        model = build_model(
            files.tensors["p0"],
            files.part("diffusion"),
            files.part("schedule"),
            files.part("process"),
            process,
        )
        weights = files.weights
        most = sum(value.numel() for value in weights.values())
        net = build_network(files.part("network"), network, most)
        kind = _modality_of(files, modality)
    _check_together(files, net, kind)
    load_weights(net, weights, str(files.folder))
    net.eval().requires_grad_(False)
    about = kind, files.labels, Path(folder), files.digests, files.checked
    return Run(model.to(place), net.to(place), *about)


def _check_together(files: Saved, net: nn.Module, kind: Modality) -> None:
    """Raise `UserError` unless a network and the data are of the same shape and labels."""
    check_shape(kind.dims or ())
    dims = getattr(net, "dims", None)
    if files.config["network"]["kind"] in NETWORKS and dims not in (None, kind.dims):
        what = f"data of the shape {kind.dims} for a network of {dims}"
        raise damaged(files.folder, what)
    if len(files.labels) != num_labels(net):
        what = f"{len(files.labels)} labels for a network that reads {num_labels(net)}"
        raise damaged(files.folder, what)


def load_modality(folder: str | Path, modality: type[Modality] | None = None) -> Modality:
    """What the data of a saved run stand for, without its model; arguments and errors as in `load`."""
    files = saved.read_model(Path(folder))
    with _named(files.folder):
        return _modality_of(files, modality)


def load_start(
    folder: str | Path, modality: type[Modality]
) -> tuple[Modality, tuple[str, ...], dict[str, Tensor]]:
    """What the data of a saved run stand for, the names of its labels, and its network's weights, without its model.

    Args:
        folder: the run folder.
        modality: the class that a modality of one's own is built by.

    Raises:
        UserError: as in `load`.
    """
    files = saved.read_model(Path(folder))
    with _named(files.folder):
        library = modality in MODALITIES.values()
        given = modality if own.is_own(files.config["data"]["kind"]) and not library else None
        return _modality_of(files, given), files.labels, files.weights


def _modality_of(files: Saved, modality: type[Modality] | None) -> Modality:
    """What the data of a model stand for; raises `UserError` unless they have its states."""
    made, states = build_modality(files.part("data"), modality), len(files.tensors["p0"])
    if made.num_states != states:
        raise damaged(files.folder, f"data of {made.num_states} states for a p0 of {states}")
    return made


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Say which folder holds an entry that is missing or of the wrong kind."""
    try:
        yield
    except UserError:
        raise
    except (*DAMAGE, KeyError, AttributeError) as error:
        raise damaged(folder, f"an entry is missing or of the wrong kind: {error}") from error


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
    if place.type not in ("cpu", "cuda") or (place.type == "cpu" and place.index):
        raise fail(
            "device", "be auto, cpu, cuda or cuda:N", repr(str(device)), "choose one of these"
        )
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise fail(
            "device", "exist", f"{device} with {torch.cuda.device_count()} GPUs", "use --device cpu"
        )
    return place

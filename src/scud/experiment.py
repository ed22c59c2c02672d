"""From a configuration to a trained run: data, model and network, and what becomes of the run folder.

Nothing is written before everything that can be checked has been: data read, model and network built, checkpoint read.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scud import runs
from scud.config import Config, DataConfig, NetworkConfig, ProcessConfig, differences, read_config, write_config
from scud.data import (
    Source,
    find_tokenizer,
    load_digits,
    load_hub_images,
    load_hub_text,
    load_images,
    load_sequences,
    load_text,
)
from scud.diffusion import Diffusion
from scud.errors import fail
from scud.networks import DiT, bytenet, dit, unet
from scud.processes.blosum import AMINO_ACIDS
from scud.processes.neighbour_lists import load_neighbours
from scud.seeds import Use, derive
from scud.training import checkpoint, metrics
from scud.training.files import RunFolder
from scud.training.stream import plan


@dataclass(frozen=True)
class Prepared:
    """All that training starts from."""

    source: Source
    model: Diffusion
    network: nn.Module


def load_data(config: DataConfig) -> Source:
    """Read the data set.

    Raises:
        UserError: no file named, or one that is not as it should be.
    """
    if config.kind == "digits":
        return load_digits()
    share, files = config.valid_share, {"valid": config.valid, "test": config.test}
    hub = None if config.kind == "sequences" else config.hub
    if hub is not None and config.train is not None:
        raise fail("data.train and data.hub", "not be given together", "both", "drop one of them")
    if config.kind == "images":
        if hub is not None:
            return load_hub_images(hub, config.num_states, share)
        return load_images(training_file(config, "a file or folder of images"), config.num_states, share)
    if config.kind == "text":
        tokens, length = find_tokenizer(config.tokens, config.alphabet), config.length
        if hub is not None:
            return load_hub_text(hub, tokens, length, files=files, valid_share=share)
        return load_text(training_file(config, "a text file"), tokens, length, files=files, valid_share=share)
    filters = {"min_length": config.min_length, "max_length": config.max_length, "long": config.long}
    letters = "protein" if config.alphabet is None else config.alphabet
    return load_sequences(training_file(config, "a FASTA file"), letters, files=files, valid_share=share, **filters)


def training_file(config: DataConfig, what: str) -> Path:
    """The file that is named for training; raise `UserError` if there is none, saying `what` it should be."""
    if config.train is None:
        raise fail("data.train", f"name {what}", "nothing", "add --data.train FILE")
    return config.train


def prepare(config: Config) -> Prepared:
    """Read the data, and build the model and the network with its first weights, which derive from the seed.

    Raises:
        UserError: naming what is wrong with the data or an option.
    """
    source = load_data(config.data)
    diffusion: runs.Spec = {"kind": config.diffusion.kind, "t_max": config.diffusion.t_max}
    if config.diffusion.kind == "scud":
        diffusion["gamma"] = config.diffusion.gamma
    noise = {} if config.diffusion.kind == "masking" else process_spec(config.process, source)
    model = runs.build_model(source.marginal(), diffusion, {"kind": config.schedule.kind}, noise)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, Use.INITIAL_WEIGHTS))
        network = runs.build_network(network_spec(config.network, source))
    if isinstance(network, DiT):
        network.start_at(source.marginal())
    if config.training.infill_share and source.kind == "images":
        raise fail("training.infill_share", "be 0 for images", config.training.infill_share, "it is for sequences")
    if config.training.flips and source.kind != "images":
        raise fail("training.flips", f"be False for {source.kind}", True, "it mirrors images")
    return Prepared(source, model, network)


def network_spec(config: NetworkConfig, source: Source) -> runs.Spec:
    """What `scud.runs.build_network` makes the configured network of."""
    shared: runs.Spec = {"kind": config.kind, "num_states": source.num_states, "dropout": config.dropout}
    if (config.kind == "unet") != (source.kind == "images"):
        remedy = "use unet for images, and bytenet or dit for sequences and text"
        raise fail("network.kind", "suit the data", f"{config.kind} for {source.name}", remedy)
    presets: Mapping[str, runs.Spec] = {"unet": unet, "bytenet": bytenet, "dit": dit}[config.kind].PRESETS
    size: runs.Spec = {"width": config.width, "layers": config.layers}
    if config.kind == "unet":
        shared |= {"head": config.head, "dims": source.dims}
        size = {"width": config.width, "blocks": config.blocks, "levels": config.levels}
    elif config.kind == "dit":
        shared |= {"checkpointing": config.checkpointing}
        size |= {"heads": config.heads}
    else:
        size |= {"hidden": config.hidden}
    if config.preset is not None and config.preset not in presets:
        remedy = "choose one of these, or leave it out and give a width"
        raise fail("network.preset", f"be one of {', '.join(presets)} for {config.kind}", config.preset, remedy)
    return {**shared, **(size if config.preset is None else presets[config.preset])}


def process_spec(config: ProcessConfig, source: Source) -> runs.Spec:
    """What `scud.runs.build_process` makes the configured process of."""
    num_states = source.num_states
    if config.kind == "blosum62":
        if source.alphabet is None or source.alphabet.letters != AMINO_ACIDS:
            found = source.kind if source.alphabet is None else f"letters {source.alphabet.letters}"
            remedy = "use --process.kind uniform, or dense with rates of your own"
            raise fail("process.kind", "suit the data: blosum62 is for proteins", found, remedy)
        frequencies = source.marginal() if config.frequencies == "training" else None
        shape = {"sharpness": config.sharpness, "normalized": config.normalized, "matrix": config.matrix}
        return {"kind": "blosum62", "frequencies": frequencies, **shape}
    if config.kind == "dense":
        return {"kind": "dense", "generator": read_generator(config.generator, num_states)}
    if config.kind == "gaussian":
        bandwidth = 0.1 if config.bandwidth is None else config.bandwidth
        return {"kind": "gaussian", "num_states": num_states, "bandwidth": bandwidth, "normalized": config.normalized}
    if config.kind == "neighbour_graph":
        bandwidth = 0.3 if config.bandwidth is None else config.bandwidth
        neighbours, rates = load_neighbours(config.neighbours, source, config.nearest, bandwidth)
        jumps = {"marginal": source.marginal(), "marginal_rate": config.marginal_rate}
        return {"kind": "neighbour_graph", "neighbours": neighbours, "rates": rates, **jumps}
    return {"kind": config.kind, "num_states": num_states}


def read_generator(path: Path | None, num_states: int) -> Tensor:
    """Rates [B, B] from a .npy file.

    Raises:
        UserError: no file named, not a .npy file of numbers, or not over the data's states.
    """
    if path is None:
        raise fail("process.generator", "name a .npy file", "nothing", "add --process.generator FILE")
    remedy = "write it with numpy.save(path, rates)"
    try:
        rates = np.load(path, allow_pickle=False)
        if np.iscomplexobj(rates):
            raise TypeError("complex numbers")
        generator = torch.from_numpy(np.asarray(rates, dtype=np.float64))
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise fail("process.generator", "be a .npy file of numbers", f"{path} ({error})", remedy) from error
    if generator.shape != (num_states, num_states):
        rule = f"hold rates between the data's states, [{num_states}, {num_states}]"
        raise fail("process.generator", rule, list(generator.shape), remedy)
    return generator


def train(
    config: Config,
    folder: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> metrics.Metrics:
    """Train a run into `folder`.

    Args:
        config: all its options.
        folder: where to write; made if it does not exist.
        resume: continue the run that is in the folder, which must have the same options.
        overwrite: replace the run that is in the folder.
        device: "auto", "cpu", "cuda" or "cuda:N".
        progress: whether to show a progress bar, and first what was read.

    Returns:
        The last row of metrics, with the final validation.

    Raises:
        UserError: naming what is wrong; unless training itself fails, a run in the folder is left as it was.
        KeyboardInterrupt: on SIGINT, after which the run can be resumed.
    """
    files, place = RunFolder(Path(folder)), runs.resolve_device(device)
    check_folder(files, config, resume=resume, overwrite=overwrite)
    with status(progress):
        prepared = prepare(config)
    plan(prepared.source.split("train"), config.training, config.seed)
    # A run cut short before its first checkpoint starts again; one that has lost its checkpoint must not.
    saved = files.last.exists() or files.model.exists()
    start = checkpoint.read(files.last) if resume and saved else None
    if start is not None:
        check_checkpoint(prepared.network, start, files.last)
        if start.p0 is not None:
            check_same_data(prepared.source, start.p0)
        if start.process is not None:
            check_same_noise(prepared.model, start.process)
    elif config.init_from is not None:
        other, ours = runs.load(config.init_from), prepared.source.spec()
        if any(ours.get(name) != other.data.get(name) for name in ("alphabet", "tokens")):
            found, remedy = runs.describe_states(other.data), "start from a run of the same letters or tokens"
            raise fail("init_from", f"be of {runs.describe_states(ours)}", f"{config.init_from} of {found}", remedy)
        runs.load_weights(prepared.network, other.network.state_dict(), str(config.init_from))

    from scud.training.fit import fit  # loads Lightning, which takes seconds: mistakes are told before that

    files.path.mkdir(parents=True, exist_ok=True)
    if overwrite:
        clear(files)
    if not resume:
        write_config(files.config, config)
    if progress and prepared.source.report:
        print("\n".join(prepared.source.report))
    if start is None or start.step < config.training.steps:
        network, model = prepared.network.to(place), prepared.model.to(place)
        source = prepared.source
        valid = source.split("valid").part(config.training.validation_examples)
        splits, data = (source.split("train"), valid), source.spec()
        fit(
            model,
            network,
            *splits,
            config.training,
            files,
            lambda average: runs.save(files.path, model, average, data),
            seed=config.seed,
            device=place,
            start=start,
            unit=unit(config),
            progress=progress,
        )
    rows = metrics.read(files.metrics)
    draw_curves(files, rows, unit(config))
    return rows[-1]


def status(shown: bool) -> AbstractContextManager[object]:
    """What says that data are read and tables are made, which takes a while for large files and for many states."""
    from rich.console import Console

    return Console().status("reading the data and building the model") if shown else nullcontext()


def unit(config: Config) -> metrics.Unit:
    """What the losses of a run are shown in."""
    if config.data.kind == "text":
        units: dict[str, metrics.Unit] = {"characters": "bits/char", "bytes": "bits/byte"}
        return units.get(config.data.tokens, "perplexity")
    return "perplexity" if config.data.kind == "sequences" else "bits/dim"


def check_folder(files: RunFolder, config: Config, *, resume: bool, overwrite: bool) -> None:
    """Raise `UserError` unless a run may be written to the folder."""
    if resume and overwrite:
        raise fail("--resume and --overwrite", "not be given together", "both", "drop one of them")
    if files.path.exists() and not files.path.is_dir():
        raise fail("out", "be a folder", files.path, "choose another --out")
    if not files.path.exists() or not any(files.path.iterdir()):
        if resume:
            raise fail("out", "hold a run to resume", files.path, "drop --resume, or correct --out")
        return
    if not files.config.is_file():
        raise fail("out", "be empty or hold a run", f"{files.path} with other files", "choose another --out")
    if resume:
        changed = differences(config, read_config(files.config))
        if changed:
            remedy = "resume with the folder's own config.yaml, or use --init-from for a new run from its weights"
            raise fail("a resumed run", "keep its options", f"another {', '.join(changed)}", remedy)
    elif overwrite:
        read_config(files.config)  # a folder whose config.yaml is not a run's is somebody else's
    else:
        remedy = "add --resume to continue it, --overwrite to replace it, or choose another --out"
        raise fail("out", "not hold a run already", files.path, remedy)


def check_same_noise(model: Diffusion, arguments: Mapping[str, Any]) -> None:
    """Raise `UserError` unless a model's noise has these arguments: files of rates or of neighbours may have changed."""
    ours = checkpoint.process_arguments(model)
    changed = [name for name in ours if not alike(ours[name], arguments.get(name))]
    if changed:
        remedy = "restore the file it was read from, or train a new run"
        raise fail("the noise", "be that which the run was trained on", f"other {', '.join(changed)}", remedy)


def alike(one: Any, other: Any) -> bool:
    """Whether two arguments are the same, numbers of tensors up to rounding."""
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return bool(one == other) if type(one) is type(other) else False
    return one.shape == other.shape and torch.allclose(one.double(), other.double(), rtol=1e-5, atol=0)


def check_same_data(source: Source, p0: Tensor) -> None:
    """Raise `UserError` unless the training data have the marginal p0 [B] of those that a run was trained on."""
    if not torch.allclose(source.marginal(), p0.cpu(), rtol=1e-12, atol=0):
        remedy = (
            "restore the data file, and vocabulary, that the run was trained on, or train a new run on the new data"
        )
        raise fail("data", "be those that the run was trained on", f"another {source.name}", remedy)


def check_checkpoint(network: nn.Module, start: checkpoint.Checkpoint, path: Path) -> None:
    """Raise `UserError` unless the checkpoint's weights fit the network and its optimiser is whole."""
    if set(start.optimizer) != {"state", "param_groups"}:
        remedy = "if best.ckpt beside it is sound, copy it over this file; or start again with --overwrite"
        raise fail("checkpoint", "hold the optimiser's state", path, remedy)
    for weights in (start.network, start.average):
        runs.load_weights(network, weights, str(path))


def clear(files: RunFolder) -> None:
    """Remove what an earlier run wrote, and nothing else."""
    for file in files.written():
        file.unlink(missing_ok=True)
    for folder in (files.checkpoints, files.model, files.samples):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def draw_curves(files: RunFolder, rows: list[metrics.Metrics], unit: metrics.Unit) -> None:
    """Draw the training curves."""
    from scud import plots

    def shown(bits: float) -> float:
        return metrics.in_unit(bits, unit)

    valid = [(row.step, shown(row.valid_bits_per_dim)) for row in rows if row.valid_bits_per_dim is not None]
    steps, losses = [row.step for row in rows], [shown(row.train_bits_per_dim) for row in rows]
    figure = plots.training_curves(steps, losses, [step for step, _ in valid], [value for _, value in valid], unit)
    plots.save_figure(figure, files.curves)

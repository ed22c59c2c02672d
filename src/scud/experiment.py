"""From a configuration to a trained run: data, model and network, and what becomes of the run folder.

Nothing is written before everything that can be checked has been: data read, model and network built, checkpoint read.
"""

import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from scud import front, runs
from scud.config import Config, differences, kinds_of, read_config, write_config
from scud.config.files import check_is_config
from scud.data import Data
from scud.diffusion import Diffusion
from scud.errors import fail, printable
from scud.files.locks import check_unlocked
from scud.networks.labels import reads_labels
from scud.ranks import ranks_of
from scud.seeds import Use, derive
from scud.training import checkpoint, metrics, threads
from scud.training.files import RunFolder
from scud.training.job import Job
from scud.training.options import HARDWARE, may_grow


@dataclass(frozen=True)
class Prepared:
    """All that training starts from."""

    data: Data
    model: Diffusion
    network: nn.Module


def prepare(config: Config) -> Prepared:
    """Read the data, and build the model and the network with its first weights, which derive from the seed.

    Raises:
        UserError: naming what is wrong with the data or an option.
    """
    data = config.data.read()
    model = config.diffusion.build(data, config.process, config.schedule)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(config.seed, Use.INITIAL_WEIGHTS))
        network = config.network.build(data)
    return Prepared(data, model, network)


def train(
    config: Config,
    folder: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: bool = True,
) -> tuple[metrics.Metrics, str] | None:
    """Train a run into `folder`.

    A new run on a CPU for which `config.threads` is None tries a few steps with one, half and all of PyTorch's threads, and
    goes on with the fastest number, which its config.yaml notes. The caller's number of threads is left as it was.

    Args:
        config: all its options.
        folder: where to write; made if it does not exist.
        resume: continue the run that is in the folder, which must have the same options. It goes on with its number of
            threads, or with one for each core where there are fewer.
        overwrite: replace the run that is in the folder.
        device: "auto", "cpu", "cuda" or "cuda:N".
        progress: whether to show a progress bar, and first what was read.

    Returns:
        The last row of metrics, with the final validation, and the unit that losses are shown in; None in the processes that
        train with another one, which writes them.

    Raises:
        UserError: naming what is wrong; unless training itself fails, a run in the folder is as it was.
        Interrupted: on Ctrl-C or another signal that asks to stop, after which the run can be resumed.
    """
    files, place = RunFolder(Path(folder)), runs.resolve_device(device)
    ranks = ranks_of(config.training.devices, config.training.num_nodes, place)
    place = ranks.place(place)
    progress = progress and ranks.writes
    if ranks.writes:
        check_folder(files, config, resume=resume, overwrite=overwrite)
        check_unlocked(files.path)
    if not resume or config.threads != saved_config(files, config).threads:
        threads.check_threads(config.threads)
    with status(progress, "reading the data and building the model"):
        prepared = prepare(config)
    data = prepared.data
    job = front.job_of(
        prepared.model,
        prepared.network,
        data,
        config.training,
        config.objective.build(),
        config.seed,
        ranks=ranks.count,
    )
    if config.init_from is not None and ranks.writes and not (resume and files.begun):
        start_from(config.init_from, prepared, job)
    if resume and config.threads is None:
        config = replace(config, threads=saved_config(files, config).threads)
    if not ranks.writes:
        start = front.checkpoint_of(files, job, data) if resume and files.begun else None
        with threads.computing_with(threads.at_hand(config.threads)):
            front.train_job(
                job, data, files, device=place, start=start, ranks=ranks, progress=False
            )
        return None
    with files.held():
        check_folder(files, config, resume=resume, overwrite=overwrite)  # which may have changed
        start = front.checkpoint_of(files, job, data) if resume and files.begun else None
        tried = None
        if start is None and config.threads is None and ranks.count == 1:
            tried = try_threads(job, place, progress)
            config = replace(config, threads=None if tried is None else tried.best)
        if overwrite:
            files.clear(files.config)
        if not resume or differences(config, saved_config(files, config)):
            write_config(files.config, config)
        if progress:
            say(data, start, tried, config.threads)
        with threads.computing_with(threads.at_hand(config.threads)):
            front.train_job(
                job, data, files, device=place, start=start, ranks=ranks, progress=progress
            )
        rows = metrics.read(files.metrics)
        if not rows:
            rule, remedy = "hold the steps of the run", "the model is whole: use scud evaluate"
            raise fail(str(files.metrics), rule, "none, and the checkpoint keeps none", remedy)
        draw_curves(files, rows, job.unit)
    return rows[-1], job.unit


def try_threads(job: Job, device: torch.device, progress: bool) -> threads.Tried | None:
    """Try how many threads are fastest, and say that this is done."""
    with status(progress, "trying how many threads are fastest"):
        return threads.try_threads(job, device)


def say(
    data: Data,
    start: checkpoint.Checkpoint | None,
    tried: threads.Tried | None,
    wanted: int | None,
) -> None:
    """Say what was read, what could not be compared, how many threads are fastest, and that there are fewer than wanted."""
    lines = list(data.report)
    if start is not None and start.digests is None:
        lines.append(
            "this run's checkpoint is of an earlier version, which kept no digest of its data: "
            "only how often each state occurs was compared"
        )
    if tried is not None:
        lines.append(str(tried))
    used = threads.at_hand(wanted)
    if used != wanted:
        lines.append(f"threads: {used}, the cores at hand; this run began with {wanted}")
    for line in lines:
        print(printable(line), file=sys.stderr)


def start_from(folder: Path, prepared: Prepared, job: Job) -> None:
    """Give the network the weights of another run.

    Raises:
        UserError: the other run is of other states or labels.
    """
    ours = prepared.data.modality
    other, labels, weights = runs.load_start(folder, type(ours))
    if other.describe() != ours.describe():
        what, remedy = f"{folder} of {other.describe()}", "start from a run of the same states"
        raise fail("init_from", f"be of {ours.describe()}", what, remedy)
    if labels and reads_labels(prepared.network):
        checkpoint.check_same_labels(job.label_names, labels)
    checkpoint.load_weights(prepared.network, weights, str(folder))


def status(shown: bool, what: str) -> AbstractContextManager[object]:
    """What says what is done that takes a while."""
    from rich.console import Console

    return Console(stderr=True).status(what) if shown else nullcontext()


def check_folder(files: RunFolder, config: Config, *, resume: bool, overwrite: bool) -> None:
    """Raise `UserError` unless a run may be written to the folder."""
    files.check_free(files.config, resume=resume, overwrite=overwrite)
    if resume:
        check_same_options(config, saved_config(files, config))
    elif overwrite and files.config.is_file():
        # A folder whose config.yaml is not a run's is somebody else's.
        check_is_config(files.config)


def check_same_options(config: Config, saved: Config) -> None:
    """Raise `UserError` unless a run may go on with a configuration: its own, more steps of it, or other hardware."""
    hardware = {"threads", *(f"training.{name}" for name in HARDWARE)}
    changed = [name for name in differences(config, saved) if name not in hardware]
    if changed == ["training.steps"]:
        steps, before = config.training.steps, saved.training.steps
        if may_grow(steps, config.training.decay, before):
            return
        rule = f"be {before} as before, or more where training.decay is constant"
        remedy = (
            "with another decay, the learning rates so far depend on the steps: "
            "start a new run from its weights by --init-from"
        )
        raise fail("training.steps of a resumed run", rule, steps, remedy)
    if changed:
        remedy = "resume with the folder's own config.yaml, or use --init-from for a new run from its weights"
        raise fail("a resumed run", "keep its options", f"another {', '.join(changed)}", remedy)


def saved_config(files: RunFolder, config: Config) -> Config:
    """The configuration in a run folder, whose classes of a user's own may be those of another."""
    return read_config(files.config, kinds_of(config))


def draw_curves(files: RunFolder, rows: list[metrics.Metrics], unit: str) -> None:
    """Draw the training curves."""
    from scud import plots

    def shown(bits: float) -> float:
        return metrics.in_unit(bits, unit)

    valid = [
        (row.step, shown(row.valid_bits_per_dim))
        for row in rows
        if row.valid_bits_per_dim is not None
    ]
    steps, losses = [row.step for row in rows], [shown(row.train_bits_per_dim) for row in rows]
    figure = plots.training_curves(
        steps, losses, [step for step, _ in valid], [value for _, value in valid], unit
    )
    plots.save_figure(figure, files.curves)

"""The library's front door: train a network for a model on data, bound the likelihood of examples, draw new ones.

What these functions take is a trained `Run`, or a model and a network of one's own.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scud import runs
from scud.data import Data
from scud.diffusion import Diffusion
from scud.diffusion.objectives import Bound, Objective
from scud.errors import check_count, check_seed, fail
from scud.evaluation import Evaluation
from scud.evaluation import evaluate as evaluate_model
from scud.evaluation.bound import draws_for
from scud.files import parse_json, read_text, write_text
from scud.networks.labels import num_labels, reads_labels
from scud.ranks import ALONE, Ranks, ranks_of
from scud.runs import Run
from scud.samplers import Ancestral, Sampler
from scud.specs import check_savable
from scud.trained import (
    Trained,
    check_kinds,
    check_labels,
    checked_examples,
    checked_shape,
    parts_of,
)
from scud.training import checkpoint, metrics, trial
from scud.training.files import RunFolder
from scud.training.job import Job
from scud.training.options import HARDWARE, TrainingOptions, may_grow, options_for
from scud.training.stream import order
from scud.typing import Batch, ExampleSet, Given, Shape

BATCH_SIZE = 256
"""Examples that are evaluated at once."""

BATCH_TOKENS = 16_384
"""Positions that are evaluated at once, of data whose examples differ in length."""


def fit(
    model: Diffusion,
    network: nn.Module,
    data: Data,
    folder: str | Path,
    *,
    objective: Objective | None = None,
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    loggers: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
    progress: bool = True,
    **options: Any,
) -> Run:
    """Train a network for a model on data, into a run folder.

    The folder gets metrics.csv, checkpoints/ (to resume) and model/ (to load). On a CPU an interrupted run goes on bit for bit
    with `resume=True`. The number of threads is PyTorch's (`torch.set_num_threads`), and stays as it is.

    Args:
        model: the diffusion.
        network: (x_t, Conditioning) -> logits, a module; trained in place. To be saved it needs `spec()`, the arguments of its
            constructor. It gets class labels where its attribute `num_labels` is above 0.
        data: what to train and validate on.
        folder: of the run; made if it does not exist.
        objective: what is minimised, `Bound()` by default; any callable (model, draw) -> nats per example [batch].
        seed: what all randomness derives from.
        resume: continue the run in the folder, which must have the same options.
        overwrite: replace the run in the folder.
        device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
        loggers: Lightning's loggers; each gets the metrics of every step.
        callbacks: called with the `Metrics` of every step; or Lightning's callbacks.
        progress: whether to show a progress bar.
        options: of training, as `scud train --help` lists them: steps, batch_size (batch_tokens of data whose examples differ
            in length), learning_rate, warmup, ema_decay, validate_every, …

    Returns:
        The run, its network with averaged weights; with strategy="fsdp" on the CPU.

    Raises:
        UserError: an option that does not exist or breaks its rule; a folder that holds something else; a loss that is not
            finite.
        Interrupted: a KeyboardInterrupt, on Ctrl-C or another signal that asks to stop, once the step at hand is done
            and a checkpoint is written.
    """
    trial.check_watchers(loggers, callbacks)
    settings = training_options(data, options)
    objective = Bound() if objective is None else objective
    files, place = RunFolder(Path(folder)), runs.resolve_device(device)
    ranks = ranks_of(settings.devices, settings.num_nodes, place)
    place = ranks.place(place)
    job = job_of(model, network, data, settings, objective, seed, ranks=ranks.count)
    about = {
        "format": 2,
        "seed": seed,
        "objective": _described(objective),
        "training": asdict(settings),
    }
    train = partial(
        train_job,
        job,
        data,
        files,
        device=place,
        ranks=ranks,
        loggers=loggers,
        callbacks=callbacks,
    )
    if not ranks.writes:
        start = checkpoint_of(files, job, data) if resume and files.begun else None
        return train(start=start, progress=False)
    check_folder(files, about, resume=resume, overwrite=overwrite)
    with files.held():
        check_folder(files, about, resume=resume, overwrite=overwrite)  # which may have changed
        start = checkpoint_of(files, job, data) if resume and files.begun else None
        if overwrite:
            files.clear(files.options)
        write_text(files.options, json.dumps(about, indent=2) + "\n")
        return train(start=start, progress=progress)


def checkpoint_of(files: RunFolder, job: Job, data: Data) -> checkpoint.Checkpoint:
    """The checkpoint that a run goes on from; a warning says where it took examples in another order.

    Raises:
        UserError: it is damaged or of something else; or the run has a model and has lost its checkpoint.
    """
    start = checkpoint.read(files.last)
    checkpoint.check_continues(start, files.last, job, data.name)
    checkpoint.tell_order(start, job)
    return start


def training_options(data: Data, options: dict[str, Any]) -> TrainingOptions:
    """The options of training that suit data, with these values.

    Raises:
        UserError: an option that does not exist, or does not suit the data.
    """
    suited = options_for(data.modality)
    names = [part.name for part in fields(suited)]
    unknown = [name for name in options if name not in names]
    if unknown:
        remedy = f"training on {data.modality.noun} has {', '.join(names)}"
        raise fail(
            ", ".join(unknown), f"be an option of training on {data.modality.noun}", "none", remedy
        )
    return suited(**options)


def job_of(
    model: Diffusion,
    network: nn.Module,
    data: Data,
    settings: TrainingOptions,
    objective: Objective,
    seed: int,
    *,
    ranks: int = 1,
) -> Job:
    """What is to be trained, by so many processes; raises `UserError` where the parts do not fit together."""
    trial.check_parts(model, network, objective, seed)
    if model.num_states != data.num_states:
        remedy = "build the model with num_states and p0() of the data"
        raise fail(
            "model", f"have the {data.num_states} states of the data", model.num_states, remedy
        )
    check_savable(model, network, data.modality)
    number = num_labels(network)
    if number not in (0, len(data.label_names)):
        remedy = (
            "build it with num_labels=len(data.label_names), or 0 for a network that reads none"
        )
        rule = f"read the {len(data.label_names)} labels of the data"
        raise fail("network", rule, f"num_labels {number}", remedy)
    job = Job(
        model=model,
        network=network,
        train=data.split("train"),
        valid=data.split("valid").part(settings.validation_examples),
        settings=settings,
        objective=objective,
        seed=seed,
        augment=data.augment,
        unit=data.modality.unit,
        label_names=tuple(data.label_names) if number else (),
        digests=data.digests(),
    )
    trial.check_room(job, data.dims)
    trial.check_strategy(job, ranks)
    order(
        job, settings.accumulate * ranks
    )  # refuses a batch that cannot be divided, before anything is written
    trial.try_draw(job)
    return job


def train_job(
    job: Job,
    data: Data,
    files: RunFolder,
    *,
    device: torch.device,
    start: checkpoint.Checkpoint | None = None,
    ranks: Ranks = ALONE,
    loggers: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
    progress: bool = True,
) -> Run:
    """Train into a folder whose files are in order, with the other `ranks`; what else is given and returned is as in `fit`."""
    from scud.training.fit import (
        run,  # loads Lightning, which takes seconds: mistakes are told before that
    )

    labels = data.label_names if reads_labels(job.network) else ()

    def save(averaged: nn.Module, step: int) -> None:
        about = data.modality, labels
        runs.save_held(files.path, job.model, averaged, *about, step=step, digests=job.digests)

    if ranks.writes and start is not None and runs.saved_step(files.path) != start.step:
        # Killed before the model of this step was written, or the model was lost or damaged since.
        job.network.load_state_dict(start.average)
        save(job.network, start.step)
    if ranks.writes and start is not None and not files.best.exists():
        checkpoint.write_best_again(files.best, files.last, start)
    if start is not None and start.step >= job.settings.steps:
        if ranks.writes:
            metrics.keep_until(files.metrics, start.step, start.metrics)
        job.network.load_state_dict(start.average)
        average = deepcopy(job.network)  # which stays trainable
    else:
        if job.settings.strategy != "fsdp":  # which takes a network to its devices part by part
            job.network.to(device)
        job.model.to(device)
        average = run(
            job,
            files,
            save,
            device=device,
            start=start,
            ranks=ranks,
            loggers=loggers,
            callbacks=callbacks,
            progress=progress,
        )
    average.eval().requires_grad_(False)
    return Run(job.model, average, data.modality, labels, files.path, job.digests)


def check_folder(files: RunFolder, about: dict[str, Any], *, resume: bool, overwrite: bool) -> None:
    """Raise `UserError` unless `fit` may write a run with these options to the folder."""
    files.check_free(files.options, resume=resume, overwrite=overwrite)
    if resume:
        text = read_text(files.options, "the options of scud.fit", argument="folder")
        saved = parse_json(text, str(files.options), "overwrite the run")
        _let_grow(about["training"], saved.get("training"))
        changed = [name for name in about if _plain(about[name]) != saved.get(name)]
        if changed:
            remedy = "give the options that the run was begun with, or another folder"
            raise fail("a resumed run", "keep its options", f"another {', '.join(changed)}", remedy)


def _let_grow(ours: Mapping[str, Any], theirs: Any) -> None:
    """Let saved options of training be those of now where these may differ: where it computes, and steps that may grow."""
    if isinstance(theirs, dict):
        theirs.update({name: ours[name] for name in HARDWARE})
    if isinstance(theirs, dict) and may_grow(ours["steps"], ours["decay"], theirs.get("steps")):
        theirs["steps"] = ours["steps"]


def _described(objective: Objective) -> Any:
    """An objective as a file names it."""
    if is_dataclass(objective) and not isinstance(objective, type):
        return asdict(objective)
    return getattr(objective, "__qualname__", type(objective).__qualname__)


def _plain(value: Any) -> Any:
    """What a value is after it was written as JSON and read."""
    return json.loads(json.dumps(value))


def evaluate(
    trained: Trained,
    examples: ExampleSet | Tensor,
    *,
    repeats: int | None = None,
    batch_size: int = BATCH_SIZE,
    batch_tokens: int = BATCH_TOKENS,
    known: Callable[[Batch, torch.Generator], Tensor] | None = None,
    labels: bool = True,
    sampler: Sampler | None = None,
    seed: int = 0,
    ranks: Ranks = ALONE,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Bound the likelihood of examples; what is returned prints itself.

    Args:
        trained: a run, or a model and its network.
        examples: a split of data, such as `data.split("test")`, or states [N, *dims].
        repeats: draws of time and noise per example; 16 by default, and fewer where each is of all steps of a sampler.
        batch_size: examples at once.
        batch_tokens: positions at once, of data whose examples differ in length.
        known: draws which positions of a batch are given, [batch, *dims] bool; the bound is then on the others given these.
        labels: whether a network that reads labels is told those of the examples.
        sampler: bound the likelihood of what `Ancestral(steps=8)`, say, draws: all positions of a step from one call of the
            network; of what it tends to with many steps by default.
        seed: of all noise.
        ranks: the processes that share out the batches, all of which call this with the same arguments.
        progress: called with the share done, in (0, 1].

    Raises:
        UserError: no examples, states or a shape that the model does not have, or a number that is
            too small; a sampler whose bound is not known.
        TypeError: states that are no integers, or arguments that are something else.
    """
    model, network = parts_of(trained)
    if not isinstance(network, nn.Module):
        kind = type(network).__name__
        raise TypeError(f"network must be a torch.nn.Module, got {kind}; make it one")
    repeats = draws_for(sampler) if repeats is None else repeats
    counts = {"repeats": repeats, "batch_size": batch_size, "batch_tokens": batch_tokens}
    for name, value in counts.items():
        check_count(name, value, 1, "leave it out for the default")
    check_seed(seed)
    result = evaluate_model(
        model,
        network,
        checked_examples(trained, model, examples),
        repeats=repeats,
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        known=known,
        labels=labels,
        sampler=sampler,
        seed=seed,
        ranks=ranks,
        progress=progress,
    )
    if not isinstance(trained, Run):
        return result
    split = None if known is not None or isinstance(examples, Tensor) else examples
    return result.reported(trained.modality, split)


def sample(
    trained: Trained,
    shape: Shape | int,
    given: Given | None = None,
    *,
    sampler: Sampler | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw clean states.

    Args:
        trained: a run, or a model and its network.
        shape: (batch, *dims); of a run whose examples have one shape, how many.
        given: labels, known positions and which positions are real.
        sampler: how; `Ancestral()` by default.
        generator: source of all noise, on the model's device.

    Returns:
        States [batch, *dims] int64, on the model's device.

    Raises:
        UserError: a shape, known states or a grid that do not fit; a label for a network that reads
            none.
        TypeError: arguments that are something else.
    """
    model, network = parts_of(trained)
    check_kinds(given, sampler, generator)
    check_labels(given, network)
    shape = checked_shape(trained, shape)
    chosen = Ancestral() if sampler is None else sampler
    with torch.no_grad():
        return chosen(
            model, network, shape, (given or Given()).to(model.p0.device), generator=generator
        )

"""Training a network for a diffusion model, from nothing or from a checkpoint, into a run folder."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch._dynamo.exc import ShortenTraceback

from scud.errors import UserError, fail
from scud.training import metrics
from scud.training.bar import Bar
from scud.training.callbacks import AfterStep, Journal
from scud.training.checkpoint import Checkpoint
from scud.training.files import RunFolder
from scud.training.job import Job
from scud.training.module import DiffusionTraining, NotFiniteError


def run(
    job: Job,
    folder: RunFolder,
    save_model: Callable[[nn.Module], None],
    *,
    device: torch.device,
    start: Checkpoint | None = None,
    loggers: Sequence[Any] = (),
    callbacks: Sequence[AfterStep | pl.Callback] = (),
    progress: bool = True,
) -> nn.Module:
    """Train up to `job.settings.steps`, writing metrics, checkpoints and the averaged network as it goes.

    Args:
        job: what is trained, on what, and how.
        folder: an existing folder; files of later steps than the start are replaced.
        save_model: writes the averaged network it is given.
        device: where to compute.
        start: a checkpoint of the same run, which continues bit for bit on a CPU.
        loggers: Lightning's loggers; each gets the row of metrics of every step.
        callbacks: called with the row of metrics after every step; or Lightning's callbacks.
        progress: whether to show a progress bar.

    Returns:
        The network with averaged weights. The global random state is left as it was.

    Raises:
        UserError: a loss or gradient is not finite; the message names the step, the term and the last good checkpoint.
        KeyboardInterrupt: on SIGINT, once the step at hand is done and a checkpoint is written.
    """
    folder.checkpoints.mkdir(exist_ok=True)
    first = 0 if start is None else start.step
    metrics.keep_until(folder.metrics, first)
    bar = Bar(first, job.settings.steps, job.unit, shown=progress)
    after_step = [callback for callback in callbacks if not isinstance(callback, pl.Callback)]
    journal = Journal(folder, job, save_model, [*after_step, bar])
    gpus = [device.index or 0] if device.type == "cuda" else []
    with _quiet_lightning(), torch.random.fork_rng(devices=gpus), bar:
        module = DiffusionTraining(job, start)
        trainer = pl.Trainer(
            accelerator="gpu" if gpus else "cpu",
            devices=gpus or 1,
            max_epochs=1,
            precision="bf16-mixed" if job.settings.precision == "bfloat16" else "32-true",
            accumulate_grad_batches=job.settings.accumulate,
            callbacks=[
                journal,
                *(callback for callback in callbacks if isinstance(callback, pl.Callback)),
            ],
            logger=list(loggers) or False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=folder.path,
        )
        try:
            trainer.fit(module)
        except NotFiniteError as error:
            raise UserError(f"{error}; {_last_good(folder)}") from None
        except ShortenTraceback as error:
            remedy = "install what it lacks (a C++ compiler; on a GPU, Triton), or leave it out"
            first_line = str(error).split("\n")[0]
            raise fail(
                "training.compile", "be used where torch.compile works", first_line, remedy
            ) from error
    if journal.interrupted:
        raise KeyboardInterrupt
    return module.ema.network


def _last_good(folder: RunFolder) -> str:
    """What to do after a loss that is not finite."""
    if not folder.last.exists():
        return "there is no checkpoint yet; lower training.learning_rate and start again with --overwrite"
    return (
        f"the last good checkpoint is {folder.last}; lower training.learning_rate and start a new run "
        f"from its weights with --init-from {folder.path}"
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning without its banners and its advice on data-loading workers; warnings of others stay."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*")
            yield
    finally:
        logger.setLevel(level)

"""Training a network for a diffusion model, from nothing or from a checkpoint, into a run folder."""

import logging
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import nn
from torch._dynamo.exc import ShortenTraceback

from scud.errors import Interrupted, UserError, fail
from scud.files import make_folder
from scud.ranks import ALONE, Ranks, is_of_others
from scud.training import metrics, processes
from scud.training.bar import Bar
from scud.training.callbacks import AfterStep, Journal, SaveModel
from scud.training.checkpoint import Checkpoint, read
from scud.training.files import RunFolder
from scud.training.job import Job
from scud.training.module import DiffusionTraining, NotFiniteError
from scud.training.stopping import Stop


def run(
    job: Job,
    folder: RunFolder,
    save_model: SaveModel,
    *,
    device: torch.device,
    start: Checkpoint | None = None,
    ranks: Ranks = ALONE,
    loggers: Sequence[Any] = (),
    callbacks: Sequence[AfterStep | pl.Callback] = (),
    progress: bool = True,
) -> nn.Module:
    """Train up to `job.settings.steps`, writing metrics, checkpoints and the averaged network as it goes.

    Args:
        job: what is trained, on what, and how.
        folder: an existing folder; files of later steps than the start are replaced.
        save_model: writes the averaged network it is given, of a step.
        device: where to compute.
        start: a checkpoint of the same run, which continues bit for bit on a CPU.
        ranks: the processes that train together, and which of them this is.
        loggers: Lightning's loggers; each gets the row of metrics of every step.
        callbacks: called with the row of metrics after every step; or Lightning's callbacks.
        progress: whether to show a progress bar.

    Returns:
        The network with averaged weights. The global random state is left as it was.

    Raises:
        UserError: a loss, gradient or validation is not finite; the message names the step, the term and the last good
            checkpoint. Or a file cannot be written.
        UserError: another process of the run has ended, or cannot be reached.
        Interrupted: on Ctrl-C or another signal that asks to stop, once the step at hand is done and a checkpoint is written.
    """
    first = 0 if start is None else start.step
    if ranks.writes:
        make_folder(folder.checkpoints)
        metrics.keep_until(folder.metrics, first, None if start is None else start.metrics)
    stop = Stop()
    bar = Bar(first, job.settings.steps, job.unit, shown=progress)
    after_step = [callback for callback in callbacks if not isinstance(callback, pl.Callback)]
    journal = Journal(folder, job, save_model, [*after_step, bar], stop, ranks)
    gpus = [device.index or 0] if device.type == "cuda" else []
    with _quiet_lightning(), torch.random.fork_rng(devices=gpus), bar:
        module = DiffusionTraining(job, start, stop)
        theirs = [callback for callback in callbacks if isinstance(callback, pl.Callback)]
        trainer = _trainer(job, folder, device, ranks, [journal, *theirs], loggers)
        try:
            with _told(folder, ranks):
                trainer.fit(module)
        except BaseException:
            if ranks.count > 1:
                processes.leave(trainer)
            raise
        finally:
            module.close()
    if stop.signum is not None:
        raise Interrupted(stop.signum)
    if not module.sharded:
        return module.ema.network
    job.model.cpu()  # where the whole network is
    return job.network


def _trainer(
    job: Job,
    folder: RunFolder,
    device: torch.device,
    ranks: Ranks,
    callbacks: list[pl.Callback],
    loggers: Sequence[Any],
) -> pl.Trainer:
    """What runs the loop: nothing of Lightning's own is written or shown."""
    gpu = device.type == "cuda"
    trainer = pl.Trainer(
        accelerator="gpu" if gpu else "cpu",
        devices=[device.index or 0] if gpu and ranks.count == 1 else ranks.devices,
        num_nodes=ranks.nodes,
        strategy=processes.strategy(ranks, device, job.settings.strategy),
        max_epochs=1,
        # Where weights are bfloat16 too, this lets a network be called with float32: Lightning's "bf16-true" would make noise
        # and times bfloat16.
        precision="32-true" if job.settings.precision == "float32" else "bf16-mixed",
        accumulate_grad_batches=job.settings.accumulate,
        callbacks=callbacks,
        logger=list(loggers) or False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        # Found by itself, SLURM would make Lightning save and requeue by itself too, and go on from its own files
        # hpc_ckpt_*.ckpt in this folder, which is therefore another.
        plugins=[processes.environment(ranks)],
        default_root_dir=folder.checkpoints,
    )
    processes.watch_with_patience(trainer)
    return trainer


@contextmanager
def _told(folder: RunFolder, ranks: Ranks) -> Iterator[None]:
    """What ends training, told in one line; raises as `run` says."""
    try:
        yield
    except NotFiniteError as error:
        raise UserError(f"{error}; {_last_good(folder)}") from None
    except ShortenTraceback as error:
        remedy = "install what it lacks (a C++ compiler; on a GPU, Triton), or leave it out"
        first_line = str(error).split("\n")[0]
        rule = "be used where torch.compile works"
        raise fail("training.compile", rule, first_line, remedy) from error
    except RuntimeError as error:
        if ranks.count == 1 or not is_of_others(error):
            raise
        first_line = str(error).strip().split("\n")[0]
        what = first_line if "imed out" in first_line else "another one has ended"
        rule = "go on together"
        remedy = "see what the others say, then go on from the last checkpoint with --resume"
        raise fail("the processes of this run", rule, what, remedy) from error
    except SIGTERMException as error:  # of Lightning, for a signal before the first step
        raise Interrupted(signal.SIGTERM) from error
    except SystemExit as error:  # what Lightning makes of a second Ctrl-C
        if isinstance(error.__context__, KeyboardInterrupt):
            raise Interrupted(signal.SIGINT) from error
        raise


def _last_good(folder: RunFolder) -> str:
    """What to do after a loss that is not finite."""
    if not folder.last.exists():
        return "there is no checkpoint yet; lower training.learning_rate and start again with --overwrite"
    step = read(folder.last).step
    return (
        f"the last good checkpoint is {folder.last}, of step {step}; lower training.learning_rate and start a new run "
        f"from its weights with --init-from {folder.path}"
    )


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Lightning without its banners and its advice on data-loading workers; warnings of others stay."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"pytorch_lightning\..*")
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
            # Of logits, which no objective of the library changes in place.
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

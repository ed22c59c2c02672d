"""Training a network for a diffusion model, from nothing or from a checkpoint, into a run folder."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytorch_lightning as pl
import torch
from torch import nn
from torch._dynamo.exc import ShortenTraceback

from scud.diffusion import Diffusion
from scud.errors import UserError, fail
from scud.evaluation import ExampleSet
from scud.training import metrics
from scud.training.callbacks import Bar, Journal
from scud.training.checkpoint import Checkpoint
from scud.training.files import RunFolder
from scud.training.module import DiffusionTraining, NotFiniteError
from scud.training.settings import TrainingConfig


def fit(
    model: Diffusion,
    network: nn.Module,
    train: ExampleSet,
    valid: ExampleSet,
    settings: TrainingConfig,
    folder: RunFolder,
    save_model: Callable[[nn.Module], None],
    *,
    seed: int,
    device: torch.device,
    start: Checkpoint | None = None,
    unit: metrics.Unit = "bits/dim",
    progress: bool = True,
) -> None:
    """Train up to `settings.steps`, writing metrics, checkpoints and the averaged network as it goes.

    Args:
        model: the diffusion.
        network: the denoiser; trained in place.
        train, valid: examples to train and to validate on.
        settings: how to train.
        folder: an existing folder; files of later steps than the start are replaced.
        save_model: writes the averaged network it is given.
        seed: what all randomness derives from. The global random state is left as it was.
        device: where to compute.
        start: a checkpoint of the same run, which continues bit for bit on a CPU.
        unit: what the progress bar shows the loss in.
        progress: whether to show a progress bar.

    Raises:
        UserError: a loss or gradient is not finite; the message names the step, the term and the last good checkpoint.
        KeyboardInterrupt: on SIGINT, once the step at hand is done and a checkpoint is written.
    """
    folder.checkpoints.mkdir(exist_ok=True)
    metrics.keep_until(folder.metrics, 0 if start is None else start.step)
    bar = Bar(0 if start is None else start.step, settings.steps, unit)
    bar.progress.disable = not progress
    journal = Journal(folder, valid, save_model, bar)
    gpus = [device.index or 0] if device.type == "cuda" else []
    with _quiet_lightning(), torch.random.fork_rng(devices=gpus), bar.progress:
        module = DiffusionTraining(model, network, train, settings, seed, start)
        trainer = pl.Trainer(
            accelerator="gpu" if gpus else "cpu",
            devices=gpus or 1,
            max_epochs=1,
            precision="bf16-mixed" if settings.precision == "bfloat16" else "32-true",
            accumulate_grad_batches=settings.accumulate,
            callbacks=[journal],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=folder.path,
        )
        try:
            trainer.fit(module)
        except NotFiniteError as error:
            good = "there is no checkpoint yet; lower training.learning_rate and start again with --overwrite"
            if folder.last.exists():
                good = f"the last good checkpoint is {folder.last}; lower training.learning_rate and start a new run"
                good += f" from its weights with --init-from {folder.path}"
            raise UserError(f"{error}; {good}") from None
        except ShortenTraceback as error:
            remedy = "install what it lacks (a C++ compiler; on a GPU, Triton), or leave it out"
            raise fail(
                "training.compile", "be used where torch.compile works", str(error).split("\n")[0], remedy
            ) from error
    if journal.interrupted:
        raise KeyboardInterrupt


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

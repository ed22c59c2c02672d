"""What happens between steps: validation, files, stopping when asked to, and whoever wants to know of a step."""

import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from torch import nn

from scud.evaluation import evaluate
from scud.seeds import Use, derive
from scud.training import checkpoint, metrics
from scud.training.files import RunFolder
from scud.training.job import Job
from scud.training.module import DiffusionTraining
from scud.training.stream import Portion

AfterStep = Callable[[metrics.Metrics], None]
"""Called with the row of metrics after a step."""


class Journal(pl.Callback):
    """Writes metrics, validates, and writes checkpoints and the model; stops after the step at hand on an interrupt.

    Args:
        folder: where to write.
        job: what is trained.
        save_model: writes the averaged network.
        after_step: called with the row of metrics after each step.

    Attributes:
        interrupted: whether SIGINT arrived. The first one lets the step finish; a second one ends the process.
    """

    def __init__(
        self,
        folder: RunFolder,
        job: Job,
        save_model: Callable[[nn.Module], None],
        after_step: Sequence[AfterStep],
    ) -> None:
        self.folder, self.job = folder, job
        self.save_model, self.after_step = save_model, after_step
        self.interrupted = False
        self.best, self.seconds = math.inf, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DiffusionTraining)
        if pl_module.start is not None:
            self.best, self.seconds = pl_module.start.best, pl_module.start.seconds
        self.began = time.monotonic() - self.seconds
        if threading.current_thread() is threading.main_thread():
            self.handler = signal.signal(signal.SIGINT, self._on_interrupt)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Portion,
        batch_idx: int,
    ) -> None:
        assert isinstance(pl_module, DiffusionTraining)
        if not batch.last:
            return
        settings, step = self.job.settings, pl_module.step
        due = step % settings.validate_every == 0 or step == settings.steps
        if trainer.is_global_zero:
            valid = self._validate(pl_module) if due else None
            self._record(trainer, pl_module, valid)
            if due or self.interrupted:
                self._persist(pl_module, valid)
        trainer.strategy.barrier()
        trainer.should_stop = trainer.should_stop or self.interrupted

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if hasattr(self, "handler") and not self.interrupted:
            signal.signal(signal.SIGINT, self.handler)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, self.handler)

    def _validate(self, module: DiffusionTraining) -> float:
        """The bound on the validation split, nats per position, always with the same noise."""
        settings = self.job.settings
        result = evaluate(
            self.job.model,
            module.ema.network,
            self.job.valid,
            repeats=settings.validation_repeats,
            batch_size=max(settings.size.examples // settings.accumulate, 1),
            batch_tokens=max(settings.size.positions // settings.accumulate, 1),
            seed=derive(self.job.seed, Use.VALIDATION),
        )
        return result.nats_per_position

    def _record(self, trainer: pl.Trainer, module: DiffusionTraining, valid: float | None) -> None:
        self.seconds = time.monotonic() - self.began
        row = metrics.Metrics(
            step=module.step,
            train_bits_per_dim=module.loss / math.log(2),
            valid_bits_per_dim=None if valid is None else valid / math.log(2),
            learning_rate=module.learning_rate,
            gradient_norm=module.gradient_norm,
            seconds=round(self.seconds, 3),
        )
        metrics.append(self.folder.metrics, row)
        values = {
            name: value
            for name, value in asdict(row).items()
            if name != "step" and value is not None
        }
        for logger in trainer.loggers:
            logger.log_metrics(values, step=row.step)
        for callback in self.after_step:
            callback(row)

    def _persist(self, module: DiffusionTraining, valid: float | None) -> None:
        improved = valid is not None and valid < self.best
        if valid is not None and improved:
            self.best = valid
        state = module.checkpoint(self.best, self.seconds)
        checkpoint.write(self.folder.last, state)
        if improved:
            checkpoint.write(self.folder.best, state)
        self.save_model(module.ema.network)

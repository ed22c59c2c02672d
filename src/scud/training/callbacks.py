"""What happens between steps: validation, files, stopping when asked to, and a progress bar."""

import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from scud.evaluation import ExampleSet, evaluate
from scud.seeds import Use, derive
from scud.training import checkpoint, metrics
from scud.training.files import RunFolder
from scud.training.module import DiffusionTraining
from scud.training.stream import Portion


class Journal(pl.Callback):
    """Writes metrics, validates, and writes checkpoints and the model; stops after the step at hand on an interrupt.

    Args:
        folder: where to write.
        valid: the validation split.
        save_model: writes the averaged network.
        report: called with (step, training bits/dim, last validation bits/dim or NaN) after each step.

    Attributes:
        interrupted: whether SIGINT arrived. The first one lets the step finish; a second one ends the process.
    """

    def __init__(
        self,
        folder: RunFolder,
        valid: ExampleSet,
        save_model: Callable[[nn.Module], None],
        report: Callable[[int, float, float], None],
    ) -> None:
        self.folder, self.valid, self.save_model, self.report = folder, valid, save_model, report
        self.interrupted = False
        self.best, self.seconds, self.last_valid = math.inf, 0.0, math.nan

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DiffusionTraining)
        if pl_module.start is not None:
            self.best, self.seconds = pl_module.start.best, pl_module.start.seconds
        self.began = time.monotonic() - self.seconds
        if threading.current_thread() is threading.main_thread():
            self.handler = signal.signal(signal.SIGINT, self._on_interrupt)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Portion, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, DiffusionTraining)
        if not batch.last:
            return
        settings, step = pl_module.settings, pl_module.step
        due = step % settings.validate_every == 0 or step == settings.steps
        if trainer.is_global_zero:
            valid = self._validate(pl_module) if due else None
            self._record(pl_module, valid)
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
        settings, network = module.settings, module.ema.network
        result = evaluate(
            module.model,
            network,
            self.valid,
            repeats=settings.validation_repeats,
            batch_size=max(settings.batch_size // settings.accumulate, 1),
            batch_tokens=max(settings.batch_tokens // settings.accumulate, 1),
            seed=derive(module.seed, Use.VALIDATION),
        )
        return result.nats_per_position

    def _record(self, module: DiffusionTraining, valid: float | None) -> None:
        self.seconds = time.monotonic() - self.began
        bits = None if valid is None else valid / math.log(2)
        train = module.loss / math.log(2)
        row = metrics.Metrics(
            module.step, train, bits, module.learning_rate, module.gradient_norm, round(self.seconds, 3)
        )
        metrics.append(self.folder.metrics, row)
        self.last_valid = self.last_valid if bits is None else bits
        self.report(module.step, train, self.last_valid)

    def _persist(self, module: DiffusionTraining, valid: float | None) -> None:
        improved = valid is not None and valid < self.best
        if valid is not None and improved:
            self.best = valid
        state = module.checkpoint(self.best, self.seconds)
        checkpoint.write(self.folder.last, state)
        if improved:
            checkpoint.write(self.folder.best, state)
        self.save_model(module.ema.network)


class Bar:
    """A progress bar with the loss in a unit of `metrics`."""

    def __init__(self, first: int, steps: int, unit: metrics.Unit) -> None:
        self.unit = unit
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.task = self.progress.add_task("training", total=steps, completed=first, text="")
        self.smooth = math.nan

    def __call__(self, step: int, train: float, valid: float) -> None:
        """Show a step's loss, smoothed, and the last validation's."""
        self.smooth = train if math.isnan(self.smooth) else 0.95 * self.smooth + 0.05 * train
        text = metrics.describe(self.smooth, self.unit)
        text += "" if math.isnan(valid) else f", validation {metrics.in_unit(valid, self.unit):.3f}"
        self.progress.update(self.task, completed=step, text=text)

"""What happens between steps: validation, files, stopping when asked to, and whoever wants to know of a step."""

import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import pytorch_lightning as pl
from torch import nn

from scud.errors import fail
from scud.evaluation import Evaluation, evaluate
from scud.files.writing import sync_file
from scud.ranks import Ranks
from scud.seeds import Use, derive
from scud.training import checkpoint, metrics
from scud.training.files import RunFolder
from scud.training.job import Job
from scud.training.module import DiffusionTraining, NotFiniteError, StepNumbers
from scud.training.sharded import forget_gathered
from scud.training.stopping import Stop
from scud.training.stream import Portion

SaveModel = Callable[[nn.Module, int], None]
"""Writes the averaged network of a step."""

AfterStep = Callable[[metrics.Metrics], None]
"""Called with the row of metrics after a step."""


class Read(NamedTuple):
    """What was read of steps.

    Attributes:
        row: of the last of them, in the process that records them; None where there was none.
        valid: its validation, or None.
        asked: whether a process had been asked to stop.
    """

    row: metrics.Metrics | None
    valid: Evaluation | None
    asked: bool


class Journal(pl.Callback):
    """Writes metrics, validates, and writes checkpoints and the model; stops after the step at hand on an interrupt.

    Args:
        folder: where to write.
        job: what is trained.
        save_model: writes the averaged network of a step.
        after_step: called with the row of metrics after each step.
        stop: notes the signals that ask to stop.
        ranks: the processes that train together.
    """

    def __init__(
        self,
        folder: RunFolder,
        job: Job,
        save_model: SaveModel,
        after_step: Sequence[AfterStep],
        stop: Stop,
        ranks: Ranks,
    ) -> None:
        self.folder, self.job, self.stop, self.ranks = folder, job, stop, ranks
        self.save_model, self.after_step = save_model, after_step
        self.best, self.seconds = math.inf, 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DiffusionTraining)
        if pl_module.start is not None:
            self.best, self.seconds = pl_module.start.best, pl_module.start.seconds
        self._check_same_start(trainer, pl_module)
        self.began = time.monotonic() - self.seconds
        self.stop.watch()  # after Lightning, which has just set handlers of its own

    def _check_same_start(self, trainer: pl.Trainer, module: DiffusionTraining) -> None:
        """Raise `UserError` in all processes unless all go on from the same step of the same run."""
        ours = (module.step, module.multiple, self.job.seed)
        same = trainer.strategy.broadcast(ours) == ours
        if not trainer.strategy.reduce_boolean_decision(same, all=True):
            remedy = "see that no other process writes to the folder, and that all machines see the same files"
            found = f"step {module.step} in process {trainer.global_rank}"
            raise fail("the checkpoint", "be the same for all processes", found, remedy)

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
        read = self._read(trainer, pl_module, everything=due, validating=due)
        # Read once: a signal may come at any moment, and all processes are to stop after the same step.
        asked = self.stop.signum is not None
        stopping = asked if trainer.world_size == 1 else read.asked
        if stopping:
            self.stop.signum = self.stop.signum or signal.SIGTERM  # another process has heard it
            rest = self._read(trainer, pl_module, everything=True, validating=False)
            read = read if rest.row is None else rest
        if due or stopping:
            if read.row is not None or pl_module.sharded:
                self._persist(trainer, pl_module, read)
            trainer.strategy.barrier()
        trainer.should_stop = trainer.should_stop or stopping

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DiffusionTraining)
        pl_module.whole_average()  # which all processes gather, whatever has ended training

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.stop.forget()

    def _validate(self, module: DiffusionTraining) -> Evaluation:
        """The bound on the validation split, always with the same noise, in batches that the processes share out."""
        settings, parts = self.job.settings, module.multiple
        result = evaluate(
            self.job.model,
            module.ema.network,
            self.job.valid,
            repeats=settings.validation_repeats,
            batch_size=max(settings.size.examples // parts, 1),
            batch_tokens=max(settings.size.positions // parts, 1),
            seed=derive(self.job.seed, Use.VALIDATION),
            ranks=replace(self.ranks, in_step=module.sharded),
        )
        forget_gathered(module.ema.network)
        if not math.isfinite(result.nats_per_position):
            value = result.nats_per_position
            raise NotFiniteError(module.step, "the bound on the validation split", value)
        return result

    def _read(
        self, trainer: pl.Trainer, module: DiffusionTraining, *, everything: bool, validating: bool
    ) -> "Read":
        """Read the numbers of steps, and record them with the validation of the last, in the process that does so.

        Raises:
            NotFiniteError: a loss, a gradient or a validation is not finite; the steps before have been recorded.
        """
        row = valid = None
        asked = False
        for numbers in module.measured(all_of_them=everything):
            numbers.check()
            asked = asked or numbers.asked
            if validating and numbers.step == module.step:
                valid = self._validate(module)
            if trainer.is_global_zero:
                row = self._record(trainer, numbers, valid)
        return Read(row, valid, asked)

    def _record(
        self, trainer: pl.Trainer, numbers: StepNumbers, valid: Evaluation | None
    ) -> metrics.Metrics:
        """Add the row of a step to the file, and hand it to whoever wants to know."""
        moment = numbers.moment if valid is None else time.monotonic()
        self.seconds = moment - self.began
        row = metrics.Metrics(
            step=numbers.step,
            train_bits_per_dim=numbers.loss / math.log(2),
            valid_bits_per_dim=None if valid is None else valid.bits_per_dim,
            learning_rate=numbers.learning_rate,
            gradient_norm=numbers.gradient_norm,
            seconds=round(self.seconds, 3),
            valid_bits_per_dim_error=None if valid is None else known(valid.bits_per_dim_error),
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
        return row

    def _persist(self, trainer: pl.Trainer, module: DiffusionTraining, read: Read) -> None:
        """Write the checkpoints and the model; where the network is sharded, all processes do so together.

        Whatever the moment of a kill, a run goes on from last.ckpt: metrics, best.ckpt and shards are on the disk before it, so
        that they are never older than it says; a model that is older is written again from it.
        """
        improved = read.valid is not None and read.valid.nats_per_position < self.best
        if read.valid is not None and improved:
            self.best = read.valid.nats_per_position
        state = module.checkpoint(self.best, read.row, self.seconds)
        finite = checkpoint.is_finite(state, module.network)
        if module.sharded:
            finite = trainer.strategy.reduce_boolean_decision(finite, all=True)
        if not finite:
            raise NotFiniteError(module.step, "a weight or a moment of the optimiser", math.nan)
        if module.sharded:
            state = checkpoint.write_shards(self.folder.checkpoints, state)
        if trainer.is_global_zero:
            sync_file(self.folder.metrics)
            if improved:
                checkpoint.write(self.folder.best, state)
            checkpoint.write(self.folder.last, state)
            self.folder.remove_unnamed_shards()
        average = module.whole_average()
        if trainer.is_global_zero:
            self.save_model(average, module.step)


def known(error: float) -> float | None:
    """A standard error, or None where a single example has none."""
    return error if math.isfinite(error) else None

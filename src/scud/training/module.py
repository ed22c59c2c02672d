"""One optimiser step after another: the Lightning module around a diffusion model and its network."""

import math
import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from scud.diffusion import Losses
from scud.diffusion.compiled import CompiledObjective
from scud.errors import UserError
from scud.networks.labels import reads_labels
from scud.seeds import Use, derive, seeded
from scud.training.ahead import Ahead, ahead
from scud.training.checkpoint import Checkpoint, process_arguments
from scud.training.ema import Ema
from scud.training.job import Job
from scud.training.metrics import Metrics
from scud.training.options import TrainingOptions
from scud.training.precision import keep_weights_in
from scud.training.sharded import gather, part_of, shard
from scud.training.stopping import Stop
from scud.training.stream import Portion, Stream, order_version

BETAS = (0.9, 0.99)
"""Of AdamW. Gradients of a bound are heavy-tailed in t: a second moment of shorter memory recovers sooner from a spike."""


LOSS, GRADIENT = "the diffusion term of the bound", "the gradient of the loss"
"""What must be finite after every step."""


class StepNumbers(NamedTuple):
    """What was measured of a step.

    Attributes:
        step: optimiser steps done with it.
        loss: nats per position, the mean over the whole batch.
        gradient_norm: before clipping.
        asked: whether a process had been asked to stop when it was begun.
        learning_rate: of this step.
        moment: when it had been queued, by `time.monotonic`.
    """

    step: int
    loss: float
    gradient_norm: float
    asked: bool
    learning_rate: float
    moment: float

    def check(self) -> None:
        """Raise `NotFiniteError` where the loss or the gradient is not finite."""
        check_finite(self.step, LOSS, self.loss)
        check_finite(self.step, GRADIENT, self.gradient_norm)


class DiffusionTraining(pl.LightningModule):
    """Trains a job's network to denoise for its model, and averages its weights.

    Args:
        job: what is trained, on what, and how.
        start: a checkpoint to continue from.
        stop: notes the signals that ask to stop.

    Attributes:
        step: optimiser steps done.
    """

    def __init__(self, job: Job, start: Checkpoint | None = None, stop: Stop | None = None) -> None:
        super().__init__()
        self.job, self.start, self.stop = job, start, Stop() if stop is None else stop
        self.model, self.network = job.model, job.network.train()
        self.reads_labels = reads_labels(job.network)
        self.ema = Ema(job.network, job.settings.ema_decay)
        self.step, self.losses = 0, list[Tensor]()
        self._unread = list[tuple[int, float, float, Tensor]]()
        self.portions: Iterable[Portion] = ()
        if start is not None:
            self.step = start.step
            self.network.load_state_dict(start.network)
            self.ema.network.load_state_dict(start.average)
        self.objective: Callable[..., Losses] = self.model.objective
        if job.settings.compile:
            self.network.compile()  # all that is compiled on a CPU
            self.objective = CompiledObjective(self.model)

    @property
    def sharded(self) -> bool:
        """Whether each process keeps a part of network, average and optimiser only."""
        return self.device_mesh is not None

    def configure_model(self) -> None:
        """What Lightning asks for before it makes the optimiser; `job.network` stays whole where this process trains a part."""
        precision = self.job.settings.precision
        if self.sharded:
            self.network = deepcopy(self.job.network)
        if precision == "bfloat16-true":
            keep_weights_in(torch.bfloat16, self.network)
        if self.device_mesh is not None:
            mesh = self.device_mesh["data_parallel"]
            shard(self.network, mesh, in_bfloat16=precision == "bfloat16")
            shard(self.ema.network, mesh)

    def whole_average(self) -> nn.Module:
        """The network with averaged weights; where it is sharded all processes must ask together, and it is `job.network`."""
        if not self.sharded:
            return self.ema.network
        gather(self.ema.network, self.job.network)
        return self.job.network

    def train_dataloader(self) -> Iterable[Portion]:
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        stream = Stream(self.job, self.step, rank=rank, ranks=ranks, multiple=self.multiple)
        self.portions = ahead(stream, self.trainer.strategy.root_device)
        return self.portions

    def close(self) -> None:
        """End what prepares batches, and give the network back in float32, whether training is done, was stopped or failed."""
        if isinstance(self.portions, Ahead):
            self.portions.close()
        if self.job.settings.precision == "bfloat16-true":
            keep_weights_in(torch.float32, self.job.network)

    @property
    def multiple(self) -> int:
        """Of how many examples every batch is a multiple: of the parts that the run began with."""
        accumulate = self.job.settings.accumulate
        if self.start is None:
            return accumulate * self.trainer.world_size
        return self.start.multiple or accumulate

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.job.settings
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            betas=BETAS,
            fused=True,
        )
        if self.start is not None:
            groups = optimizer.state_dict()["param_groups"]
            weights = dict(enumerate(self.network.parameters()))
            moments = self.start.optimizer["state"]
            state = {place: laid_out(moments[place], weights[place]) for place in moments}
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        return optimizer

    def transfer_batch_to_device(
        self, batch: Portion, device: torch.device, dataloader_idx: int
    ) -> Portion:
        return batch.to(device)

    def training_step(self, portion: Portion, batch_idx: int) -> Tensor:
        place = (portion.step, portion.part)
        torch.manual_seed(derive(self.job.seed, Use.DROPOUT, *place))
        noise = seeded(self.job.seed, Use.NOISE, *place, device=self.device)
        batch = portion.batch if self.reads_labels else replace(portion.batch, label=None)
        terms = self.objective(
            self.network, batch, self.job.objective, generator=noise, u=portion.u
        )
        loss = terms.loss.sum() / portion.positions
        self.losses.append(terms.diffusion.sum() / portion.positions)
        if portion.last:
            mean = torch.stack(self.losses).mean()
            # All processes hear of a signal in the same step, whichever it has come to.
            asked = torch.full_like(mean, self.stop.signum is not None)
            both = torch.stack([mean, asked])
            self._loss, self._asked = self.trainer.strategy.reduce(both, reduce_op="mean")
            self.losses = []
            if not self.reads_late:
                check_finite(self.step + 1, LOSS, float(self._loss))
        return loss

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.job.settings.clip)
        self._norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if not self.reads_late:
            check_finite(self.step + 1, GRADIENT, float(self._norm))

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None
    ) -> None:
        rate = learning_rate(self.job.settings, self.step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        self.ema.update(self.network, self.step)
        self.step += 1
        numbers = torch.stack([self._loss, self._norm, self._asked]).detach()
        self._unread.append((self.step, rate, time.monotonic(), numbers))

    @property
    def reads_late(self) -> bool:
        """Whether numbers of a step are read when the next has been queued: to read them, the host waits for the device."""
        return self.device.type != "cpu"

    def measured(self, *, all_of_them: bool) -> list[StepNumbers]:
        """The numbers of steps that have not been asked for, of the last one only where all are wanted or none waits."""
        until = len(self._unread) - (self.reads_late and not all_of_them)
        done, self._unread = self._unread[:until], self._unread[until:]
        found = []
        for step, rate, moment, numbers in done:
            loss, norm, asked = numbers.tolist()
            found.append(StepNumbers(step, loss, norm, asked > 0, rate, moment))
        return found

    def checkpoint(self, best: float, row: Metrics | None, seconds: float) -> Checkpoint:
        """The state of training after the step that a row of metrics is about, in the process that records it."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimizer, torch.optim.Optimizer)
        average = self.ema.network.state_dict()
        return Checkpoint(
            step=self.step,
            network=self.network.state_dict(),
            average=average,
            optimizer=optimizer.state_dict(),
            best=best,
            seconds=seconds,
            p0=self.model.p0.cpu(),
            process=process_arguments(self.model),
            labels=list(self.job.label_names),
            label_counts=self.job.label_counts,
            digests=dict(self.job.digests),
            multiple=self.multiple,
            row=None if row is None else row.measured(),
            order=order_version(self.job),
        )


class NotFiniteError(UserError):
    """A loss, gradient, weight or validation that is not finite."""

    def __init__(self, step: int, term: str, value: float) -> None:
        super().__init__(f"training stopped at step {step}: {term} is {value}")


def check_finite(step: int, term: str, value: float) -> None:
    """Raise `NotFiniteError` unless a value of a step is finite."""
    if not math.isfinite(value):
        raise NotFiniteError(step, term, value)


def laid_out(moments: dict[str, Tensor], weight: Tensor) -> dict[str, Tensor]:
    """What AdamW keeps of a weight, in memory as the weight is: its fused step goes by that, whatever a file says."""
    return {
        name: value.float()
        if name == "step"
        else torch.empty_like(weight).copy_(part_of(value, weight))
        for name, value in moments.items()
    }


def learning_rate(settings: TrainingOptions, step: int) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, then constant or half a cosine down to 0."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    if settings.decay == "constant":
        return settings.learning_rate
    done = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return settings.learning_rate * (1 + math.cos(math.pi * done)) / 2

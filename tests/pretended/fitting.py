"""Training by Lightning on the pretended GPU."""

from contextlib import ExitStack
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor

from scud.data.examples import Examples
from scud.numerics import fixed_shapes
from scud.training.job import Job
from scud.training.module import DiffusionTraining
from scud.training.options import ByExamples
from tests.pretended import cases
from tests.pretended.counting import Counts, count
from tests.pretended.device import pretended_gpu

STEPS = 3
"""Of a run."""


class PretendedAccelerator(Accelerator):
    """What Lightning asks of a kind of device."""

    def setup_device(self, device: torch.device) -> None:
        """Nothing to set up."""

    def teardown(self) -> None:
        """Nothing to clean up."""

    def get_device_stats(self, device: object) -> dict[str, Any]:  # noqa: ARG002
        return {}

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def get_parallel_devices(devices: Any) -> Any:
        return devices

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "pretended"


class LastStep(pl.Callback):
    """Counts what a step of a run does, from when it has its batch."""

    def __init__(self) -> None:
        self.counts, self.counting = Counts(), ExitStack()

    def on_train_batch_start(self, *arguments: Any) -> None:
        if arguments[-1] == STEPS - 1:
            self.counts = self.counting.enter_context(count())

    def on_train_batch_end(self, *arguments: Any) -> None:  # noqa: ARG002
        self.counting.close()


def fit(strategy: SingleDeviceStrategy | str) -> tuple[list[Tensor], Counts]:
    """A few steps: the averaged weights, and what the last step counted."""
    x0 = torch.randint(cases.B, (16, 12), generator=torch.Generator().manual_seed(0))
    examples = Examples(x0, torch.arange(16) % cases.LABELS)
    settings = ByExamples(steps=STEPS, batch_size=4)
    network = cases.make_network("bytenet")
    names = tuple("abc")
    model = cases.make_model("scud gaussian")
    module = DiffusionTraining(Job(model, network, examples, examples, settings, label_names=names))
    last = LastStep()
    trainer = pl.Trainer(
        strategy=strategy,
        accelerator="cpu" if isinstance(strategy, str) else "auto",
        devices=1,
        max_epochs=1,
        callbacks=[last],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        plugins=[LightningEnvironment()],
    )
    trainer.fit(module)
    return [weight.detach() for weight in module.ema.network.parameters()], last.counts


def by_lightning() -> Counts:
    """Raises where training there is not training on the CPU; returns what a step of it counted."""
    with fixed_shapes():
        expected, _ = fit("auto")
    with pretended_gpu() as gpu:
        found, counts = fit(SingleDeviceStrategy(gpu, PretendedAccelerator()))
        found = [weight.cpu() for weight in found]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    return counts

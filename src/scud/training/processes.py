"""The processes that train together, as Lightning starts and connects them, and how they end with one another."""

import os
import signal
import sys
import threading
from datetime import timedelta
from subprocess import Popen
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import (  # type: ignore[attr-defined]
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from pytorch_lightning.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from pytorch_lightning.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch import distributed

from scud.ranks import Ranks

TIMEOUT = timedelta(minutes=30)
"""For which processes wait for one another: to begin, and in a step."""

GRACE = 30.0
"""Seconds in which a process should notice by itself that another one has failed, before it is ended."""

_SET_FOR_CHILDREN = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE")


class Launcher(_SubprocessScriptLauncher):
    """Starts the other processes of this machine as Lightning does, and leaves time to tell why training has failed.

    Lightning kills this process, up to five seconds after another has failed, wherever it is: whoever has called `scud.fit`
    would never see the error. Here it gets `GRACE` to notice by itself, as it does on a CPU at once; on GPUs it may wait for the
    other for ever.
    """

    def __init__(self, environment: ClusterEnvironment, processes: int, nodes: int) -> None:
        super().__init__(environment, processes, nodes)
        self.started: list[Popen[bytes]] = []
        self.over = threading.Event()
        self.before = {name: os.environ.get(name) for name in _SET_FOR_CHILDREN}

    def launch(self, *given: Any, **options: Any) -> Any:
        try:
            return super().launch(*given, **options)
        finally:
            self.over.set()

    def _call_children_scripts(self) -> None:
        super()._call_children_scripts()
        self.started, self.procs = self.procs, []  # so that Lightning watches none
        threading.Thread(target=self._watch, name="scud-processes", daemon=True).start()

    def _watch(self) -> None:
        while not self.over.wait(1.0):
            failed = [process.returncode for process in self.started if process.poll()]
            if failed and not self.over.wait(GRACE):
                told = f"another process of this run has ended with status {failed[0]}"
                print(
                    f"{told}; go on from the last checkpoint with --resume",
                    file=sys.stderr,
                    flush=True,
                )
                self.kill(signal.SIGKILL)
                os._exit(1)

    def kill(self, signum: Any) -> None:
        for process in self.started:
            process.send_signal(signum)

    def end(self) -> None:
        """End the processes that were started, after which others can be."""
        self.kill(signal.SIGKILL)
        for process in self.started:
            process.wait()
        for name, value in self.before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def environment(ranks: Ranks) -> ClusterEnvironment:
    """How Lightning learns which process this is; of a single one, whatever a scheduler says of tasks, that it is alone."""
    if ranks.launcher == "torchrun":
        return TorchElasticEnvironment()
    if ranks.launcher == "slurm":
        return SLURMEnvironment(auto_requeue=False)
    return LightningEnvironment()


def strategy(ranks: Ranks, device: torch.device, kind: str) -> Strategy | str:
    """How processes train together, by the mean of their gradients: each with the whole network, or with a part of it (fsdp)."""
    if ranks.count == 1:
        return "auto"
    backend = "nccl" if device.type == "cuda" else "gloo"
    if kind == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=ranks.count,
            tensor_parallel_size=1,
            process_group_backend=backend,
            timeout=TIMEOUT,
        )
    return DDPStrategy(process_group_backend=backend, timeout=TIMEOUT, broadcast_buffers=False)


def watch_with_patience(trainer: pl.Trainer) -> None:
    """Let the trainer start processes by `Launcher`, where it is to start any."""
    launcher = trainer.strategy.launcher
    if isinstance(launcher, _SubprocessScriptLauncher):
        given = launcher.cluster_environment, launcher.num_processes, launcher.num_nodes
        trainer.strategy._launcher = Launcher(*given)


def leave(trainer: pl.Trainer) -> None:
    """After an error: end the processes that this one has started, and close its connections on a CPU, so that others see it.

    Where each has a part of the network, PyTorch holds them open until this process ends. On GPUs it is for torchrun or the
    scheduler to end the others.
    """
    if isinstance(trainer.strategy.launcher, Launcher):
        trainer.strategy.launcher.end()
    if distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()

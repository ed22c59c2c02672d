"""The processes that train one network together, each on a device of its own, and which of them this one is.

They are started by the command itself on one machine, by torchrun or by SLURM on many. Rank 0 holds the run folder and writes
to it; the others read the same data, and the checkpoint.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from scud.errors import fail
from scud.training.options import TrainingOptions


@dataclass(frozen=True)
class Ranks:
    """The processes of a run.

    Attributes:
        devices: how many train on each machine.
        nodes: machines.
        rank: which this process is.
        local: which it is on its machine.
        launcher: who has started them: torchrun, slurm, or the command itself.
    """

    devices: int = 1
    nodes: int = 1
    rank: int = 0
    local: int = 0
    launcher: str = "command"

    @property
    def count(self) -> int:
        """How many there are."""
        return self.devices * self.nodes

    def place(self, device: torch.device) -> torch.device:
        """Where this process computes: of several on GPUs, each on its own."""
        alone = self.count == 1 or device.type == "cpu"
        return device if alone else torch.device(device.type, self.local)

    @property
    def writes(self) -> bool:
        """Whether this process writes to the run folder, and says what happens."""
        return self.rank == 0


ALONE = Ranks()
"""One process, on one device."""


def ranks_of(
    settings: TrainingOptions, device: torch.device, environ: Mapping[str, str] = os.environ
) -> Ranks:
    """Which of the processes of a run this one is.

    Args:
        settings: with devices and num_nodes.
        device: where this run computes.
        environ: what torchrun, SLURM or the command have said.

    Raises:
        UserError: more GPUs than there are, one that is named where there are several, or another number of processes than
            have been started.
    """
    devices = _devices(settings, device)
    count = devices * settings.num_nodes
    if count == 1:
        return ALONE
    if device.index is not None:
        remedy = "write --device cuda, or leave out training.devices"
        raise fail("device", f"name no single GPU for {count} processes", device, remedy)
    if "TORCHELASTIC_RUN_ID" in environ:
        started, rank, launcher = int(environ["WORLD_SIZE"]), int(environ["RANK"]), "torchrun"
        local = int(environ.get("LOCAL_RANK", rank % devices))
    elif int(environ.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in environ:
        started, rank = int(environ["SLURM_NTASKS"]), int(environ["SLURM_PROCID"])
        local, launcher = int(environ.get("SLURM_LOCALID", rank % devices)), "slurm"
    else:
        node, local = (int(environ.get(name, "0")) for name in ("NODE_RANK", "LOCAL_RANK"))
        started, rank, launcher = count, node * devices + local, "command"
    if started != count:
        rule = f"be as many processes as {launcher} has started, {started}"
        found = f"{devices} x {settings.num_nodes}"
        remedy = "give the numbers that the processes were started with"
        raise fail("training.devices x training.num_nodes", rule, found, remedy)
    return Ranks(devices, settings.num_nodes, rank, local, launcher)


def _devices(settings: TrainingOptions, device: torch.device) -> int:
    """How many devices each machine trains on."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else None
    if settings.devices == "auto":
        return 1 if gpus is None or device.index is not None else gpus
    if gpus is not None and settings.devices > gpus:
        remedy = "lower it, or write auto"
        raise fail(
            "training.devices", f"be at most {gpus}, the GPUs here", settings.devices, remedy
        )
    return settings.devices

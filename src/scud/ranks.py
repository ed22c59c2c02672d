"""The processes that compute together, each on a device of its own, and which of them this one is.

They are started by the command itself on one machine, by torchrun or by SLURM on many. Rank 0 alone writes; the others read the
same files. What can be divided into numbered parts (batches of an evaluation, say) is dealt out in turn, and what each process
has found is put together by a sum, in which every number has one process that has found it: so that nothing found depends on
how many processes there are.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor

from scud.errors import fail

Part = TypeVar("Part")

MOST = 256
"""Processes on a CPU; each holds the whole library."""


@dataclass(frozen=True)
class Ranks:
    """The processes that compute together.

    Attributes:
        devices: how many on each machine.
        nodes: machines.
        rank: which this process is.
        local: which it is on its machine.
        launcher: who has started them: torchrun, slurm, or the command itself.
        in_step: whether all must call the network equally often, because each holds only a part of it.
    """

    devices: int = 1
    nodes: int = 1
    rank: int = 0
    local: int = 0
    launcher: str = "command"
    in_step: bool = False

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
        """Whether this process writes files, and says what happens."""
        return self.rank == 0

    def share(self, parts: Iterable[Part]) -> Iterator[tuple[Part, bool]]:
        """The parts of some work that this process does, and of each whether it counts: every `count`-th does.

        Where processes compute in step, those that would have a part less than others do one that counts for nothing.
        """
        number, last = 0, None
        for number, part in enumerate(parts, 1):
            last = part
            if (number - 1) % self.count == self.rank:
                yield part, True
        if self.in_step and last is not None and self.rank >= number % self.count > 0:
            yield last, False

    def sum(self, found: Tensor) -> Tensor:
        """The sum over all processes of what each has found, of one shape everywhere: on the CPU.

        All must call this, equally often and in the same order; PyTorch's default process group has been set up where there are
        several.
        """
        if self.count == 1:
            return found.cpu()
        on_gpus = torch.distributed.get_backend() == "nccl"
        total = found.to(torch.device("cuda", self.local) if on_gpus else "cpu", copy=True)
        torch.distributed.all_reduce(total)
        return total.cpu()


ALONE = Ranks()
"""One process, on one device."""


def ranks_of(
    devices: int | Literal["auto"],
    nodes: int,
    device: torch.device,
    environ: Mapping[str, str] = os.environ,
    *,
    argument: str = "training.devices",
) -> Ranks:
    """Which of the processes that compute together this one is.

    Args:
        devices: how many on each machine; "auto" for all GPUs that there are.
        nodes: machines.
        device: where to compute.
        environ: what torchrun, SLURM or the command have said.
        argument: what messages call `devices`.

    Raises:
        UserError: more GPUs than there are, one that is named where there are several, or another number of processes than
            have been started.
    """
    each = _devices(devices, device, argument)
    count = each * nodes
    by_torchrun = "TORCHELASTIC_RUN_ID" in environ and _number(environ, "WORLD_SIZE", 1) > 1
    if count == 1 and not by_torchrun:
        return ALONE
    if device.index is not None:
        remedy = f"write --device cuda, or leave out {argument}"
        raise fail("device", f"name no single GPU for {count} processes", device, remedy)
    if by_torchrun:
        started, rank = (_number(environ, name, 0) for name in ("WORLD_SIZE", "RANK"))
        local, launcher = _number(environ, "LOCAL_RANK", rank % each), "torchrun"
    elif _number(environ, "SLURM_NTASKS", 1) > 1 and "SLURM_PROCID" in environ:
        started, rank = (_number(environ, name, 0) for name in ("SLURM_NTASKS", "SLURM_PROCID"))
        local, launcher = _number(environ, "SLURM_LOCALID", rank % each), "slurm"
    else:
        node, local = (_number(environ, name, 0) for name in ("NODE_RANK", "LOCAL_RANK"))
        started, rank, launcher = count, node * each + local, "command"
    if started != count:
        rule = f"be as many processes as {launcher} has started, {started}"
        remedy = "give the numbers that the processes were started with"
        raise fail(f"{argument} x training.num_nodes", rule, f"{each} x {nodes}", remedy)
    if rank >= count:
        remedy = "unset LOCAL_RANK and NODE_RANK, which another program has set, or give the right numbers"
        raise fail("the rank of this process", f"be below {count}", rank, remedy)
    return Ranks(each, nodes, rank, local, launcher)


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    """A number that stands in the environment; raises `UserError` for something else."""
    text = environ.get(name, str(default))
    if not text.isdecimal():
        raise fail(name, "be a whole number in the environment", repr(text), "unset it")
    return int(text)


def _devices(devices: int | Literal["auto"], device: torch.device, argument: str) -> int:
    """How many devices each machine computes on."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else None
    if devices == "auto":
        return 1 if gpus is None or device.index is not None else gpus
    most, what = (MOST, "processes of a CPU") if gpus is None else (gpus, "the GPUs here")
    if devices > most:
        raise fail(argument, f"be at most {most}, {what}", devices, "lower it, or write auto")
    return devices


def is_of_others(error: RuntimeError) -> bool:
    """Whether an error says that other processes cannot be reached, or have ended."""
    return isinstance(error, torch.distributed.DistError) or any(
        name in str(error) for name in ("gloo", "Gloo", "NCCL", "TCPStore", "Connection")
    )

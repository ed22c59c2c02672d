"""Networks of which every process keeps a part, for those that do not fit into one device (PyTorch's FSDP2)."""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

_LISTS = (nn.ModuleList, nn.ModuleDict)


def shard(network: nn.Module, mesh: DeviceMesh, *, in_bfloat16: bool = False) -> None:
    """Let this process keep its part of the weights of a network, of which all processes have the same.

    Each block is gathered from all processes when it is computed, forward and backward, and forgotten again; what is in no block
    stays gathered from the network's forward to its backward pass.

    Args:
        network: changed in place: its weights are then on the devices of the mesh.
        mesh: the processes.
        in_bfloat16: whether weights are gathered in bfloat16, for a network that computes in it; gradients are summed in float32
            in any case.
    """
    computed = torch.bfloat16 if in_bfloat16 else None
    policy = MixedPrecisionPolicy(computed, torch.float32, cast_forward_inputs=False)
    for unit in units(network):
        fully_shard(unit, mesh=mesh, mp_policy=policy)
    fully_shard(network, mesh=mesh, mp_policy=policy)


def units(network: nn.Module) -> list[nn.Module]:
    """What of a network is gathered one at a time: the modules in its lists, unless they share weights with others."""
    uses = _uses(network)
    blocks = {block: _uses(block) for block in _listed(network)}
    return [
        block
        for block, inside in blocks.items()
        if inside and all(uses[weight] == number for weight, number in inside.items())
    ]


def _listed(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that stand in lists, below a module; of lists in lists what stands in the inner ones."""
    for child in module.children():
        if isinstance(module, _LISTS) and not isinstance(child, _LISTS):
            yield child
        else:
            yield from _listed(child)


def _uses(network: nn.Module) -> Counter[Tensor]:
    """By how many names each weight of a network is known."""
    return Counter(weight for _, weight in network.named_parameters(remove_duplicate=False))


def forget_gathered(network: nn.Module) -> None:
    """Keep this process's part alone, after a forward pass that no backward pass has followed."""
    if isinstance(network, FSDPModule):
        network.reshard()


@torch.no_grad()
def gather(sharded: nn.Module, whole: nn.Module) -> None:
    """Copy weights and buffers of a sharded network into a whole one of its kind: all processes must call this together."""
    weights = whole.state_dict()
    for name, part in sharded.state_dict().items():
        weights[name].copy_(part.full_tensor() if isinstance(part, DTensor) else part)


def part_of(whole: Tensor, like: Tensor) -> Tensor:
    """What this process keeps of a tensor that all have, as it does of the weight `like` of the same shape."""
    if not isinstance(like, DTensor):
        return whole
    there = whole.to(like.device)
    return distribute_tensor(there, like.device_mesh, like.placements, src_data_rank=None)

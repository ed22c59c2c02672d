"""What each of two processes does in a test of sharded networks; without Lightning, which takes seconds to load."""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from scud.training import checkpoint
from scud.training.checkpoint import Checkpoint
from scud.training.ema import Ema
from scud.training.sharded import forget_gathered, gather, shard

X = torch.arange(12.0).reshape(4, 3) / 12


class Chain(nn.Module):
    """Two layers, of weights whose axes two processes cannot share evenly, one of them of length 1."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(3, 5), nn.Linear(5, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[1](torch.tanh(self.layers[0](x)))  # type: ignore[no-any-return]


def train(chain: Chain, ema: Ema, rows: slice) -> torch.optim.Optimizer:
    """Three steps on some rows, with averages that are computed with in between."""
    optimizer = torch.optim.AdamW(chain.parameters(), lr=0.1, fused=True)
    for step in range(3):
        optimizer.zero_grad()
        chain(X[rows]).square().mean().backward()
        nn.utils.clip_grad_norm_(chain.parameters(), 0.5)
        optimizer.step()
        ema.update(chain, step)
        with torch.no_grad():
            ema.network(X)
        forget_gathered(ema.network)
    return optimizer


def main(rank: int, folder: Path) -> None:
    """Train on this process's rows, and write a checkpoint and the average."""
    meeting = f"file://{folder / 'meeting'}"
    torch.distributed.init_process_group("gloo", meeting, rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    chain, whole = Chain(), Chain()
    ema = Ema(chain, 0.9)
    shard(chain, mesh)
    shard(ema.network, mesh)
    optimizer = train(chain, ema, slice(rank, None, 2))
    average = ema.network.state_dict()
    state = Checkpoint(3, chain.state_dict(), average, optimizer.state_dict(), 1.0, 1.0)
    state = checkpoint.write_shards(folder, state)
    gather(ema.network, whole)
    if rank == 0:
        checkpoint.write(folder / "last.ckpt", state)
        torch.save(whole.state_dict(), folder / "average.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))

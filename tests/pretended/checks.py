"""What the pretended GPU itself must do: refuse what a GPU refuses, and count what costs time there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.pretended.counting import Counts, count
from tests.pretended.device import pretended_gpu

Try = Callable[[Tensor, Tensor], Any]
"""Something done with the numbers 0..5, here on the CPU and there on the GPU: two tensors [2, 3] float32."""

REFUSED: dict[str, Try] = {
    "sum of both devices": lambda here, there: here + there,
    "one number among others": lambda here, there: torch.cat([there.flatten(), here[0, :1]]),
    "one number that is stacked": lambda here, there: torch.stack([there[0, 0], here[0, 0]]),
    "table of the CPU": lambda here, there: nn.functional.embedding(there.long(), here),
    "table of the GPU": lambda here, there: nn.functional.embedding(here.long(), there[:1].T),
    "product of both": lambda here, there: there @ here.T,
    "index of the GPU": lambda here, there: here[there[:, 0].long() * 0],
    "written in place on the CPU": lambda here, there: here[0, 0].add_(there[0, 0]),
    "values of the CPU": lambda here, there: there.index_put_((there[0].long() * 0,), here),
    "search in a row of the CPU": lambda here, there: torch.searchsorted(here[0], there),
    "choice": lambda here, there: torch.where(there > 0, there, here),
    "product of whole numbers": lambda _, there: there.long() @ there.long().T,
    "draw by a generator of the CPU": lambda _, there: torch.rand(
        2, device=there.device, generator=torch.Generator()
    ),
    "draw in place by a generator of the CPU": lambda _, there: there.exponential_(
        generator=torch.Generator()
    ),
    "draw by a generator of the GPU": lambda _, there: torch.rand(
        2, generator=torch.Generator(there.device)
    ),
    "numpy": lambda _, there: there.numpy(),
    "an array of numpy": lambda _, there: np.asarray(there),
}

WAITS: dict[str, Try] = {
    "item": lambda _, there: there[0, 0].item(),
    "float": lambda _, there: float(there.sum()),
    "bool": lambda _, there: bool((there > 0).all()),
    "if": lambda _, there: 1 if there[0, 0] > 0 else 0,
    "tolist": lambda _, there: there.tolist(),
    "cpu": lambda _, there: there.cpu(),
    "to the CPU": lambda _, there: there.to("cpu", non_blocking=True),
    "written to the CPU": lambda here, there: here.copy_(there),
    "to the GPU": lambda here, there: here.to(there.device),
    "written to the GPU": lambda here, there: there.copy_(here),
    "made of a number": lambda _, there: torch.tensor(1.0, device=there.device),
    "made of a list": lambda _, there: there.new_tensor([1.0, 2.0]),
    "made of an array": lambda _, there: torch.as_tensor(np.ones(2), device=there.device),
    "index by flags": lambda _, there: there[there > 1],
    "write by flags": lambda _, there: there.__setitem__(there > 1, there.new_zeros(4)),
    "index of the CPU": lambda here, there: there[here[0, :2].long()],
    "nonzero": lambda _, there: there.nonzero(),
    "masked_select": lambda _, there: there.masked_select(there > 1),
    "unique": lambda _, there: there.unique(),
    "unique_consecutive": lambda _, there: there.unique_consecutive(),
    "bincount": lambda _, there: there[0].long().bincount(),
    "repeats": lambda _, there: there[0].repeat_interleave(there[0].long()),
    "multinomial": lambda _, there: torch.multinomial(there + 1, 1),
    "equal": lambda _, there: torch.equal(there, there),
    "eigenvectors": lambda _, there: torch.linalg.eigh(there @ there.T),
    "repr": lambda _, there: repr(there),
}

FREE: dict[str, Try] = {
    "shapes": lambda _, there: (
        there.view(6)[1:5].view(2, 2).T.unsqueeze(0).expand(4, -1, -1).squeeze_()
    ),
    "parts": lambda _, there: [part.chunk(2, -1) for part in there.unbind()],
    "memory": lambda _, there: torch.empty(9, device=there.device),
    "without gradients": lambda _, there: there.detach(),
    "what lies on the CPU": lambda here, _: bool((here @ here.T).sum() > 0),
}

ONE_KERNEL: dict[str, Try] = {
    "sum": lambda _, there: there.sum(),
    "sum with a number of the CPU": lambda here, there: there + here.sum(),
    "sum in place": lambda _, there: there.add_(1),
    "copy": lambda _, there: there.clone(),
    "made there": lambda _, there: torch.arange(3, device=there.device),
    "drawn there": lambda _, there: torch.rand(
        3, device=there.device, generator=torch.Generator(there.device)
    ),
    "number written": lambda _, there: there[0].fill_(2.0),
    "sent without waiting": lambda here, there: here.to(there.device, non_blocking=True),
    "asserted": lambda _, there: torch._assert_async(there[0, 1]),
}

KINDS = {"refused": REFUSED, "waits": WAITS, "free": FREE, "one kernel": ONE_KERNEL}


def counts_of(kind: str, name: str) -> Counts:
    """What is counted when something is tried."""
    with pretended_gpu() as gpu:
        here = torch.arange(6.0).reshape(2, 3)
        there = here.clone().to(gpu)
        with count() as counts:
            KINDS[kind][name](here, there)
    return counts


def numbers_are_right() -> None:
    """Results there are those of here, shapes and memory too: raises where they are not."""
    with pretended_gpu() as gpu:
        here = torch.arange(6.0).reshape(2, 3).requires_grad_()
        there = here.detach().to(gpu).requires_grad_()
        for tensor in (here, there):
            (tensor.T.exp().cumsum(0)[1:] * 2).sum().backward()
        assert here.grad is not None
        assert there.grad is not None
        torch.testing.assert_close(there.grad.cpu(), here.grad)
        grown = there.detach()[0].unsqueeze_(0)
        assert grown.shape == (1, 3)
        grown.add_(1)  # shares the memory of what it was made of
        assert there.tolist()[0] == [1.0, 2.0, 3.0]
        drawn = torch.rand(4, device=gpu, generator=torch.Generator(gpu).manual_seed(1))
        assert drawn.cpu().equal(torch.rand(4, generator=torch.Generator().manual_seed(1)))

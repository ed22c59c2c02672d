"""Evidence under masking: what is seen is certain, what is masked says nothing.

The evidence of a kernel lies beside it, in `scud.processes.kernels`.
"""

import torch
from torch import Tensor, nn

from scud.numerics import full_precision


class MaskEvidence:
    """Implements `scud.typing.Evidence`: one-hot at a state that is seen, p0 where x_t = B."""

    def __init__(self, p0: Tensor, x_t: Tensor) -> None:
        self.p0, self.x_t = p0, x_t

    def embed(self, weight: Tensor) -> Tensor:
        with full_precision(weight):
            dtype = torch.promote_types(weight.dtype, torch.float32)
            unseen = self.p0.to(dtype) @ weight.to(dtype)
            rows = torch.cat([weight, unseen.unsqueeze(0).to(weight.dtype)])
            return nn.functional.embedding(self.x_t, rows)

    def probs(self) -> Tensor:
        return self.embed(torch.eye(self.p0.shape[0], device=self.x_t.device))

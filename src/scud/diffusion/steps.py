"""The bound of the sampler that is used: that of `Ancestral`, at temperature 1, on its grid of times.

On a grid t_max = t_0 > … > t_T = 0 it is, in nats per example,

    -log p(x0) <= Σ_i E Σ_d KL( q(y_d | x_t, x0, counts) || predicted law of y_d ) + prior,    t = t_i, y the state at t_{i+1},

with the predictions of all positions from one call of the denoiser, at t_i. It bounds the likelihood of what the sampler draws
in T steps, for every denoiser. With the ideal one it lies above the entropy by what positions share within a step, beside the
prior's excess, and falls to the continuous bound as the grid is refined; with another one it tends to the continuous bound from
either side.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from scud.diffusion.batches import Noised, spread
from scud.diffusion.objectives import Draw
from scud.numerics.logits import Logits
from scud.typing import Batch, Denoiser, Noisy, Time

ALL = 16
"""Steps of a grid up to which every term is computed; of more, one for each example and draw."""


class Steps(Protocol):
    """What of a model the bound of a sampler asks for (see `Diffusion`)."""

    num_states: int
    p0: Tensor

    def noise(self, x0: Tensor, t: Tensor, generator: torch.Generator | None) -> Noisy: ...

    def keep(self, noisy: Noisy, x0: Tensor, known: Tensor) -> Noisy: ...

    def answered(self, denoiser: Denoiser, noised: Noised) -> Draw: ...

    def draw_counts(
        self, noisy: Noisy, u: Time, generator: torch.Generator | None = None
    ) -> Tensor | None: ...

    def step_divergence(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        u: Time,
        s: Tensor | None,
        mask: Tensor | None = None,
    ) -> Tensor: ...


def over_steps(
    model: Steps,
    denoiser: Denoiser,
    batch: Batch,
    grid: Tensor,
    generator: torch.Generator | None,
    u: Tensor,
) -> tuple[Tensor, Tensor]:
    """The bound's diffusion term on a grid [T + 1], and that of the denoiser that returns p0: nats, [batch] both.

    Up to `ALL` steps all terms are summed, each with noise of its own. Beyond, u [batch] in [0, 1) says which single term stands
    for all, in T times its size.
    """
    shape = (*batch.x0.shape, model.num_states)
    alone = model.p0.log().expand(shape)
    totals = torch.zeros(2, len(batch), dtype=torch.float64, device=batch.x0.device)
    for index, weight in _terms(len(grid) - 1, u):
        noisy = model.noise(batch.x0, grid[index], generator)
        if batch.known is not None:
            noisy = model.keep(noisy, batch.x0, batch.known)
        draw = model.answered(denoiser, Noised(batch, noisy, weight))
        until = spread(grid[index + 1], noisy.t)
        s = model.draw_counts(noisy, until, generator)
        for total, logits in zip(totals, (draw.logits, alone), strict=True):
            nats = model.step_divergence(logits, batch.x0, noisy, until, s, batch.counted)
            total += draw.integral(nats)
    return totals[0], totals[1]


def _terms(steps: int, u: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Which step each example looks at, and how many that stands for: [batch] both."""
    if steps > ALL:
        yield (
            (u * steps).long().clamp_max(steps - 1),
            torch.full_like(u, steps, dtype=torch.float64),
        )
        return
    for step in range(steps):
        yield torch.full_like(u, step, dtype=torch.int64), torch.ones_like(u, dtype=torch.float64)

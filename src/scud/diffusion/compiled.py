"""`Diffusion.objective` as one compiled graph: evidence, network, loss and gradient.

Noise is drawn before, as it always is. PyTorch's compiler does not follow draws from a `torch.Generator`, and draws of its own
would be others: times and noise are the same, bit for bit, whether a run is compiled or not.
"""

from typing import Any

import torch
from torch import Tensor

from scud.diffusion.base import Diffusion
from scud.diffusion.batches import Noised
from scud.diffusion.estimates import Losses
from scud.diffusion.objectives import Bound, Objective, Reconstruction
from scud.numerics import draw_uniform, fixed_shapes
from scud.processes.kernels.base import LARGE
from scud.typing import Batch, Conditioning, Denoiser, Noisy


class CompiledObjective:
    """Called as `Diffusion.objective` is, for the same losses up to rounding, but for dropout, which a compiler draws by itself.

    Where shapes are not fixed, on a CPU and with a neighbour graph, it is `Diffusion.objective`: shapes that change from step
    to step would be compiled again and again.

    Args:
        model: the diffusion.
        options: of `torch.compile`.
    """

    def __init__(self, model: Diffusion, **options: Any) -> None:
        self.model = model
        self._losses = torch.compile(self.behind_the_noise, **options)
        self._prepared: torch.device | None = None

    def __call__(
        self,
        denoiser: Denoiser,
        batch: Batch | Tensor,
        objective: Objective = Bound(),
        *,
        generator: torch.Generator | None = None,
        u: Tensor | None = None,
    ) -> Losses:
        """As `Diffusion.objective`."""
        if not self.model.is_fixed(batch if isinstance(batch, Tensor) else batch.x0):
            return self.model.objective(denoiser, batch, objective, generator=generator, u=u)
        noised = self.model.noised(batch, generator=generator, u=u)
        self.prepare(noised)
        many = self.model.num_states > LARGE
        chance = draw_uniform(noised.batch.x0, generator) if many else None
        return self._losses(denoiser, noised, objective, chance)

    def behind_the_noise(
        self, denoiser: Denoiser, noised: Noised, objective: Objective, chance: Tensor | None
    ) -> Losses:
        """What is compiled. `chance` [batch, *dims] is what `Diffusion.losses` may ask for where there are many states."""

        def drawn() -> Tensor:
            assert chance is not None, "of few states all positions are watched"
            return chance

        return self.model.losses(denoiser, noised, objective, drawn)

    @torch.no_grad()
    def prepare(self, noised: Noised) -> None:
        """Let the model make what it keeps, such as the matrix of one event, once: a compiler cannot look at numbers for it."""
        device = noised.weight.device
        if self._prepared == device:
            return
        x_t, t, s = noised.noisy.x_t, noised.noisy.t, noised.noisy.s
        first = Noisy(x_t[:1], t[:1], None if s is None else s[:1])

        def ignorant(x: Tensor, _: Conditioning) -> Tensor:
            return torch.zeros(*x.shape, self.model.num_states, device=device)

        with fixed_shapes():
            draw = self.model.answered(ignorant, Noised(noised.batch[:1], first, noised.weight[:1]))
            Reconstruction(share=0.5)(self.model, draw)
        self._prepared = device

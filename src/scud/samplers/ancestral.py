"""Ancestral sampling: each step draws from the model's own reversal of its noise."""

from dataclasses import dataclass
from typing import Literal

import torch

from scud.errors import check_positive
from scud.numerics.logits import Logits
from scud.samplers.base import GridSampler
from scud.typing import Noisy, Reversible, Time


@dataclass(frozen=True, kw_only=True)
class Ancestral(GridSampler):
    """Each step draws from the model's own reversal of its noise; exact as the grid is refined.

    Raises:
        UserError: a temperature that is not positive, and as `GridSampler` says.
    """

    kind: Literal["ancestral"] = "ancestral"

    temperature: float = 1.0
    """Logits are divided by it: below 1 likely states gain, above 1 unlikely ones; 1 is the model's
    own law."""

    def check(self) -> None:
        super().check()
        check_positive("temperature", self.temperature, "1 is the model's own law")

    def step(
        self,
        model: Reversible,
        noisy: Noisy,
        logits: Logits,
        u: Time,
        generator: torch.Generator | None,
    ) -> Noisy:
        if self.temperature != 1:
            logits = logits / self.temperature
        return model.reverse(noisy, logits, u, generator)

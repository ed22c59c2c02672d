"""Objectives: what training minimises, made of one draw of noise and one call of the denoiser.

A draw offers two estimates, in nats per example: the diffusion term of the bound, and the
cross-entropy of x0 with all noise of a position undone at once (`reconstruction`). The ideal
denoiser minimises both, and hence every mixture of them. An objective is a function of the model
and a draw; one of your own trains like those of this module.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self

import torch
from torch import Tensor

from scud.errors import check_in_interval
from scud.numerics.logits import Logits
from scud.options import Options, by_kind
from scud.typing import Noisy


class Terms(Protocol):
    """What a draw asks of its model: two integrands over time (see `Diffusion`)."""

    def integrand(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Of the bound's diffusion term, nats, [batch, *dims]."""
        ...

    def reconstruction(
        self,
        logits: Logits,
        x0: Tensor,
        noisy: Noisy,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Of the weighted cross-entropy of x0, nats, [batch, *dims]."""
        ...


@dataclass(frozen=True, eq=False)
class Draw:
    """One draw of time and noise for a batch, and the denoiser's answer.

    Attributes:
        model: what noised the batch.
        x0: clean states [batch, *dims] int64.
        noisy: the noised batch.
        logits: the prediction of x0, [batch, *dims, B].
        weight: one over the density of the times, [batch] float64.
        counted: positions that count, [batch, *dims] bool; None where all do.
    """

    model: Terms
    x0: Tensor
    noisy: Noisy
    logits: Logits
    weight: Tensor
    counted: Tensor | None
    _computed: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def diffusion(self) -> Tensor:
        """The estimate of the bound's diffusion term, nats per example, [batch]."""
        return self._once("diffusion", self.model.integrand)

    @property
    def reconstruction(self) -> Tensor:
        """The estimate of the weighted cross-entropy of x0, nats per example, [batch]."""
        return self._once("reconstruction", self.model.reconstruction)

    def _once(self, term: str, integrand: Callable[..., Tensor]) -> Tensor:
        """A term, computed when it is first asked for."""
        if term not in self._computed:
            values = integrand(self.logits, self.x0, self.noisy, self.counted)
            self._computed[term] = self.integral(values)
        return self._computed[term]

    def integral(self, values: Tensor) -> Tensor:
        """The integral over time of an integrand, from its values at this draw.

        Args:
            values: nats per position, [batch, *dims], 0 where positions do not count.

        Returns:
            Nats per example, [batch].
        """
        return per_example(values) * self.weight.to(values.dtype)

    def sum(self, nats: Tensor) -> Tensor:
        """Sum of nats [batch, *dims] over the positions that count: [batch]."""
        counted = nats if self.counted is None else nats.masked_fill(~self.counted, 0)
        return per_example(counted)

    def computed(self, term: Literal["diffusion", "reconstruction"]) -> Tensor | None:
        """A term, without gradient, if something has asked for it before; else None."""
        value = self._computed.get(term)
        return None if value is None else value.detach()


class Objective(Protocol):
    """What training minimises."""

    def __call__(self, model: Any, draw: Draw, /) -> Tensor:
        """The loss of a draw made by a `Diffusion`: nats per example, [batch], differentiable."""
        ...


@dataclass(frozen=True, kw_only=True)
class Bound(Options):
    """The diffusion term of the bound: all of the bound that depends on the network."""

    kind: Literal["bound"] = "bound"

    def build(self) -> Self:
        """The objective, which is its own options."""
        return self

    def __call__(self, model: Terms, draw: Draw, /) -> Tensor:  # noqa: ARG002
        return draw.diffusion


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Options):
    """The cross-entropy of x0 itself, or (1 - share) bound + share cross-entropy.

    Its gradient varies far less than the bound's where one event forgets nearly everything, as with
    amino acids or words.

    Raises:
        UserError: a share outside (0, 1].
    """

    kind: Literal["reconstruction"] = "reconstruction"

    share: float = 1.0
    """Weight of the cross-entropy of x0 in the loss; the rest is the bound. The same denoiser
    minimises both."""

    def check(self) -> None:
        remedy = "for the bound alone choose the kind bound"
        check_in_interval("share", self.share, 0, 1, remedy, open_low=True)

    def build(self) -> Self:
        """The objective, which is its own options."""
        return self

    def __call__(self, model: Terms, draw: Draw, /) -> Tensor:  # noqa: ARG002
        if self.share == 1:
            return draw.reconstruction
        return torch.lerp(draw.diffusion, draw.reconstruction, self.share)


ObjectiveOptions = Bound | Reconstruction
"""The options of any objective: an objective is its own options."""

OBJECTIVES: dict[str, Any] = by_kind(ObjectiveOptions)
"""Objectives by the `kind` of their options."""


def per_example(values: Tensor) -> Tensor:
    """Sum over all but the first dimension: [batch, *dims] -> [batch]."""
    return values.flatten(1).sum(1)

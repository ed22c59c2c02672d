"""What one draw of time and noise gives: estimates, in nats per example."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Losses:
    """What training minimises, and what it watches, in nats per example: each [batch].

    Attributes:
        loss: what the objective makes of a draw, differentiable.
        diffusion: an estimate of the bound's diffusion term, without gradient.
    """

    loss: Tensor
    diffusion: Tensor


@dataclass(frozen=True)
class Elbo:
    """One estimate of the bound on -log p(x0), by its terms, in nats per example: each [batch].

    Attributes:
        diffusion: the estimate of the diffusion term.
        prior: the prior term, exact.
        control: a control variate: the diffusion term of the denoiser that returns p0, on the same
            noise, minus its known mean. Over uniform u and all noise its mean is 0 for every x0, so
            that any multiple of it may be taken off `diffusion`, which varies in a like way.
    """

    diffusion: Tensor
    prior: Tensor
    control: Tensor

    @property
    def total(self) -> Tensor:
        """diffusion + prior [batch]."""
        return self.diffusion + self.prior

"""Brute force: everything the theory says, by enumeration in float64 with dense matrices, sharing no code with the library."""

import itertools
import string
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from scud.typing import Conditioning


def random_joint(num_states: int, positions: int, seed: int) -> Tensor:
    """A random joint law with strong dependence, [B] * positions float64."""
    generator = torch.Generator().manual_seed(seed)
    return (
        (2 * torch.randn([num_states] * positions, dtype=torch.float64, generator=generator))
        .flatten()
        .softmax(0)
        .reshape([num_states] * positions)
    )


def average_marginal(joint: Tensor) -> Tensor:
    """The marginal over states averaged over positions, [B]."""
    axes = range(joint.ndim)
    return torch.stack([joint.sum([a for a in axes if a != d]) for d in axes]).mean(0)


def random_generator(num_states: int, seed: int, reversible: bool) -> Tensor:
    """A random generator, reversible or not, [B, B] float64."""
    generator = torch.Generator().manual_seed(seed)
    rates = torch.rand(num_states, num_states, dtype=torch.float64, generator=generator) ** 2 + 0.02
    if reversible:
        law = torch.rand(num_states, dtype=torch.float64, generator=generator) + 0.2
        rates = (rates + rates.T) / law.unsqueeze(1)
    rates.fill_diagonal_(0.0)
    return rates - rates.sum(1).diag()


def powers(jump: Tensor, most: int) -> Tensor:
    """K^0 … K^most by repeated products, [most + 1, B, B]."""
    stack = [torch.eye(jump.shape[0], dtype=torch.float64)]
    for _ in range(most):
        stack.append(stack[-1] @ jump)
    return torch.stack(stack)


def states(num_states: int, positions: int) -> Tensor:
    """All states of all positions, [B^positions, positions], in the order of joint.flatten()."""
    return torch.tensor(list(itertools.product(range(num_states), repeat=positions)))


def forward_law(joint: Tensor, likelihood: Tensor) -> Tensor:
    """p(x0) Π_d M_d[x0_d, x_d] from likelihood [n, D, B] (over x0_d, at the seen x_d): -> [n, B^D]."""
    positions = joint.ndim
    letters = string.ascii_lowercase[:positions]
    terms = ",".join("z" + letter for letter in letters)
    product = torch.einsum(f"{letters},{terms}->z{letters}", joint, *likelihood.unbind(1))
    return product.flatten(1)


def others(joint: Tensor, likelihood: Tensor) -> Tensor:
    """log p(x0_d = b | what is seen at the other positions), up to a constant: likelihood [n, D, B] -> [n, D, B]."""
    result = []
    for d in range(joint.ndim):
        rest = likelihood.clone()
        rest[:, d] = 1.0
        law = forward_law(joint, rest).reshape(-1, *joint.shape)
        result.append(law.sum([a + 1 for a in range(joint.ndim) if a != d]))
    return torch.stack(result, 1).log()


def entropy(joint: Tensor) -> float:
    return float(torch.special.entr(joint).sum())


@dataclass
class IdealEvents:
    """The ideal denoiser of SCUD: evidence-free posterior given counts, x_t [n, D] -> logits [n, D, B]."""

    joint: Tensor
    table: Tensor  # [S, B, B] powers of the jump kernel

    def likelihood(self, x_t: Tensor, s: Tensor) -> Tensor:
        return self.table.mT[s, x_t]

    def __call__(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.s is not None
        return others(self.joint, self.likelihood(x_t, conditioning.s))


@dataclass
class IdealTime:
    """The ideal denoiser of the classical model; tau(t) per position."""

    joint: Tensor
    generator: Tensor
    schedule: torch.nn.Module

    def likelihood(self, x_t: Tensor, t: Tensor) -> Tensor:
        t = t.double() if t.ndim == x_t.ndim else t.double().unsqueeze(-1).expand(x_t.shape)
        times, place = t.unique(return_inverse=True)
        matrices = torch.linalg.matrix_exp(self.schedule.tau(times)[:, None, None] * self.generator)
        return matrices.mT[place, x_t]

    def __call__(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        return others(self.joint, self.likelihood(x_t, conditioning.t))


@dataclass
class IdealMasking:
    """The ideal denoiser of masking."""

    joint: Tensor

    def likelihood(self, x_t: Tensor) -> Tensor:
        num_states = self.joint.shape[0]
        seen = torch.cat(
            [
                torch.eye(num_states, dtype=torch.float64),
                torch.ones(1, num_states, dtype=torch.float64),
            ]
        )
        return seen[x_t]

    def __call__(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.s is not None
        return others(self.joint, self.likelihood(x_t))


@lru_cache
def gauss_legendre(low: float, high: float, count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights on [low, high]."""
    x, w = np.polynomial.legendre.leggauss(count)
    return torch.as_tensor((high - low) * (x + 1) / 2 + low), torch.as_tensor((high - low) * w / 2)


def poisson(mean: Tensor, most: int) -> Tensor:
    """Poisson(k; mean) for k = 0…most: mean [...] -> [..., most + 1]."""
    k = torch.arange(most + 1, dtype=torch.float64)
    return (torch.xlogy(k, mean.unsqueeze(-1)) - mean.unsqueeze(-1) - (k + 1).lgamma()).exp()

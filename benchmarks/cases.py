"""The work that is measured: models, networks and batches, in one place.

Images of 3 x 32 x 32 pixels with a marginal like that of pixels, Gaussian noise of bandwidth 0.05 and each model's own
mutual-information schedule. At B = 2 that noise is uniform, and SCUD takes gamma = 0.5: at 1 it would be periodic.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from scud.diffusion import SCUD, Classical, Diffusion, Masking
from scud.networks import UNet
from scud.networks.unet import PRESETS
from scud.processes import Gaussian
from scud.schedules import MutualInformation
from scud.typing import Conditioning

SIZES = {"tiny": {"width": 8, "blocks": 1, "levels": 1}, **PRESETS}
"""Networks by size: of tests, and the U-Net's presets."""

MODELS = ("SCUD", "masking", "classical")

EMBEDDING = 64
"""Width in which evidence is embedded where there is no network."""


@dataclass(frozen=True)
class Scale:
    """How large the measured work is.

    Attributes:
        shape: (batch, channels, height, width) of a batch of images.
        states: numbers of states B.
        size: of the network, in `SIZES`.
        pairs: of runs per comparison, at least 2.
        inner: runs without a pause per measurement; more than 1 is for GPUs, which work through a queue.
        fresh: whether memory is measured in a process of its own.
        steps: of a sampling run; single steps are measured at `pairs` places of it.
    """

    shape: tuple[int, int, int, int] = (16, 3, 32, 32)
    states: tuple[int, ...] = (2, 17, 64, 256)
    size: str = "12M"
    pairs: int = 5
    inner: int = 1
    fresh: bool = True
    steps: int = 128

    def quick(self) -> "Scale":
        """A size that shows that everything runs, and says nothing about speed."""
        return replace(
            self,
            shape=(2, 3, 8, 8),
            states=(2, 17),
            size="tiny",
            pairs=2,
            inner=1,
            fresh=False,
            steps=8,
        )


class Tokenizer:
    """Evidence that is the bare token: an embedding look-up, as any network has."""

    def __init__(self, x: Tensor) -> None:
        self.x = x

    def embed(self, weight: Tensor) -> Tensor:
        return F.embedding(self.x, weight)

    def probs(self) -> Tensor:
        return F.one_hot(self.x).float()


class FreeDenoiser:
    """A network that costs nothing: it embeds the evidence, as every network must, and returns given logits.

    Args:
        shape: (batch, *dims).
        num_states: B.
        device: of everything.
    """

    def __init__(self, shape: tuple[int, ...], num_states: int, device: torch.device) -> None:
        self.logits = torch.randn(*shape, num_states, device=device, requires_grad=True)
        self.weight = torch.randn(num_states, EMBEDDING, device=device, requires_grad=True)
        self.upstream = torch.randn(*shape, EMBEDDING, device=device)

    def __call__(self, _: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.evidence is not None
        embedded = conditioning.evidence.embed(self.weight)
        if torch.is_grad_enabled():
            embedded.backward(self.upstream)
        return self.logits

    def forget(self) -> None:
        """Drop the gradients."""
        self.logits.grad = self.weight.grad = None


def marginal(num_states: int) -> Tensor:
    """A marginal like that of pixels: smooth, with heavy ends. [B] float64."""
    place = torch.linspace(0, 1, num_states, dtype=torch.float64)
    weight = 1 + (6 * place).sin() ** 2
    weight[0], weight[-1] = 6 * weight[0], 4 * weight[-1]
    return weight / weight.sum()


def events_gamma(num_states: int) -> float:
    """The largest gamma at which the noise forgets."""
    return 0.5 if num_states == 2 else 1.0


def model(name: str, num_states: int, p0: Tensor | None = None) -> Diffusion:
    """One of `MODELS`, by default on `marginal`."""
    p0 = marginal(num_states) if p0 is None else p0
    if name == "masking":
        return Masking(num_states, p0=p0)
    process = Gaussian(num_states, bandwidth=0.05)
    if name == "classical":
        return Classical(process, MutualInformation(process, p0, 0.0), p0=p0)
    gamma = events_gamma(num_states)
    return SCUD(process, MutualInformation(process, p0, gamma), gamma, p0=p0)


def network(size: str, num_states: int, dims: tuple[int, int, int]) -> UNet:
    """The U-Net of a size, for images of these dimensions."""
    return UNet(num_states, dims, **SIZES[size], dropout=0.0, head="logistic")


def images(p0: Tensor, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
    """Independent pixels with marginal p0, [batch, *dims] int64, on the CPU."""
    count = torch.Size(shape).numel()
    return torch.multinomial(
        p0.cpu().float(), count, replacement=True, generator=generator
    ).reshape(shape)

"""ByteNet for sequences: residual blocks of dilated convolutions (Kalchbrenner et al. 2016; CARP, Yang et al. 2024).

The input at a position is the embedded evidence of its state; its noise level scales and shifts the features of every block.
A block normalises, narrows to half the width, convolves with dilation 2^(i mod c), and widens again; dilations cycle so that
the receptive field covers a protein. Positions that are not real are set to 0 before every convolution, exactly what lies
beyond the ends: logits of a sequence do not depend on its padding, nor on what else is in the batch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scud.errors import check_in_interval, fail
from scud.networks.conditioning import NoiseLevel
from scud.networks.labels import add_labels, count_labels, label_embedding
from scud.networks.options import (
    DEEPEST,
    DROPOUT,
    MOST_STATES,
    WIDEST,
    SizedOptions,
    check_labels,
    check_size,
    check_weights,
)
from scud.typing import Conditioning, DataView

PRESETS: dict[str, dict[str, int]] = {
    "1M": {"width": 256, "layers": 6, "hidden": 128},
    "3M": {"width": 256, "layers": 16, "hidden": 128},
    "10M": {"width": 512, "layers": 16, "hidden": 256},
    "40M": {"width": 1024, "layers": 16, "hidden": 512},
    "80M": {"width": 1024, "layers": 32, "hidden": 512},
    "600M": {"width": 1280, "layers": 56, "hidden": 1280},
}
"""Sizes by approximate number of parameters; 16 and 56 layers are the paper's, the last four CARP's."""

WIDTH, LAYERS = 64, 16
"""Size by default."""

KERNEL = 5
DILATIONS = 8
"""Dilations cycle through 1, 2, 4, …, 2^(DILATIONS - 1)."""

LEVEL_WIDTH = 64
"""Length of the features of a noise level."""


class Block(nn.Module):
    """Residual block on features [batch, length, width]; level [batch, length, LEVEL_WIDTH] scales and shifts them."""

    def __init__(self, width: int, hidden: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm_in, self.narrow = nn.LayerNorm(width), nn.Linear(width, hidden)
        self.norm_level, self.film = (
            nn.LayerNorm(hidden, elementwise_affine=False),
            nn.Linear(LEVEL_WIDTH, 2 * hidden),
        )
        # A 2-d convolution over rows of height 1: on channels-last features it is the fastest that PyTorch has on a CPU.
        reach = dilation * (KERNEL // 2)
        self.conv = nn.Conv2d(
            hidden, hidden, (1, KERNEL), padding=(0, reach), dilation=(1, dilation)
        )
        self.norm_out, self.widen = nn.LayerNorm(hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, level: Tensor, real: Tensor | None) -> Tensor:
        scale, shift = self.film(level).chunk(2, dim=-1)
        h = self.narrow(F.gelu(self.norm_in(x)))
        h = F.gelu(torch.addcmul(shift, self.norm_level(h), 1 + scale))
        if real is not None:
            h = h * real
        h = self.conv(h.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)
        out: Tensor = x + self.widen(self.dropout(F.gelu(self.norm_out(h))))
        return out


class ByteNet(nn.Module):
    """ByteNet denoiser for states [batch, length] of any length.

    Args:
        num_states: B.
        width: features per position.
        layers: residual blocks.
        hidden: features inside a block; half the width by default.
        dropout: probability in every block, in training only.
        num_labels: class labels that the network reads; without any it refuses them.

    Raises:
        UserError: naming the argument that is not positive, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        num_states: int,
        *,
        width: int = WIDTH,
        layers: int = LAYERS,
        hidden: int | None = None,
        dropout: float = DROPOUT,
        num_labels: int = 0,
    ) -> None:
        super().__init__()
        self.least_weights(
            num_states,
            width=width,
            layers=layers,
            hidden=hidden,
            dropout=dropout,
            num_labels=num_labels,
        )
        hidden = max(width // 2, 1) if hidden is None else hidden
        self._spec = {"width": width, "layers": layers, "hidden": hidden, "dropout": dropout}
        self.num_states, self.num_labels = num_states, num_labels
        self.embedding = nn.Parameter(torch.randn(num_states, width))
        self.level = NoiseLevel(LEVEL_WIDTH)
        self.blocks = nn.ModuleList(
            Block(width, hidden, 2 ** (i % DILATIONS), dropout) for i in range(layers)
        )
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, num_states)
        nn.init.zeros_(self.out.weight)
        self.labels = label_embedding(num_labels, LEVEL_WIDTH)

    @staticmethod
    def least_weights(
        num_states: int,
        *,
        width: int = WIDTH,
        layers: int = LAYERS,
        hidden: int | None = None,
        dropout: float = DROPOUT,
        num_labels: int = 0,
    ) -> int:
        """The weights that a network of these arguments has at least; errors as of the constructor."""
        check_options(width, layers, hidden, dropout)
        check_size("num_states", num_states, MOST_STATES, "give the number of categories")
        check_labels(num_labels)
        inner = max(width // 2, 1) if hidden is None else hidden
        block = 2 * width * inner + KERNEL * inner**2 + 2 * LEVEL_WIDTH * inner
        return check_weights(layers * block + 2 * num_states * width + num_labels * LEVEL_WIDTH)

    def spec(self) -> dict[str, Any]:
        """The registered kind and the constructor's arguments; `num_labels` if there are labels."""
        labels = {"num_labels": self.num_labels} if self.num_labels else {}
        return {"kind": "bytenet", "num_states": self.num_states, **self._spec, **labels}

    def forward(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        """x_t [batch, length] -> logits [batch, length, B]."""
        assert conditioning.evidence is not None, "ByteNet reads the evidence"
        x = conditioning.evidence.embed(self.embedding)
        level = add_labels(self.level(conditioning, x_t), self.labels, conditioning.label)
        level = F.silu(level)
        real = None if conditioning.mask is None else conditioning.mask.unsqueeze(-1).to(x.dtype)
        for block in self.blocks:
            x = block(x, level, real)
        logits: Tensor = self.out(F.gelu(self.norm(x)))
        return logits


def check_options(width: int, layers: int, hidden: int | None, dropout: float) -> None:
    """Raise `UserError` for an argument that breaks its rule."""
    check_in_interval("dropout", dropout, 0, 1, f"{DROPOUT} is usual", open_high=True)
    remedy = f"{WIDTH}, {LAYERS} and half the width are the defaults"
    check_size("width", width, WIDEST, remedy)
    check_size("layers", layers, DEEPEST, remedy)
    if hidden is not None:
        check_size("hidden", hidden, WIDEST, remedy)


@dataclass(frozen=True, kw_only=True)
class ByteNetOptions(SizedOptions):
    """A ByteNet: dilated convolutions, for sequences and text."""

    network: ClassVar[type[nn.Module]] = ByteNet
    presets: ClassVar[Mapping[str, Mapping[str, int]]] = PRESETS

    kind: Literal["bytenet"] = "bytenet"
    """Dilated convolutions, for sequences and text."""

    width: int = WIDTH
    """Features per position."""

    layers: int = LAYERS
    """Residual blocks."""

    hidden: int | None = None
    """Features inside a block; half the width by default."""

    dropout: float = DROPOUT
    """Dropout in every block, in training only."""

    labels: bool = False
    """Read the class labels of the data, so that samples of a class can be drawn."""

    def check(self) -> None:
        check_options(self.width, self.layers, self.hidden, self.dropout)

    def build(self, data: DataView) -> ByteNet:
        if data.dims is not None and len(data.dims) != 1:
            remedy = "use a U-Net for images, or a DiT for any shape"
            raise fail("dims", "be [length] for a ByteNet", list(data.dims), remedy)
        return ByteNet(
            data.num_states,
            width=self.width,
            layers=self.layers,
            hidden=self.hidden,
            dropout=self.dropout,
            num_labels=count_labels(self.labels, data),
        )

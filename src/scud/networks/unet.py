"""A U-Net for images of categories, conditioned on the noise level at every pixel.

The input is not the bare state but its evidence (see `scud.typing.Evidence`), embedded per channel; event counts scale and
shift the features of every block, pixel by pixel (FiLM, Perez et al. 2018). At half resolution they are averaged.

The preset "paper" is the network of variational diffusion models (Kingma et al. 2021, arXiv 2107.00630): 32 residual blocks of
128 channels at full resolution on the way down and as many on the way up, one block of attention in the middle. A block on the
way up reads, beside what comes from below, the features of its mirror image on the way down: the last made are read first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scud.errors import check_choice, check_in_interval, fail
from scud.networks.conditioning import NoiseLevel
from scud.networks.heads import logistic_logits
from scud.networks.labels import add_labels, count_labels, label_embedding
from scud.networks.options import (
    DEEPEST,
    DROPOUT,
    MOST_STATES,
    WIDEST,
    SizedOptions,
    check_labels,
    check_shape,
    check_size,
    check_weights,
)
from scud.numerics import full_precision
from scud.typing import Conditioning, DataView, Shape

PRESETS: dict[str, dict[str, int]] = {
    "0.6M": {"width": 32, "blocks": 1, "levels": 3},
    "4M": {"width": 64, "blocks": 2, "levels": 3},
    "12M": {"width": 96, "blocks": 3, "levels": 3},
    "paper": {"width": 128, "blocks": 32, "levels": 1},
}
"""Sizes by approximate number of parameters; the paper's has 27 million of them."""

WIDTH, BLOCKS, LEVELS = 64, 2, 2
"""Size by default."""

HeadKind = Literal["categorical", "logistic", "mixed"]
HEADS: tuple[HeadKind, ...] = ("categorical", "logistic", "mixed")

MOST_LEVELS = 24
"""The most resolutions: pictures have no more halves."""

LEVEL_WIDTH = 64
"""Most channels of the features of the noise level."""


class Block(nn.Module):
    """Residual block of two 3x3 convolutions; the noise level [batch, level, H, W] scales and shifts between them."""

    def __init__(self, inputs: int, width: int, level: int, dropout: float) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.GroupNorm(8, inputs), nn.GroupNorm(8, width)
        self.conv_in = nn.Conv2d(inputs, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Conv2d(level, 2 * width, 1)
        self.skip = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.film.weight)

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.film(level).chunk(2, dim=1)
        h = self.norm_out(h) * (1 + scale) + shift
        out: Tensor = self.skip(x) + self.conv_out(self.dropout(F.silu(h)))
        return out


class Attention(nn.Module):
    """Residual self-attention over all pixels, heads of 32 channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = max(width // 32, 1)
        self.norm = nn.GroupNorm(8, width)
        self.qkv = nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, breadth = x.shape
        qkv = self.qkv(self.norm(x)).reshape(
            batch, 3, self.heads, width // self.heads, height * breadth
        )
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        out: Tensor = x + self.out(mixed.reshape(batch, width, height, breadth))
        return out


class Head(nn.Module):
    """Logits [batch, channels, H, W, B] from features [batch, width, H, W] (see `heads` for the kinds).

    Location and scale of the logistic head are computed in float32 whatever the network runs in: bfloat16 is too coarse to
    place one of 256 levels.
    """

    def __init__(self, kind: str, width: int, channels: int, num_states: int) -> None:
        super().__init__()
        self.channels, self.num_states = channels, num_states
        self.free = self.place = None
        if kind == "categorical":
            self.free = nn.Conv2d(width, channels * num_states, 3, padding=1)
        else:
            self.place = nn.Conv2d(width, channels * 2, 3, padding=1)
            self.free = nn.Conv2d(width, channels * num_states, 1) if kind == "mixed" else None
        for layer in (self.free, self.place):
            if layer is not None:
                nn.init.zeros_(layer.weight)

    def forward(self, features: Tensor) -> Tensor:
        free = None if self.free is None else self._per_channel(self.free(features))
        if self.place is None:
            assert free is not None
            return free
        with full_precision(features):
            place = self._per_channel(self.place(features.to(self.place.weight.dtype)))
            logits = logistic_logits(place[..., 0], place[..., 1] - 1, self.num_states)
        return logits if free is None else logits + free

    def _per_channel(self, maps: Tensor) -> Tensor:
        batch, _, height, width = maps.shape
        return maps.reshape(batch, self.channels, -1, height, width).movedim(2, -1)


class UNet(nn.Module):
    """U-Net denoiser for states [batch, channels, height, width].

    Args:
        num_states: B.
        dims: (channels, height, width); height and width divisible by 2 ** (levels - 1).
        width: channels of the features at full resolution, a multiple of 8; twice as many at lower ones.
        blocks: residual blocks per resolution on the way down, and on the way up.
        levels: resolutions, each half the one before.
        dropout: probability in every block, in training only.
        head: "categorical", or for ordered states "logistic" or "mixed" (see `heads`).
        num_labels: class labels that the network reads; without any it refuses them.

    Raises:
        UserError: naming the argument that breaks a rule above.
    """

    def __init__(
        self,
        num_states: int,
        dims: Shape,
        *,
        width: int = WIDTH,
        blocks: int = BLOCKS,
        levels: int = LEVELS,
        dropout: float = DROPOUT,
        head: HeadKind = "categorical",
        num_labels: int = 0,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "blocks": blocks, "levels": levels}
        self.least_weights(
            num_states, dims, **sizes, dropout=dropout, head=head, num_labels=num_labels
        )
        channels, height, breadth = image_shape(dims)
        if height % 2 ** (levels - 1) or breadth % 2 ** (levels - 1):
            found = f"{levels} for {height} x {breadth}"
            remedy = "use fewer levels, or pad the images"
            raise fail("levels", "halve height and width evenly", found, remedy)
        if width // 8 * height * breadth < 2:  # a group of one value is 0 when it is normalised
            remedy = "choose a larger width, or a DiT"
            raise fail("width", "be at least 16 for images of one pixel", width, remedy)
        self._spec = {**sizes, "dropout": dropout, "head": head}
        self.num_states, self.dims, self.num_labels = num_states, tuple(dims), num_labels
        self.embedding = nn.Parameter(ordinal_features(num_states, max(width // 2, 8)))
        level = min(width, LEVEL_WIDTH)
        self.level = NoiseLevel(level)
        self.merge_level = nn.Conv2d(channels * level, level, 1) if channels > 1 else nn.Identity()
        self.stem = nn.Conv2d(channels * self.embedding.shape[1], width, 3, padding=1)

        widths = [width] + [2 * width] * (levels - 1)

        def stage(first: int, others: int, width: int) -> nn.ModuleList:
            inputs = [first] + [others] * (blocks - 1)
            return nn.ModuleList(Block(each, width, level, dropout) for each in inputs)

        above, below, deepest = [width, *widths[:-1]], [*widths[1:], widths[-1]], widths[-1]
        self.down = nn.ModuleList(stage(a, w, w) for a, w in zip(above, widths, strict=True))
        self.middle_in = Block(deepest, deepest, level, dropout)
        self.attention = Attention(deepest)
        self.middle_out = Block(deepest, deepest, level, dropout)
        self.up = nn.ModuleList(stage(b + w, 2 * w, w) for b, w in zip(below, widths, strict=True))
        self.norm = nn.GroupNorm(8, width)
        self.head = Head(head, width, channels, num_states)
        self.labels = label_embedding(num_labels, level)

    @staticmethod
    def least_weights(
        num_states: int,
        dims: Shape,
        *,
        width: int = WIDTH,
        blocks: int = BLOCKS,
        levels: int = LEVELS,
        dropout: float = DROPOUT,
        head: HeadKind = "categorical",
        num_labels: int = 0,
    ) -> int:
        """The weights that a network of these arguments has at least; errors as of the constructor."""
        check_options(width, blocks, levels, dropout, head)
        check_size("num_states", num_states, MOST_STATES, "give the number of categories")
        check_labels(num_labels)
        channels, _, _ = image_shape(dims)
        convolutions = 36 * blocks * width**2 * (1 + 4 * (levels - 1))
        embedded, level = max(width // 2, 8), min(width, LEVEL_WIDTH)
        first = num_states * embedded + 9 * channels * embedded * width
        last = 0 if head == "logistic" else width * channels * num_states
        return check_weights(convolutions + first + last + num_labels * level)

    def spec(self) -> dict[str, Any]:
        """The registered kind and the constructor's arguments; `num_labels` if there are labels."""
        labels = {"num_labels": self.num_labels} if self.num_labels else {}
        data = {"num_states": self.num_states, "dims": list(self.dims)}
        return {"kind": "unet", **data, **self._spec, **labels}

    def forward(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        """x_t [batch, *dims] -> logits [batch, *dims, B]."""
        assert conditioning.evidence is not None, "the U-Net reads the evidence"
        x = self.stem(as_maps(conditioning.evidence.embed(self.embedding)))
        level = add_labels(self.level(conditioning, x_t), self.labels, conditioning.label)
        level = F.silu(self.merge_level(as_maps(level)))
        skips, scales = [], [level]
        for depth, blocks in enumerate(self.down):
            if depth:
                x = F.avg_pool2d(x, 2)
                scales.append(F.avg_pool2d(scales[-1], 2))
            for block in blocks.children():
                x = block(x, scales[-1])
                skips.append(x)
        x = self.middle_out(self.attention(self.middle_in(x, scales[-1])), scales[-1])
        for depth, blocks in reversed(list(enumerate(self.up))):
            for block in blocks.children():
                x = block(torch.cat([x, skips.pop()], dim=1), scales[depth])
            if depth:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        logits: Tensor = self.head(F.silu(self.norm(x)))
        return logits


def check_options(width: int, blocks: int, levels: int, dropout: float, head: str) -> None:
    """Raise `UserError` for an argument that no data would make right."""
    check_choice("head", head, HEADS)
    check_in_interval("dropout", dropout, 0, 1, f"{DROPOUT} is usual", open_high=True)
    if width % 8 or width < 8:
        raise fail("width", "be a positive multiple of 8", width, f"{WIDTH} is the default")
    check_size("width", width, WIDEST, f"{WIDTH} is the default")
    if blocks < 1 or levels < 1:
        remedy = f"{BLOCKS} and {LEVELS} are the defaults"
        raise fail("blocks and levels", "be at least 1", f"{blocks} and {levels}", remedy)
    check_size("levels", levels, MOST_LEVELS, f"{LEVELS} is the default")
    check_size("blocks", blocks, DEEPEST // levels, f"{BLOCKS} is the default")


def image_shape(dims: Shape | None) -> tuple[int, int, int]:
    """Channels, height and width; raise `UserError` where an example is no image."""
    if dims is None or len(dims) != 3:
        found = "rows of different length" if dims is None else list(dims)
        remedy = "use a ByteNet for rows of positions, or a DiT for any shape"
        raise fail("dims", "be [channels, height, width] for a U-Net", found, remedy)
    check_shape(dims)
    channels, height, breadth = dims
    return channels, height, breadth


@dataclass(frozen=True, kw_only=True)
class UNetOptions(SizedOptions):
    """A U-Net, for images."""

    network: ClassVar[type[nn.Module]] = UNet
    presets: ClassVar[Mapping[str, Mapping[str, int]]] = PRESETS

    kind: Literal["unet"] = "unet"
    """A U-Net, for images."""

    width: int = WIDTH
    """Channels of the features at full resolution, a multiple of 8; twice as many at lower ones."""

    blocks: int = BLOCKS
    """Residual blocks per resolution on the way down, and on the way up."""

    levels: int = LEVELS
    """Resolutions, each half the one before."""

    dropout: float = DROPOUT
    """Dropout in every block, in training only."""

    head: HeadKind = "categorical"
    """categorical: a logit per state; for ordered states, logistic: location and scale; mixed: both
    of these."""

    labels: bool = False
    """Read the class labels of the data, so that samples of a class can be drawn."""

    def check(self) -> None:
        check_options(self.width, self.blocks, self.levels, self.dropout, self.head)

    def build(self, data: DataView) -> UNet:
        return UNet(
            data.num_states,
            image_shape(data.dims),
            width=self.width,
            blocks=self.blocks,
            levels=self.levels,
            dropout=self.dropout,
            head=self.head,
            num_labels=count_labels(self.labels, data),
        )


def as_maps(features: Tensor) -> Tensor:
    """[batch, C, H, W, d] -> [batch, C d, H, W]."""
    return features.movedim(-1, 2).flatten(1, 2)


def ordinal_features(num_states: int, width: int) -> Tensor:
    """First guess of an embedding of ordered states: cosines of growing frequency on the line, [B, width]."""
    place = (torch.arange(num_states) + 0.5) / num_states
    return (torch.pi * place.unsqueeze(1) * torch.arange(width)).cos() + 0.02 * torch.randn(
        num_states, width
    )

"""A U-Net for images of categories, conditioned on the noise level at every pixel.

The input is not the bare state but its evidence (see `scud.typing.Evidence`), embedded per channel; event counts scale and
shift the features of every block, pixel by pixel (FiLM, Perez et al. 2018). At half resolution they are averaged.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scud.errors import check_choice, check_in_interval, fail
from scud.networks.conditioning import NoiseLevel
from scud.networks.heads import logistic_logits
from scud.typing import Conditioning


class Block(nn.Module):
    """Residual block of two 3x3 convolutions; the noise level [batch, width, H, W] scales and shifts between them."""

    def __init__(self, inputs: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm_in, self.norm_out = nn.GroupNorm(8, inputs), nn.GroupNorm(8, width)
        self.conv_in = nn.Conv2d(inputs, width, 3, padding=1)
        self.conv_out = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Conv2d(width, 2 * width, 1)
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
        qkv = self.qkv(self.norm(x)).reshape(batch, 3, self.heads, width // self.heads, height * breadth)
        q, k, v = qkv.transpose(-1, -2).unbind(1)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2)
        out: Tensor = x + self.out(mixed.reshape(batch, width, height, breadth))
        return out


class UNet(nn.Module):
    """U-Net denoiser for states [batch, channels, height, width].

    Args:
        num_states: B.
        dims: (channels, height, width); height and width divisible by 2 ** (levels - 1).
        width: channels of the features, a multiple of 8.
        blocks: residual blocks per resolution on the way down, and on the way up.
        levels: resolutions, each half the one before.
        dropout: probability in every block, in training only.
        head: "categorical", or "logistic" for ordered states (see `heads`).

    Raises:
        UserError: naming the argument that breaks a rule above.
    """

    def __init__(
        self,
        num_states: int,
        dims: tuple[int, int, int],
        *,
        width: int = 64,
        blocks: int = 2,
        levels: int = 2,
        dropout: float = 0.0,
        head: Literal["categorical", "logistic"] = "categorical",
    ) -> None:
        super().__init__()
        check_choice("head", head, ("categorical", "logistic"))
        check_in_interval("dropout", dropout, 0, 1, "0.1 is usual", open_high=True)
        if width % 8 or width < 8:
            raise fail("width", "be a positive multiple of 8", width, "64 is the default")
        if blocks < 1 or levels < 1:
            raise fail("blocks and levels", "be at least 1", f"{blocks} and {levels}", "2 each is the default")
        channels, height, breadth = dims
        if height % 2 ** (levels - 1) or breadth % 2 ** (levels - 1):
            size = f"{height} x {breadth}"
            raise fail(
                "levels", "halve height and width evenly", f"{levels} for {size}", "use fewer levels, or pad the images"
            )
        self._spec = {"width": width, "blocks": blocks, "levels": levels, "dropout": dropout, "head": head}
        self.num_states, self.dims, self.head = num_states, tuple(dims), head
        self.embedding = nn.Parameter(ordinal_features(num_states, max(width // 2, 8)))
        self.level = NoiseLevel(width)
        self.merge_level = nn.Conv2d(channels * width, width, 1) if channels > 1 else nn.Identity()
        self.stem = nn.Conv2d(channels * self.embedding.shape[1], width, 3, padding=1)
        self.down = nn.ModuleList(stage(width, width, blocks, dropout) for _ in range(levels))
        self.middle = nn.ModuleList([Block(width, width, dropout), Attention(width), Block(width, width, dropout)])
        self.up = nn.ModuleList(stage(2 * width, width, blocks, dropout) for _ in range(levels))
        outputs = num_states if head == "categorical" else 2
        last = nn.Conv2d(width, channels * outputs, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.out = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), last)

    def spec(self) -> dict[str, Any]:
        """The registered kind and the constructor's arguments."""
        return {"kind": "unet", "num_states": self.num_states, "dims": list(self.dims), **self._spec}

    def forward(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        """x_t [batch, *dims] -> logits [batch, *dims, B]."""
        assert conditioning.evidence is not None, "the U-Net reads the evidence"
        x = self.stem(as_maps(conditioning.evidence.embed(self.embedding)))
        level = F.silu(self.merge_level(as_maps(self.level(conditioning, x_t))))
        skips, scales = [], [level]
        for depth, blocks in enumerate(self.down):
            if depth:
                x = F.avg_pool2d(x, 2)
                scales.append(F.avg_pool2d(scales[-1], 2))
            for block in blocks.children():
                x = block(x, scales[-1])
                skips.append(x)
        x = self.middle[2](self.middle[1](self.middle[0](x, scales[-1])), scales[-1])
        for depth, blocks in reversed(list(enumerate(self.up))):
            for block in blocks.children():
                x = block(torch.cat([x, skips.pop()], dim=1), scales[depth])
            if depth:
                x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self._logits(self.out(x))

    def _logits(self, maps: Tensor) -> Tensor:
        batch, _, height, width = maps.shape
        per_state = maps.reshape(batch, self.dims[0], -1, height, width).movedim(2, -1)
        if self.head == "categorical":
            return per_state
        return logistic_logits(per_state[..., 0], per_state[..., 1] - 1, self.num_states)


def stage(inputs: int, width: int, blocks: int, dropout: float) -> nn.ModuleList:
    """The residual blocks of one resolution."""
    return nn.ModuleList(Block(inputs, width, dropout) for _ in range(blocks))


def as_maps(features: Tensor) -> Tensor:
    """[batch, C, H, W, d] -> [batch, C d, H, W]."""
    return features.movedim(-1, 2).flatten(1, 2)


def ordinal_features(num_states: int, width: int) -> Tensor:
    """First guess of an embedding of ordered states: cosines of growing frequency on the line, [B, width]."""
    place = (torch.arange(num_states) + 0.5) / num_states
    return (torch.pi * place.unsqueeze(1) * torch.arange(width)).cos() + 0.02 * torch.randn(num_states, width)

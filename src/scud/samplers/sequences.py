"""Sampling sequences of many lengths: batches of like length within a budget of positions, and lengths to draw."""

from collections.abc import Callable

import torch
from torch import Tensor

from scud.diffusion import Diffusion
from scud.errors import fail
from scud.samplers.ancestral import trajectory
from scud.typing import Denoiser

BATCH_TOKENS = 16_384
"""Positions at once, padding included."""


def draw_lengths(
    length_counts: Tensor, num: int, lengths: tuple[int, int] | None, generator: torch.Generator | None
) -> Tensor:
    """Lengths of `num` sequences as in training, [num] int64.

    Args:
        length_counts: how many training sequences had each length, [longest + 1].
        num: how many to draw.
        lengths: first and last length allowed; where training had none of these, they are drawn uniformly.
        generator: source of all noise.

    Raises:
        UserError: num below 1, an empty range, or one that reaches beyond the longest training sequence.
    """
    if num < 1:
        raise fail("num", "be at least 1", num, "say how many sequences to draw")
    weights = length_counts.double()
    if lengths is not None:
        first, last = lengths
        longest = len(length_counts) - 1
        if not 1 <= first <= last <= longest:
            remedy = f"the model was trained on lengths up to {longest}"
            raise fail("length", f"be a range within 1..{longest}", f"{first}-{last}", remedy)
        place = torch.arange(len(weights))
        allowed = ((place >= first) & (place <= last)).double()
        weights = weights * allowed
        weights = weights if float(weights.sum()) > 0 else allowed
    device = "cpu" if generator is None else generator.device
    return torch.multinomial(weights.to(device), num, replacement=True, generator=generator).cpu()


@torch.no_grad()
def sample_sequences(
    model: Diffusion,
    denoiser: Denoiser,
    lengths: Tensor,
    steps: int = 128,
    *,
    generator: torch.Generator | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Tensor]:
    """Draw one sequence of every length in lengths [num]: their states, each [length] int64 on the CPU.

    Args:
        model: the diffusion.
        denoiser: (x_t, Conditioning) -> logits.
        lengths: [num], in any order.
        steps: calls of the denoiser.
        generator: source of all noise, on the model's device.
        progress: called with the share done, in (0, 1], after each step.
    """
    drawn: list[Tensor] = [torch.empty(0)] * len(lengths)
    order, done = lengths.argsort(stable=True), 0
    while done < len(order):
        longest = lengths[order[done:]]  # in order of length: the last of a batch is its longest
        fits = longest * torch.arange(1, len(longest) + 1) <= BATCH_TOKENS
        index = order[done : done + max(int(fits.sum()), 1)]
        mask = torch.arange(int(lengths[index].max())) < lengths[index].unsqueeze(1)
        mask = mask.to(model.p0.device)
        for moment, noisy in enumerate(trajectory(model, denoiser, mask.shape, steps, mask=mask, generator=generator)):
            if progress is not None:
                progress((done + len(index) * moment / steps) / len(order))
        for place, states in zip(index.tolist(), noisy.x_t.cpu(), strict=True):
            drawn[place] = states[: int(lengths[place])]
        done += len(index)
    return drawn

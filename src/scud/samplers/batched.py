"""Sampling sequences of many lengths: batches of like length within a budget of positions, and lengths to draw."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from scud.errors import fail
from scud.samplers.ancestral import trajectory
from scud.typing import Denoiser, Reversible

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


def sample_sequences(
    model: Reversible,
    denoiser: Denoiser,
    lengths: Tensor,
    steps: int = 128,
    *,
    generator: torch.Generator | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Tensor]:
    """Draw one sequence of every length in lengths [num], in any order; arguments and result as in `infill_sequences`."""
    states = [torch.zeros(length, dtype=torch.int64) for length in lengths.tolist()]
    free = [torch.ones(length, dtype=torch.bool) for length in lengths.tolist()]
    return infill_sequences(model, denoiser, states, free, steps, generator=generator, progress=progress)


@torch.no_grad()
def infill_sequences(
    model: Reversible,
    denoiser: Denoiser,
    states: Sequence[Tensor],
    free: Sequence[Tensor],
    steps: int = 128,
    *,
    tokens: int = BATCH_TOKENS,
    generator: torch.Generator | None = None,
    progress: Callable[[float], None] | None = None,
) -> list[Tensor]:
    """Draw the free positions of sequences given their other positions, which never change.

    Args:
        model: the diffusion.
        denoiser: (x_t, Conditioning) -> logits.
        states: of each sequence, [length] integers; what they are where `free` is True does not matter.
        free: where to draw, [length] bool each.
        steps: calls of the denoiser.
        tokens: positions at once, padding included; one sequence at least.
        generator: source of all noise, on the model's device.
        progress: called with the share done, in (0, 1], after each step.

    Returns:
        States [length] int64 of each sequence, on the CPU.
    """
    drawn: list[Tensor] = [torch.empty(0)] * len(states)
    lengths = torch.tensor([len(sequence) for sequence in states])
    order, done = lengths.argsort(descending=True, stable=True), 0
    while done < len(order):
        index = order[done : done + max(tokens // int(lengths[order[done]]), 1)].tolist()
        mask = pad_sequence([torch.ones(len(states[i]), dtype=torch.bool) for i in index], batch_first=True)
        gap = pad_sequence([free[i] for i in index], batch_first=True)
        held = pad_sequence([states[i].long() for i in index], batch_first=True).masked_fill(gap, 0)
        # What pads a sequence is kept at state 0: nothing needs to be drawn there.
        known, fixed, real = (part.to(model.p0.device) for part in (held, ~gap, mask))
        options = {"known": known, "known_mask": fixed, "mask": real}
        for moment, noisy in enumerate(trajectory(model, denoiser, mask.shape, steps, **options, generator=generator)):
            final = noisy.x_t
            if progress is not None:
                progress((done + len(index) * moment / steps) / len(order))
        for place, row in zip(index, final.cpu(), strict=True):
            drawn[place] = row[: len(states[place])]
        done += len(index)
    return drawn

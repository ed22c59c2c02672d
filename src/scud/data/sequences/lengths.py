"""Lengths of sequences to draw, as in training."""

import torch
from torch import Generator, Tensor

from scud.errors import check_at_least, fail


def draw_lengths(
    length_counts: Tensor, num: int, lengths: tuple[int, int] | None, generator: Generator | None
) -> Tensor:
    """Lengths of `num` sequences as in training, [num] int64.

    Args:
        length_counts: how many training sequences had each length, [longest + 1].
        num: how many to draw.
        lengths: first and last length allowed; where training had none of these, they are drawn
            uniformly.
        generator: source of all noise.

    Raises:
        UserError: num below 1, an empty range, or one that reaches beyond the longest training
            sequence.
    """
    check_at_least("num", num, 1, "say how many sequences to draw")
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
    weights = weights.to(device)
    return torch.multinomial(weights, num, replacement=True, generator=generator).cpu()

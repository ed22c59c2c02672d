"""Training for infilling: examples in which some positions are clean from the start, as those around a gap are.

In plain training all positions of an example have had like amounts of noise, so a network never sees what infilling shows
it: strong noise in a gap, none beside it. Here a share of examples keeps a random part of its positions clean and learns the
rest; the bound is then that on -log p(x0 in the gap | x0 around it), which the same denoiser must know. Half of the gaps are
one span, of length uniform up to half of the sequence; half are scattered, each position with a probability uniform in [0, 1].
"""

import torch
from torch import Tensor


def draw_known(real: Tensor, share: float, generator: torch.Generator | None) -> Tensor:
    """Which positions are kept clean, for sequences of real positions real [batch, length]: -> [batch, length] bool.

    Every example keeps at least one position to be learned; with probability 1 - share it keeps nothing clean.
    """
    batch, length = real.shape
    chosen, spans, size = torch.rand(3, batch, 1, generator=generator, device=real.device)
    scattered = torch.rand(batch, length, generator=generator, device=real.device) < size
    gap = draw_span(real, 0.5 * size, generator)
    single = draw_span(real, torch.zeros_like(size), generator)  # a scattered gap may be empty
    gap = torch.where(spans < 0.5, gap, scattered | single)
    known: Tensor = real & ~gap & (chosen < share)
    return known


def draw_span(real: Tensor, share: Tensor | float, generator: torch.Generator | None) -> Tensor:
    """One gap per sequence at a random place: a share of its real positions real [batch, length], at least one.

    Args:
        real: True at real positions.
        share: in [0, 1], a number or [batch, 1].
        generator: source of all noise.

    Returns:
        [batch, length] bool, True in the gap.
    """
    rank, count = real.cumsum(1) - 1, real.sum(1, keepdim=True)
    size = (share * count).ceil().clamp_min(1)
    place = torch.rand(len(real), 1, generator=generator, device=real.device)
    start = (place * (count - size + 1)).floor()
    return real & (rank >= start) & (rank < start + size)

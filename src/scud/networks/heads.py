"""Output heads: from features at a position to logits over its clean state.

- categorical: one logit per state.
- logistic: a discretised logistic on the line of states (Salimans et al. 2017), for ordered states. With bin edges
  e_b on [-1, 1], log p_b = log(sigmoid((e_{b+1} - m) / s) - sigmoid((e_b - m) / s)), the first and last bin open. It is
  computed as log sigmoid(u) + log sigmoid(-l) + log(1 - exp(l - u)), u and l the scaled upper and lower edges: a
  product, not a difference, so it stays finite in float32 with finite gradients everywhere.
- mixed: a discretised logistic plus one free logit per state, which begins as the logistic and can become any law.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_SCALE_RANGE = (-8.0, 4.0)


def logistic_logits(location: Tensor, log_scale: Tensor, num_states: int) -> Tensor:
    """Log-probabilities of a discretised logistic, in nats.

    Args:
        location: [...], in units where the states fill [-1, 1].
        log_scale: [...], log of the scale in the same units; clamped to LOG_SCALE_RANGE.
        num_states: B.

    Returns:
        [..., B] float32 (or wider), summing to 1 in probability.
    """
    dtype = torch.promote_types(location.dtype, torch.float32)
    location, log_scale = location.to(dtype).unsqueeze(-1), log_scale.to(dtype).unsqueeze(-1)
    inverse_scale = (-log_scale.clamp(*LOG_SCALE_RANGE)).exp()
    edges = torch.linspace(-1, 1, num_states + 1, dtype=dtype, device=location.device)[1:-1]
    scaled = (edges - location) * inverse_scale
    below = F.logsigmoid(scaled)
    upper, lower = F.pad(below, (0, 1)), F.pad(below - scaled, (1, 0))
    width = (-(-2 / num_states * inverse_scale).expm1()).log()
    inner = (
        F.pad(width.expand(*width.shape[:-1], num_states - 2), (1, 1))
        if num_states > 2
        else torch.zeros_like(upper)
    )
    return upper + lower + inner

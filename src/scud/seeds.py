"""Seeds derived from one: every use of randomness has its own, and none depends on what was drawn before."""

from enum import IntEnum

import numpy as np
import torch


class Use(IntEnum):
    """What randomness is used for."""

    INITIAL_WEIGHTS = 0
    ORDER = 1
    TIMES = 2
    NOISE = 3
    DROPOUT = 4
    VALIDATION = 5
    KNOWN = 6
    FLIPS = 7
    LABELS = 8
    EVALUATION = 9
    SAMPLES = 10


def derive(seed: int, use: Use, *path: int) -> int:
    """A seed in [0, 2^63) for one use and place, such as (step, part); all arguments are >= 0."""
    return int(
        np.random.SeedSequence([seed, use, *path]).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )


def seeded(seed: int, use: Use, *path: int, device: torch.device | None = None) -> torch.Generator:
    """A new generator on `device` with the derived seed."""
    return torch.Generator(device or "cpu").manual_seed(derive(seed, use, *path))

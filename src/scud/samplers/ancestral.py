"""The sampling loop: from the prior at t_max down a grid of times to 0, one call of the denoiser per step.

Exact as the grid refines. Positions that are known (infilling) are clean from the start and never change.
"""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from scud.errors import check_states, fail
from scud.numerics.logits import all_finite
from scud.typing import Denoiser, Noisy, Reversible


@torch.no_grad()
def trajectory(
    model: Reversible,
    denoiser: Denoiser,
    shape: tuple[int, ...],
    steps: int = 128,
    *,
    known: Tensor | None = None,
    known_mask: Tensor | None = None,
    mask: Tensor | None = None,
    label: Tensor | None = None,
    grid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Noisy]:
    """The states of one sampling run, one per time of the grid, from the prior to the sample (see `sample` for arguments)."""
    if grid is not None:
        check_grid(grid, model.t_max)
    elif steps < 1:
        raise fail("steps", "be at least 1", steps, "64 to 256 steps are usual")
    if (known is None) != (known_mask is None):
        raise fail("known and known_mask", "be given together", "only one of them", "give both, or neither")
    noisy = model.start(shape, generator)
    if known is not None and known_mask is not None:
        if known.shape != noisy.x_t.shape or known_mask.shape != noisy.x_t.shape or known_mask.dtype != torch.bool:
            found = f"{list(known.shape)} and {known_mask.dtype} {list(known_mask.shape)}"
            raise fail(
                "known and known_mask", f"have shape {list(shape)}, the mask bool", found, "expand them to the shape"
            )
        if bool(known_mask.any()):
            check_states("known", known[known_mask], model.num_states)
        noisy = model.keep(noisy, known.long(), known_mask)
    yield noisy
    times = model.grid(steps) if grid is None else grid
    for u in times[1:].tolist():
        logits = denoiser(noisy.x_t, model.condition(noisy, mask, label))
        model.check_logits(logits, noisy.x_t)
        if not all_finite(logits):
            found = f"NaN or infinity on the way to t = {u:g}"
            raise fail("denoiser", "return finite numbers", found, "check its weights and its input")
        noisy = model.reverse(noisy, logits, u, generator)
        yield noisy


def sample(
    model: Reversible,
    denoiser: Denoiser,
    shape: tuple[int, ...],
    steps: int = 128,
    *,
    known: Tensor | None = None,
    known_mask: Tensor | None = None,
    mask: Tensor | None = None,
    label: Tensor | None = None,
    grid: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw clean states.

    Args:
        model: the diffusion.
        denoiser: (x_t, Conditioning) -> logits.
        shape: (batch, *dims).
        steps: calls of the denoiser, at the times of `Diffusion.grid`.
        known: clean states [batch, *dims], used where known_mask is True.
        known_mask: [batch, *dims] bool: positions to keep.
        mask: [batch, *dims] bool, True at real positions, for examples of different length; what is drawn elsewhere means
            nothing. All are real when None.
        label: [batch], passed on to the denoiser.
        grid: the times to step between, t_max = t_0 > … > t_n = 0, [n + 1]; n calls of the denoiser, whatever `steps` is.
        generator: source of all noise, on the model's device.

    Returns:
        States [batch, *dims] int64.

    Raises:
        UserError: steps < 1; known states of another shape or outside 0..B-1; only one of known and known_mask; a grid that
            does not fall from t_max to 0.
    """
    options = {"known": known, "known_mask": known_mask, "mask": mask, "label": label, "grid": grid}
    states = trajectory(model, denoiser, shape, steps, **options, generator=generator)
    (last,) = deque(states, maxlen=1)
    return last.x_t


def check_grid(grid: Tensor, t_max: float) -> None:
    """Raise `UserError` unless `grid` [n + 1], n >= 1, falls strictly from t_max to 0."""
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()):
        found = grid.tolist() if grid.numel() < 10 else f"shape {list(grid.shape)}"
        raise fail("grid", "hold at least two times, each below the one before", found, "sort it, the largest first")
    if float(grid[-1]) != 0 or abs(float(grid[0]) - t_max) > 1e-6:
        found = f"{float(grid[0]):g} to {float(grid[-1]):g}"
        raise fail("grid", f"run from the model's t_max, {t_max:g}, to 0", found, "put these at its ends")

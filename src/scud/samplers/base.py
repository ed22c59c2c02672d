"""Samplers: from noise to data.

A sampler draws examples from a model and its denoiser. Those that walk down a grid of times
t_max = t_0 > … > t_n = 0 share one loop (`GridSampler`): the denoiser is called once at each time
but the last, and `step` draws the state at the next one. With the exact step of `Ancestral` the law
of what is drawn tends to the model's own as the grid is refined.

Positions that are known (infilling) are clean from the start, and no step changes them.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from scud.errors import (
    check_choice,
    check_count,
    check_flags,
    check_in_interval,
    check_states,
    fail,
)
from scud.numerics import is_fixed
from scud.numerics.logits import Logits, all_finite
from scud.options import Options
from scud.typing import Denoiser, Given, Noisy, Reversible, Shape, Time

GRIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "cosine": lambda done: (torch.pi / 2 * done).cos(),
    "information": lambda done: 1 - done,
}
"""Grids by name: from the share of steps done to the share of information that noise destroys."""

MOST_STEPS = 1_000_000
"""Of a trajectory."""


class Sampler(ABC):
    """A way to draw examples from a model."""

    @property
    @abstractmethod
    def num_steps(self) -> int:
        """How many states of a trajectory follow the first one."""

    @abstractmethod
    def trajectory(
        self,
        model: Reversible,
        denoiser: Denoiser,
        shape: Shape,
        given: Given = Given(),
        *,
        generator: torch.Generator | None = None,
    ) -> Iterator[Noisy]:
        """The states of one sampling run, from the first, of noise, to the last, the sample.

        Args:
            model: the diffusion.
            denoiser: (x_t, Conditioning) -> logits.
            shape: (batch, *dims).
            given: what of the examples is given; nothing by default. What is drawn at positions
                that are not real means nothing.
            generator: source of all noise, on the model's device.

        Raises:
            UserError: a part of `given` does not fit the shape or the model's states, or the
                denoiser returns logits of another shape, NaN or infinity.
        """

    def __call__(
        self,
        model: Reversible,
        denoiser: Denoiser,
        shape: Shape,
        given: Given = Given(),
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw clean states [batch, *dims] int64; arguments and errors as in `trajectory`."""
        states = self.trajectory(model, denoiser, shape, given, generator=generator)
        (last,) = deque(states, maxlen=1)
        return last.x_t


@dataclass(frozen=True, kw_only=True)
class GridSampler(Options, Sampler):
    """A sampler that steps down a grid of times, with one call of the denoiser per step.

    Raises:
        UserError: steps below 1 or above `MOST_STEPS`, or a grid of an unknown name.
    """

    steps: int = 128
    """Calls of the network; more are closer to the model's own law."""

    grid: str | Tensor = "cosine"
    """Where steps end: even in "information" about the data, or by its "cosine", with shorter steps
    where there is most noise. A tensor of times from t_max to 0 is used instead of `steps`."""

    def check(self) -> None:
        check_count("steps", self.steps, 1, "64 to 256 steps are usual")
        check_in_interval("steps", self.steps, 1, MOST_STEPS, "64 to 256 steps are usual")
        if not isinstance(self.grid, Tensor):
            check_choice("grid", self.grid, GRIDS)

    @property
    def num_steps(self) -> int:
        return len(self.grid) - 1 if isinstance(self.grid, Tensor) else self.steps

    @abstractmethod
    def step(
        self,
        model: Reversible,
        noisy: Noisy,
        logits: Logits,
        u: Time,
        generator: torch.Generator | None,
    ) -> Noisy:
        """Draw the state at the earlier time u given the one now and the logits for it."""

    def times(self, model: Reversible) -> Tensor:
        """The times t_max = t_0 > … > t_n = 0 between which it steps, [n + 1] float64.

        At t_i noise has destroyed a share of the information that it destroys by t_max:
        cos(pi i / 2n) on the grid "cosine", which makes shorter steps where there is most noise
        (with few calls images lose less by it than by even steps), 1 - i/n on "information".

        Raises:
            UserError: times that were given do not fall from t_max to 0.
        """
        if isinstance(self.grid, Tensor):
            check_grid(self.grid, model.t_max)
            return self.grid
        device = model.p0.device
        done = torch.arange(1, self.steps, dtype=torch.float64, device=device) / self.steps
        inner = model.informative_time(GRIDS[self.grid](done))
        ends = torch.full((2,), model.t_max, dtype=torch.float64, device=device)
        return torch.cat([ends[:1], inner, 0 * ends[1:]])

    @torch.no_grad()
    def trajectory(
        self,
        model: Reversible,
        denoiser: Denoiser,
        shape: Shape,
        given: Given = Given(),
        *,
        generator: torch.Generator | None = None,
    ) -> Iterator[Noisy]:
        times = self.times(model)
        check_given(given, shape, model.num_states)
        noisy = model.start(shape, generator)
        if given.x0 is not None and given.known is not None:
            noisy = model.keep(noisy, given.x0.long(), given.known)
        yield noisy
        for u in times[1:] if is_fixed(times) else times[1:].tolist():
            logits = predict(model, denoiser, noisy, given, u)
            noisy = self.step(model, noisy, logits, u, generator)
            yield noisy


def predict(model: Reversible, denoiser: Denoiser, noisy: Noisy, given: Given, u: Time) -> Logits:
    """The denoiser's logits [batch, *dims, B] for a noised batch, on the way to time u.

    Raises:
        UserError: they have another shape, or, on a CPU, are not finite. A GPU finds that later: a RuntimeError.
    """
    logits = denoiser(noisy.x_t, model.condition(noisy, given))
    model.check_logits(logits, noisy.x_t)
    finite = all_finite(logits)
    if is_fixed(noisy.t):  # elsewhere the host need not wait to find that all is well
        torch._assert_async(finite, "the denoiser must return finite numbers")
    elif not bool(finite):
        what = f"NaN or infinity on the way to t = {float(u):g}"
        raise fail("denoiser", "return finite numbers", what, "check its weights and its input")
    return logits


def check_given(given: Given, shape: Shape, num_states: int) -> None:
    """Raise `UserError` unless what is given fits examples of shape (batch, *dims)."""
    if given.mask is not None:
        check_flags("given.mask", given.mask, shape)
    if given.label is not None and (given.label.ndim < 1 or len(given.label) != shape[0]):
        rule = f"have one row for each of {shape[0]} examples"
        shape_given = f"shape {list(given.label.shape)}"
        raise fail("given.label", rule, shape_given, "give [batch] or [batch, most]")
    if given.x0 is None and given.known is None:
        return
    if given.x0 is None or given.known is None:
        missing = "x0" if given.x0 is None else "known"
        remedy = "give both, or neither"
        raise fail("given.x0 and given.known", "be given together", f"no {missing}", remedy)
    check_flags("given.known", given.known, shape)
    if given.x0.shape != given.known.shape:
        rule = f"have the shape {list(shape)} of what is drawn"
        raise fail("given.x0", rule, list(given.x0.shape), "expand it to that shape")
    if not is_fixed(given.known) and bool(given.known.any()):
        check_states("given.x0", given.x0[given.known], num_states)


def check_grid(grid: Tensor, t_max: float) -> None:
    """Raise `UserError` unless `grid` [n + 1], n >= 1, falls strictly from t_max to 0."""
    if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() < 0).all()):
        times = grid.tolist() if grid.numel() < 10 else f"shape {list(grid.shape)}"
        rule = "hold at least two times, each below the one before"
        raise fail("grid", rule, times, "sort it, the largest first")
    if float(grid[-1]) != 0 or abs(float(grid[0]) - t_max) > 1e-6:
        ends = f"{float(grid[0]):g} to {float(grid[-1]):g}"
        rule = f"run from the model's t_max, {t_max:g}, to 0"
        raise fail("grid", rule, ends, "put these at its ends")

"""Drawing examples of any shape: in batches of like size, within a budget of positions at once.

Rows of positions may differ in length. Those of like length share a batch, are padded to its
longest row, and the denoiser is told which positions are real. Examples of several dimensions have
one shape.

The noise of every batch has a seed of its own: several processes may share out the batches, and
draw what one would draw.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from scud.errors import check_at_least, check_flags, check_in_interval, fail
from scud.ranks import ALONE, Ranks
from scud.samplers.base import Sampler
from scud.samplers.spool import Spool
from scud.seeds import Use, seeded
from scud.typing import Denoiser, Given, Reversible, Shape

POSITIONS = 16_384
"""Positions at once, padding included."""

MOST = 10_000_000
"""Examples of one call."""

PART = 1 << 18
"""Positions of the parts that `Samples.parts` gives."""

SEEDS = 2**62
"""The seed of all noise is below."""

SHOWN = 16
"""Examples of which frames are kept, at most: the first of the first batch."""


@dataclass(frozen=True)
class Samples:
    """Examples that were drawn, on the CPU.

    Attributes:
        states: the clean states of each example, [*dims] int64; read from a file as they are asked
            for where they were drawn into a spool.
        frames: moments of the first batch on its way from noise to data, [at most 16, *dims] each.
            Under masking, state B is a position that is still masked.
    """

    states: Sequence[Tensor]
    frames: list[Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, *dims], of examples of one shape."""
        return (len(self.states), *self.states[0].shape)

    def parts(self) -> Iterator[Tensor]:
        """The states of examples of one shape [n, *dims], some at a time and in order."""
        size = max(PART // self.states[0].numel(), 1)
        for start in range(0, len(self.states), size):
            yield torch.stack(list(self.states[start : start + size])).cpu()


@torch.no_grad()
def draw(
    sampler: Sampler,
    model: Reversible,
    denoiser: Denoiser,
    states: Sequence[Tensor],
    known: Sequence[Tensor] | None = None,
    *,
    positions: int = POSITIONS,
    label: Tensor | None = None,
    frames: int = 0,
    spool: Spool | None = None,
    generator: torch.Generator | None = None,
    ranks: Ranks = ALONE,
    progress: Callable[[float], None] | None = None,
) -> Samples:
    """Draw examples, or what is not known of them.

    Args:
        sampler: how to draw.
        model: the diffusion.
        denoiser: (x_t, Conditioning) -> logits.
        states: of each example, integers [*dims]; where it is not known only their shape matters.
        known: where the states of each example are given and never change, [*dims] bool each;
            nowhere when None.
        positions: how many are drawn at once, padding included; one example at least.
        label: class labels, one row per example: [N], or several of each [N, most].
        frames: how many moments of the first batch to keep, spread evenly over its steps.
        spool: where to keep what is drawn; in memory when None.
        generator: source of the seed of all noise, on the model's device.
        ranks: the processes that share out the batches, all of which call this with the same
            arguments; generators of one seed, that is.
        progress: called with the share done, in (0, 1], after each step.

    Returns:
        The examples in the order in which they were asked for, and the frames; of several processes
        only the one that writes has them.

    Raises:
        UserError: no examples, examples of several dimensions that differ in shape, `known` or
            `label` that do not fit them, positions below 1, and as `Sampler.trajectory` says.
    """
    check_work(states, known, label)
    check_at_least("positions", positions, 1, "16384 is the default")
    moments = evenly_spaced(frames, sampler.num_steps)
    drawn: list[Tensor] | Spool
    shown: list[Tensor]
    if spool is None:
        drawn, shown = [torch.empty(0)] * len(states), []
    else:
        spool.begin(states)
        drawn, shown = spool, spool.shown
    device = model.p0.device
    noise, done = noises(generator, device), 0

    def walk(batch: Part) -> Tensor:
        """Draw one batch: [batch, *dims], on the CPU."""
        given = gather(states, known, label, batch.examples, device)
        source = noise(batch.number)
        trajectory = sampler.trajectory(model, denoiser, batch.shape, given, generator=source)
        for moment, noisy in enumerate(trajectory):
            last = noisy.x_t
            if batch.number == 0 and moment in moments:
                shown.append(last[:SHOWN].cpu())
            if progress is not None and moment > 0:
                progress((done + size * moment / sampler.num_steps) / len(states))
        return last.cpu().long()

    work = batches(states, positions)
    while several := list(islice(work, ranks.count)):
        size = sum(len(batch.examples) for batch in several)
        parts = [torch.zeros(batch.shape, dtype=torch.int64) for batch in several]
        if ranks.rank < len(several):
            parts[ranks.rank] = walk(several[ranks.rank])
        for batch, part in zip(several, parts, strict=True):
            found = ranks.sum(part)
            if ranks.writes:
                for place, example in zip(batch.examples, found, strict=True):
                    drawn[place] = example[: len(states[place])]
        done += size
    return Samples(drawn, shown)


def noises(
    generator: torch.Generator | None, device: torch.device
) -> Callable[[int], torch.Generator]:
    """The source of the noise of batch number 0, 1, …, of a seed that derives from one draw of the generator."""
    seed = int(torch.randint(SEEDS, (), generator=generator, device=device))
    return lambda number: seeded(seed, Use.SAMPLES, number, device=device)


def evenly_spaced(count: int, steps: int) -> set[int]:
    """So many of the moments 0..steps, spread evenly; fewer where there are not so many."""
    return set(np.linspace(0, steps, count).round().astype(int).tolist())


class Part(NamedTuple):
    """A batch to be drawn: its number, which examples, and its shape (batch, *dims)."""

    number: int
    examples: list[int]
    shape: Shape


def batches(states: Sequence[Tensor], positions: int) -> Iterator[Part]:
    """Examples in batches of like length, the longest first, equal ones in order."""
    sizes = torch.tensor([example.numel() for example in states])
    order = sizes.argsort(descending=True, stable=True)
    start = number = 0
    while start < len(order):
        end = start + max(positions // int(sizes[order[start]]), 1)
        index = order[start:end].tolist()
        yield Part(number, index, (len(index), *states[index[0]].shape))
        start, number = end, number + 1


def gather(
    states: Sequence[Tensor],
    known: Sequence[Tensor] | None,
    label: Tensor | None,
    index: list[int],
    device: torch.device,
) -> Given:
    """What is given of the examples at these indices, padded to one shape where they are rows."""
    labels = None if label is None else label[index]
    rows = states[index[0]].ndim == 1
    if known is None and not rows:
        return Given(label=labels).to(device)
    some = [states[i] for i in index]
    nowhere = [torch.zeros_like(example, dtype=torch.bool) for example in some]
    fixed = nowhere if known is None else [known[i] for i in index]
    x0 = [example.long().masked_fill(~part, 0) for example, part in zip(some, fixed, strict=True)]
    if not rows:
        return Given(torch.stack(x0), torch.stack(fixed), label=labels).to(device)
    real = pad_sequence([torch.ones_like(part) for part in fixed], batch_first=True)
    # Padding counts as known, state 0: nothing needs to be drawn there.
    all_known = pad_sequence(fixed, batch_first=True) | ~real
    return Given(pad_sequence(x0, batch_first=True), all_known, real, labels).to(device)


def check_number(num: int) -> None:
    """Raise `UserError` unless so many examples can be drawn by one call."""
    remedy = "draw more by further calls, each with a seed of its own"
    check_in_interval("num", num, 1, MOST, remedy)


def check_work(
    states: Sequence[Tensor],
    known: Sequence[Tensor] | None,
    label: Tensor | None,
) -> None:
    """Raise `UserError` unless the arguments of `draw` fit each other."""
    if not states:
        raise fail("states", "hold at least one example", "none", "say what to draw")
    check_number(len(states))
    first = states[0].shape
    before = None
    for number, example in enumerate(states):
        if example is before:
            continue
        before = example
        differs = example.shape != first if len(first) > 1 else example.ndim != 1
        if differs or example.numel() == 0:
            rule = f"be rows of one position or more, or all of shape {list(first)}"
            remedy = "draw examples of another shape by another call"
            raise fail("states", rule, f"{list(example.shape)} at {number}", remedy)
    if known is not None:
        if len(known) != len(states):
            rule = f"hold {len(states)} examples"
            raise fail("known", rule, len(known), "give one for each of states")
        for number, (example, part) in enumerate(zip(states, known, strict=True)):
            check_flags(f"known[{number}]", part, example.shape)
    if label is not None and (label.ndim < 1 or len(label) != len(states)):
        rule = f"have one row for each of {len(states)} examples"
        raise fail("label", rule, f"shape {list(label.shape)}", "give [N] or [N, most]")

"""The bound on the likelihood of a set of examples, and how sure the estimate is.

Examples are dealt into two halves in turn, whose draws are independent. Times come from the mixture of
`scud.diffusion.times`, whose estimate has finite variance, as one systematic sample over all examples and draws of a half: u
of example i of N in draw r is (U + (r + π(i) / N) / R) mod 1, π a random order. So the draws of one example are spread
evenly over times. The noise of every batch has a seed of its own: several processes may share out the batches, and find what
one would find. The prior term is exact.

Much of the noise of a draw is how many positions happened to be noised, and how. A model that knows p0 alone sees the same
noise, and its own expectation is known: the difference c (`Elbo.control`) has mean 0, and a multiple of it is taken off,

    y - β c,      β = Σ (y - ȳ) c / Σ c²,      y the diffusion term of a draw, ȳ the mean per position times its positions,

the β of each half from the other one, so that the estimate stays unbiased; 0 where that has fewer than 16 draws.

The standard error is that of the mean over examples, each represented by the mean of its draws: it covers both which
examples are in the set and which noise was drawn, and errs on the large side, since it takes the draws of different
examples for independent where they are stratified. Where examples differ in their number of positions, it is that of
the ratio of total nats to total positions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from scud.diffusion import Diffusion
from scud.diffusion.estimates import Elbo
from scud.diffusion.objectives import per_example
from scud.diffusion.steps import ALL
from scud.errors import check_seed, fail
from scud.evaluation.report import Figure, Normal
from scud.networks.labels import reads_labels
from scud.numerics.transfer import sent, waits
from scud.ranks import ALONE, Ranks
from scud.samplers import Ancestral, Sampler
from scud.seeds import Use, seeded
from scud.typing import Batch, BatchSize, ExampleSet

REPEATS = 16
"""Draws of noise per example by default."""

ENOUGH = 16
"""Draws from which a regression on the control variate is trusted: of fewer, its coefficient has heavy tails."""


class Reports(Protocol):
    """What knows in which figures a kind of data is reported (see `scud.data.Modality`)."""

    @property
    def position(self) -> str:
        """What a position is called."""
        ...

    def figures(self, result: "Evaluation", examples: ExampleSet | None, /) -> Sequence[Figure]:
        """The figures of a bound, the headline first."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """An estimate of the bound on -log p over a set of examples.

    Attributes:
        examples: how many.
        repeats: draws of time and noise per example.
        positions: positions that count, of all examples together: real and not given.
        diffusion: the estimate of the bound's diffusion term, its control variate taken off, nats per example.
        prior: its prior term, nats per example.
        independent: -log p if positions were independent with law p0, exact, nats per example.
        standard_error: of `nats_per_position`; NaN for a single example.
        gain_error: of `gain`, nats per position; NaN for a single example.
        steps: of the sampler whose bound it is; None for the continuous bound.
        figures: the bound in the units in which people report this kind of data, the headline first; bits/dim where nothing is
            known of the data.
        position: what a position is called.
    """

    examples: int
    repeats: int
    positions: float
    diffusion: float
    prior: float
    independent: float
    standard_error: float
    gain_error: float
    steps: int | None = None
    figures: tuple[Figure, ...] = ()
    position: str = "dim"

    def reported(self, modality: Reports, examples: ExampleSet | None) -> Self:
        """The same bound, with the figures of a kind of data; examples are None where parts of them were bound."""
        return replace(
            self, figures=tuple(modality.figures(self, examples)), position=modality.position
        )

    @property
    def told_steps(self) -> str:
        """Which bound it is, where that is a sampler's."""
        return "" if self.steps is None else f", for samples drawn in {self.steps} steps"

    @property
    def headline(self) -> str:
        """The first figure with its uncertainty."""
        return str(self.figures[0] if self.figures else self.bits)

    @property
    def bits(self) -> Figure:
        """Bits per position, with their interval."""
        reach = 1.96 * self.bits_per_dim_error
        return Normal(
            "bits/dim", self.bits_per_dim, self.bits_per_dim - reach, self.bits_per_dim + reach
        )

    def interval(self, unit: str) -> tuple[float, float]:
        """The 95% interval of a figure: "bits/dim", "perplexity", "nats", or one that the kind of data has.

        Raises:
            UserError: there is no figure of that name.
        """
        reach = 1.96 * self.standard_error
        nats = (self.nats_per_position - reach, self.nats_per_position + reach)
        known = {
            "nats": nats,
            "perplexity": self.perplexity_interval,
            "bits/dim": (self.bits.low, self.bits.high),
        }
        known |= {figure.name: (figure.low, figure.high) for figure in self.figures}
        if unit not in known:
            raise fail("unit", f"be one of {', '.join(known)}", repr(unit), "choose one of these")
        return known[unit]

    def __str__(self) -> str:
        diffusion, prior = (self.term_bits_per_dim(nats) for nats in (self.diffusion, self.prior))
        gain = self.gain / math.log(2)
        lines = [
            f"{self.headline}, of {self.examples:,} examples by {self.repeats} draws each{self.told_steps}",
            f"bits per {self.position}: diffusion {diffusion:.4f}, prior {prior:.4f}; "
            f"gain {gain:.4f} over independent states",
        ]
        return "\n".join([*lines, *(str(figure) for figure in self.figures[1:])])

    @property
    def total(self) -> float:
        """The bound, nats per example."""
        return self.diffusion + self.prior

    @property
    def nats_per_position(self) -> float:
        """Total nats over total real positions."""
        return self.total * self.examples / self.positions

    @property
    def gain(self) -> float:
        """-log p0 less the bound, nats per position: at least so much is saved by knowing more than p0.

        Examples differ in it by less than in the bound, which also says how rare their states are.
        """
        return (self.independent - self.total) * self.examples / self.positions

    @property
    def bits_per_dim(self) -> float:
        """`nats_per_position` in bits."""
        return self.nats_per_position / math.log(2)

    @property
    def bits_per_dim_error(self) -> float:
        """Standard error of `bits_per_dim`."""
        return self.standard_error / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(`nats_per_position`)."""
        return math.exp(self.nats_per_position)

    @property
    def perplexity_interval(self) -> tuple[float, float]:
        """95% interval of `perplexity`: that of `nats_per_position`, ± 1.96 standard errors, mapped through exp."""
        reach = 1.96 * self.standard_error
        return math.exp(self.nats_per_position - reach), math.exp(self.nats_per_position + reach)

    def term_bits_per_dim(self, nats_per_example: float) -> float:
        """One of the terms in bits per real position."""
        return nats_per_example * self.examples / self.positions / math.log(2)


@torch.no_grad()
def evaluate(
    model: Diffusion,
    network: nn.Module,
    examples: ExampleSet,
    *,
    repeats: int = 4,
    batch_size: int = 256,
    batch_tokens: int = 32_768,
    known: Callable[[Batch, torch.Generator], Tensor] | None = None,
    labels: bool = True,
    sampler: Sampler | None = None,
    seed: int = 0,
    ranks: Ranks = ALONE,
    progress: Callable[[float], None] | None = None,
) -> Evaluation:
    """Estimate the bound; dropout is off, and the network's mode is restored afterwards.

    Args:
        model: the diffusion; its device is where the computation runs.
        network: the denoiser, on the same device.
        examples: what to evaluate on.
        repeats: draws of time and noise per example.
        batch_size: examples at once.
        batch_tokens: for sequences, positions at once instead, padding included.
        known: draws which positions of a batch are given, [batch, *dims] bool; the bound is then on the others given these.
        labels: whether a network that reads labels is told those of the examples.
        sampler: bound the likelihood of what `Ancestral` draws in its steps, not of what it tends to (`scud.diffusion.steps`).
        seed: of all noise; the same seed and batches give the same figures.
        ranks: the processes that share out the batches, all of which call this with the same arguments and get the same figures.
        progress: called with the share done, in (0, 1], after each batch.

    Raises:
        UserError: no examples, repeats or batch_size below 1, or a seed that is none.
    """
    count = len(examples)
    _check_asked(count, repeats, batch_size, seed)
    grid = None if sampler is None else grid_of(sampler, model)
    u = torch.empty(repeats, count, dtype=torch.float64)
    times = torch.Generator().manual_seed(seed)
    for half in (0, 1):
        u[:, half::2] = stratified_quantiles(u[:, half::2].shape[1], repeats, times)
    told = labels and reads_labels(network)
    numbers = torch.zeros(5, repeats, count, dtype=torch.float64)
    done = 0
    was_training = network.training
    network.eval()
    try:
        draws = draws_of(examples, repeats, BatchSize(batch_size, batch_tokens))
        for (draw, number, index), counts in ranks.share(draws):
            noise = seeded(seed, Use.EVALUATION, draw, number, device=model.p0.device)
            batch = examples.batch(index).to(noise.device, non_blocking=not waits(noise.device))
            if not told:
                batch = replace(batch, label=None)
            if known is not None:
                batch = replace(batch, known=known(batch, noise))
            at = sent(u[draw, index], noise.device)
            found = numbers_of(
                model, batch, model.elbo(network, batch, generator=noise, u=at, grid=grid)
            )
            if counts:
                numbers[:, draw, index] = found
            done += len(index) * ranks.count
            if progress is not None:
                progress(min(done / (count * repeats), 1.0))
    finally:
        network.train(was_training)
    diffusion, control, *others = ranks.sum(numbers)
    prior, positions, independent = (part.mean(0) for part in others)
    nats = take_off_control(diffusion, control, positions).mean(0)
    return Evaluation(
        examples=count,
        repeats=repeats,
        positions=float(positions.sum()),
        diffusion=float(nats.mean()),
        prior=float(prior.mean()),
        independent=float(independent.mean()),
        standard_error=ratio_error(nats + prior, positions),
        gain_error=ratio_error(independent - nats - prior, positions),
        steps=None if sampler is None else sampler.num_steps,
    )


def draws_for(sampler: Sampler | None) -> int:
    """Draws of noise per example by default: fewer where each is of all steps of a sampler."""
    steps = 1 if sampler is None or sampler.num_steps > ALL else sampler.num_steps
    return max(REPEATS // steps, 1)


def grid_of(sampler: Sampler, model: Diffusion) -> Tensor:
    """The times of a sampler whose bound is known, on the CPU.

    Raises:
        UserError: it is another one than `Ancestral`, or has a temperature.
    """
    if type(sampler) is not Ancestral:  # one that is derived from it may draw by another law
        rule, remedy = "be Ancestral, whose bound is known", "leave it out for the continuous bound"
        raise fail("sampler", rule, type(sampler).__name__, remedy)
    if sampler.temperature != 1:
        remedy = "logits that are divided by it are another denoiser: bound that one"
        raise fail("temperature", "be 1 for a bound", sampler.temperature, remedy)
    return sampler.times(model).cpu()


def _check_asked(count: int, repeats: int, batch_size: int, seed: int) -> None:
    """Raise `UserError` for numbers by which nothing can be evaluated."""
    check_seed(seed)
    if count == 0:
        raise fail("examples", "hold at least one example", 0, "choose a split that is not empty")
    if repeats < 1 or batch_size < 1:
        found = f"{repeats} and {batch_size}"
        raise fail("repeats and batch_size", "be at least 1", found, "4 and 256 are usual")


def draws_of(
    examples: ExampleSet, repeats: int, size: BatchSize
) -> Iterator[tuple[int, int, Tensor]]:
    """All that is evaluated: which draw it is, which batch, and the examples of the batch."""
    for draw in range(repeats):
        for number, index in enumerate(examples.batches(size)):
            yield draw, number, index


def numbers_of(model: Diffusion, batch: Batch, elbo: Elbo) -> Tensor:
    """What evaluation keeps of a batch, on the CPU: [5, batch] float64.

    It is the diffusion term, the control variate, the prior term, how many positions count, and the sum of -log p0 over them.
    They come at once: a GPU is waited for once per batch.
    """
    counted = batch.counted
    if counted is None:
        counted = torch.ones_like(batch.x0, dtype=torch.bool)
    independent = per_example(-model.p0.log()[batch.x0.long()] * counted)
    terms = (elbo.diffusion, elbo.control, elbo.prior, per_example(counted), independent)
    return torch.stack([term.double() for term in terms]).cpu()


def take_off_control(diffusion: Tensor, control: Tensor, positions: Tensor) -> Tensor:
    """Diffusion terms y - β c of all draws, nats, [repeats, N]; even and odd examples take β from each other.

    Args:
        diffusion: y, nats, [repeats, N].
        control: c, nats, [repeats, N].
        positions: that count, [N].
    """
    beta = torch.zeros(control.shape[1], dtype=control.dtype)
    for half in (0, 1):
        others = slice(1 - half, None, 2)
        beta[half::2] = regression(diffusion[:, others], control[:, others], positions[others])
    return diffusion - beta * control


def regression(diffusion: Tensor, control: Tensor, positions: Tensor) -> float:
    """β = Σ (y - ȳ) c / Σ c² over some draws; 0 for too few of them, or where a bound is infinite."""
    if control.numel() < ENOUGH or not bool(diffusion.isfinite().all()):
        return 0.0
    residual = diffusion - diffusion.mean() / positions.mean() * positions
    return float(
        (residual * control).sum()
        / control.square().sum().clamp_min(torch.finfo(control.dtype).tiny)
    )


def stratified_quantiles(count: int, repeats: int, generator: torch.Generator) -> Tensor:
    """u [repeats, count] float64: one systematic sample of [0, 1), each example's draws 1 / repeats apart."""
    offset = torch.rand((), dtype=torch.float64, generator=generator)
    place = torch.randperm(count, generator=generator).double() / count
    return (offset + (torch.arange(repeats).unsqueeze(1) + place) / repeats) % 1.0


def ratio_error(nats: Tensor, positions: Tensor) -> float:
    """Standard error of Σ nats / Σ positions over independent examples, both [N]; NaN for a single one."""
    if len(nats) == 1:
        return math.nan
    residual = nats - nats.sum() / positions.sum() * positions
    return float(
        residual.square().sum().div(len(nats) - 1).sqrt()
        / math.sqrt(len(nats))
        / positions.double().mean()
    )

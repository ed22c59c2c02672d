"""The bound on the likelihood of a set of examples, and how sure the estimate is.

Times come from the mixture of `scud.diffusion.times`, whose estimate has finite variance, as one systematic sample
over all examples and draws: u of example i in draw r is (U + (r + π(i) / N) / R) mod 1, π a random order. So the draws
of one example are spread evenly over times. The prior term is exact.

Most of the noise of a draw is how many positions happened to be noised, and how. A model that knows p0 alone sees the same
noise, and its own expectation is known: the difference c (`Elbo.control`) has mean 0, and a multiple of it is taken off,

    y - β c,      β = Σ (y - ȳ) c / Σ c²,      y the diffusion term of a draw, ȳ the mean per position times its positions.

So that the estimate stays unbiased, draws are dealt into two halves in turn, and each half takes its β from the other.

The standard error is that of the mean over examples, each represented by the mean of its draws: it covers both which
examples are in the set and which noise was drawn, and errs on the large side, since it takes the draws of different
examples for independent where they are stratified. Where examples differ in their number of positions, it is that of
the ratio of total nats to total positions.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from scud.diffusion import Diffusion
from scud.diffusion.base import counted_positions, per_example
from scud.errors import fail
from scud.typing import Batch, ExampleSet


@dataclass(frozen=True)
class Evaluation:
    """An estimate of the bound on -log p over a set of examples.

    Attributes:
        examples: how many.
        repeats: draws of time and noise per example.
        positions: positions that count, of all examples together: real and not given.
        diffusion: the bound's diffusion term, nats per example.
        prior: its prior term, nats per example.
        independent: exact -log p of positions drawn from p0 independently, nats per example.
        standard_error: of `nats_per_position`.
        gain_error: of `gain`.
    """

    examples: int
    repeats: int
    positions: float
    diffusion: float
    prior: float
    independent: float
    standard_error: float
    gain_error: float

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
        """What knowing more than p0 saves, nats per position: free of what examples differ in by their letters alone."""
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
    seed: int = 0,
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
        seed: of all noise; the same seed and batches give the same figures.
        progress: called with the share done, in (0, 1], after each batch.

    Raises:
        UserError: no examples, or repeats or batch_size below 1.
    """
    count = len(examples)
    if count == 0:
        raise fail("examples", "hold at least one example", 0, "choose a split that is not empty")
    if repeats < 1 or batch_size < 1:
        raise fail("repeats and batch_size", "be at least 1", f"{repeats} and {batch_size}", "4 and 256 are usual")
    device = model.p0.device
    generator = torch.Generator(device).manual_seed(seed)
    u = stratified_quantiles(count, repeats, seed)
    diffusion, control = torch.zeros(2, repeats, count, dtype=torch.float64)
    prior, independent, positions = torch.zeros(3, count, dtype=torch.float64)
    done = 0
    was_training = network.training
    network.eval()
    try:
        for draw in range(repeats):
            for index in examples.batches(batch_size, batch_tokens):
                batch = examples.batch(index).to(device)
                given = None if known is None else known(batch, generator)
                options = {"known": given, "label": batch.label, "u": u[draw, index].to(device)}
                elbo = model.elbo(network, batch.x0, batch.mask, **options, generator=generator)
                diffusion[draw, index] = elbo.diffusion.double().cpu()
                control[draw, index] = elbo.control.double().cpu()
                counted = counted_positions(batch.mask, given)
                counted = torch.ones_like(batch.x0, dtype=torch.bool) if counted is None else counted
                prior[index] += elbo.prior.double().cpu()
                positions[index] += per_example(counted).cpu()
                independent[index] -= per_example(model.p0.log()[batch.x0.long()] * counted).cpu()
                done += len(index)
                if progress is not None:
                    progress(done / (count * repeats))
    finally:
        network.train(was_training)
    prior, independent, positions = (total / repeats for total in (prior, independent, positions))
    nats = less_control(diffusion, control, positions).mean(0)
    return Evaluation(
        examples=count,
        repeats=repeats,
        positions=float(positions.sum()),
        diffusion=float(nats.mean()),
        prior=float(prior.mean()),
        independent=float(independent.mean()),
        standard_error=ratio_error(nats + prior, positions),
        gain_error=ratio_error(independent - nats - prior, positions),
    )


def less_control(diffusion: Tensor, control: Tensor, positions: Tensor) -> Tensor:
    """Diffusion terms less a multiple of their control variates, all [repeats, N]; positions [N]."""
    noise, half = control.flatten(), torch.arange(control.numel()) % 2
    size = positions.expand_as(diffusion).flatten()

    def by_half(values: Tensor) -> Tensor:
        return torch.zeros(2, dtype=values.dtype).index_add(0, half, values)

    tiny = torch.finfo(noise.dtype).tiny  # of a single draw, one half is empty: β = 0
    mean = by_half(diffusion.flatten()) / by_half(size).clamp_min(tiny)
    multiple = by_half((diffusion.flatten() - mean[half] * size) * noise) / by_half(noise.square()).clamp_min(tiny)
    return diffusion - (multiple[1 - half] * noise).reshape(control.shape)


def stratified_quantiles(count: int, repeats: int, seed: int) -> Tensor:
    """u [repeats, count] float64: one systematic sample of [0, 1), each example's draws 1 / repeats apart."""
    generator = torch.Generator().manual_seed(seed)
    offset = torch.rand((), dtype=torch.float64, generator=generator)
    place = torch.randperm(count, generator=generator).double() / count
    return (offset + (torch.arange(repeats).unsqueeze(1) + place) / repeats) % 1.0


def ratio_error(nats: Tensor, positions: Tensor) -> float:
    """Standard error of Σ nats / Σ positions over independent examples, both [N]; NaN for a single one."""
    if len(nats) == 1:
        return math.nan
    residual = nats - nats.sum() / positions.sum() * positions
    return float(residual.square().sum().div(len(nats) - 1).sqrt() / math.sqrt(len(nats)) / positions.double().mean())

"""What is done on the pretended GPU, in its process: each function is a piece of work, and returns what was counted.

Results are compared with those of the CPU, which takes the same path (`fixed_shapes`) and draws the same noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.testing import assert_close

from scud import Diffusion, Masking
from scud.data.examples import Examples
from scud.diffusion.objectives import Reconstruction
from scud.evaluation import evaluate
from scud.evaluation.scores import score, score_variants
from scud.networks import DiT
from scud.numerics import fixed_shapes
from scud.training.ema import Ema
from scud.typing import Batch, Conditioning, Noisy, Shape
from tests.pretended import cases
from tests.pretended.counting import Counts, count
from tests.pretended.device import pretended_gpu

CPU = torch.device("cpu")


@cache
def model_on(name: str, device: torch.device) -> Diffusion:
    """A model, which all pieces of work on a device share."""
    return cases.make_model(name).to(device)


@dataclass(frozen=True)
class Side:
    """A model and a network on one device, and a batch there."""

    model: Diffusion
    network: nn.Module
    batch: Batch
    device: torch.device

    @classmethod
    def of(cls, model: str, network: str, device: torch.device) -> "Side":
        """Made on the CPU and moved."""
        made, batch = cases.make_network(network).to(device), cases.make_batch(network).to(device)
        return cls(model_on(model, device), made, batch, device)

    def source(self) -> torch.Generator:
        """Noise that is the same on both devices."""
        return torch.Generator(self.device).manual_seed(3)

    def gradients(self) -> list[Tensor]:
        """Of the network's weights, which forget them."""
        weights = [weight for weight in self.network.parameters() if weight.grad is not None]
        found = [weight.grad for weight in weights]
        self.network.zero_grad()
        return found


Work = Callable[[Side], list[Tensor]]
"""Something that is done on a device, and what comes of it."""


def loss(side: Side) -> list[Tensor]:
    """And its backward pass, with labels, padding and known positions."""
    value = side.model.loss(side.network, side.batch, generator=side.source())
    value.backward()
    return [value.detach(), *side.gradients()]


def plain_loss(side: Side) -> list[Tensor]:
    """Of states alone."""
    return [side.model.loss(side.network, side.batch.x0, generator=side.source()).detach()]


def objective(side: Side) -> list[Tensor]:
    """Half the bound, half the cross-entropy."""
    half = Reconstruction(share=0.5)
    terms = side.model.objective(side.network, side.batch, half, generator=side.source())
    terms.loss.mean().backward()
    return [terms.loss.detach(), terms.diffusion, *side.gradients()]


@torch.no_grad()
def watched(side: Side) -> list[Tensor]:
    """The diffusion term where the loss does not need it."""
    whole = Reconstruction()
    terms = side.model.objective(side.network, side.batch, whole, generator=side.source())
    return [terms.loss, terms.diffusion]


@torch.no_grad()
def elbo(side: Side) -> list[Tensor]:
    found = side.model.elbo(side.network, side.batch, generator=side.source())
    return [found.diffusion, found.prior, found.control]


def sample(side: Side) -> list[Tensor]:
    shape, source = tuple(side.batch.x0.shape), side.source()
    return [side.model.sample(side.network, shape, steps=2, generator=source)]


def infill(side: Side) -> list[Tensor]:
    shape, given, source = tuple(side.batch.x0.shape), cases.infilling(side.batch), side.source()
    return [side.model.sample(side.network, shape, steps=1, given=given, generator=source)]


ALL: dict[str, Work] = {
    work.__name__: work for work in (loss, plain_loss, objective, watched, elbo, sample, infill)
}


def tried(model: str, network: str) -> dict[str, Work]:
    """What is done with a pair: all with the cheapest network; what meets all of the others, which know nothing of processes."""
    if network == "bytenet":
        return ALL
    names = (
        ("loss", "infill")
        if model in ("masking", "scud gaussian", "classical gaussian")
        else ("loss",)
    )
    return {name: ALL[name] for name in names}


def same_as_on_the_cpu(model: str, network: str) -> dict[str, Counts]:
    """Do it on both devices: raises where results differ, and returns what was counted on the pretended one."""
    work = tried(model, network)
    with fixed_shapes():
        cpu = Side.of(model, network, CPU)
        expected = {name: do(cpu) for name, do in work.items()}
    found, results = dict[str, Counts](), dict[str, list[Tensor]]()
    with pretended_gpu() as gpu:
        side = Side.of(model, network, gpu)
        warm(model, gpu)
        for name, do in work.items():
            with count() as found[name]:
                parts = do(side)
            results[name] = brought(name, parts)
    for name, parts in results.items():
        check_same(name, parts, expected[name])
    return found


@cache
def warm(model: str, device: torch.device) -> None:
    """Let a model make what it keeps for later steps."""
    plain_loss(Side.of(model, "bytenet", device))
    model_on(model, device).informative_time(torch.full((1,), 0.5, device=device))


def brought(name: str, found: Sequence[Tensor]) -> list[Tensor]:
    """Results on the device, brought to the CPU."""
    assert all(part.device.type != "cpu" for part in found), f"{name} came back to the CPU"
    return [part.cpu() for part in found]


def check_same(name: str, found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raise where results are not those of the CPU, to the rounding of float32."""
    for ours, theirs in zip(found, expected, strict=True):
        tolerance = 1e-4 * float(theirs.abs().max().clamp_min(1e-3))
        why = f"{name} differs from the CPU's by more than {tolerance:g}"
        assert_close(ours, theirs, rtol=0, atol=tolerance, msg=why)


@torch.no_grad()
def given_noise(model: str) -> None:
    """Noised states of the CPU, moved over: every term is that of the CPU, which groups positions by their noise."""
    cpu = model_on(model, CPU)
    x0 = cases.make_batch("bytenet").x0
    source = torch.Generator().manual_seed(4)
    t = torch.rand(len(x0), dtype=torch.float64, generator=source) * cpu.t_max
    noisy = cpu.corrupt(x0, t, source)
    then = cpu.reverse(noisy, torch.zeros(*x0.shape, cases.B), 0.1, source)
    logits = torch.randn(*x0.shape, cases.B, generator=source)
    expected = terms(cpu, x0, noisy, then, logits)
    with pretended_gpu() as gpu:
        arguments = (x0.to(gpu), moved(noisy, gpu), moved(then, gpu), logits.to(gpu))
        found = brought(model, terms(model_on(model, gpu), *arguments))
    check_same(model, found, expected)


def terms(model: Diffusion, x0: Tensor, noisy: Noisy, then: Noisy, logits: Tensor) -> list[Tensor]:
    """All that a model says of noised states."""
    evidence = model.condition(noisy).evidence
    assert evidence is not None
    return [
        evidence.probs(),
        model.integrand(logits, x0, noisy),
        model.reconstruction(logits, x0, noisy),
        model.independent_integrand(model.p0.log().float().expand(logits.shape), x0, noisy),
        model.prior_term(x0),
        model.reverse_log_prob(noisy, logits, 0.1, then).exp(),
    ]


def moved(noisy: Noisy, device: torch.device) -> Noisy:
    """A noised batch on a device."""
    s = None if noisy.s is None else noisy.s.to(device)
    return Noisy(noisy.x_t.to(device), noisy.t.to(device), s)


def many_states(name: str) -> Counts:
    """A loss, its backward pass and a sample where logits are made only where they are asked for."""
    states = 2100
    p0 = cases.marginal(states)
    with pretended_gpu() as gpu:
        made = Masking(states, p0=p0) if name == "masking" else cases.many(states, p0)
        network = DiT(states, width=8, layers=1, heads=1).to(gpu)
        side = Side(made.to(gpu), network, Batch(torch.randint(states, (2, 5)).to(gpu)), gpu)
        objective(side)
        sample(side)
        with count() as found:
            loss(side)
            watched(side)
            sample(side)
    return found


def variant(name: str) -> Counts:
    """A loss and its backward pass where the network computes in bfloat16, and a sample."""
    with pretended_gpu() as gpu:
        warm("scud gaussian", gpu)
        batch = Batch(cases.make_batch("unet").x0).to(gpu)
        network = cases.VARIANTS[name]().to(gpu)
        side = Side(model_on("scud gaussian", gpu), network, batch, gpu)
        with count() as found:
            with torch.autocast(gpu.type, torch.bfloat16):
                loss(side)
            sample(side)
    return found


def training_steps(network: str, dropout: float) -> Counts:
    """Two steps of training as `scud.training.module` makes them: raises where weights and averages are not the CPU's.

    With dropout, whose draws are the device's own, they are not compared.
    """
    with fixed_shapes():
        expected, _ = train(Side.of("scud gaussian", network, CPU), dropout)
    with pretended_gpu() as gpu:
        weights, counts = train(Side.of("scud gaussian", network, gpu), dropout)
        found = brought(network, weights)
    if not dropout:
        check_same(network, found, expected)
    return counts


def train(side: Side, dropout: float) -> tuple[list[Tensor], Counts]:
    """Weights and their average after two steps, and what the second one counted."""
    for part in side.network.modules():
        if isinstance(part, nn.Dropout):
            part.p = dropout
    side.network.train()
    average = Ema(side.network, 0.99)
    # A large eps: a gradient that is 0 but for rounding makes no step.
    settings = {"lr": 1e-3, "betas": (0.9, 0.99), "eps": 1e-2, "weight_decay": 0.01, "fused": True}
    optimizer = torch.optim.AdamW(side.network.parameters(), **settings)
    for step in range(2):
        with count() as counts:
            terms = side.model.objective(side.network, side.batch, generator=side.source())
            (terms.loss.sum() / 100).backward()
            nn.utils.clip_grad_norm_(side.network.parameters(), 1.0)
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 / (step + 1)
            optimizer.step()
            optimizer.zero_grad()
            average.update(side.network, step)
    networks = (side.network, average.network)
    return [weight.detach() for each in networks for weight in each.parameters()], counts


def evaluation(model: str, infilling: bool) -> Counts:
    """The bound of 7 examples in 3 batches, drawn twice: raises where it is not that of the CPU."""
    batch = cases.make_batch("bytenet")
    examples = Examples(batch.x0.repeat(2, 1)[:7], torch.arange(7) % cases.LABELS)

    def bound(side: Side) -> list[float]:
        def known(batch: Batch, generator: torch.Generator) -> Tensor:
            return torch.rand(batch.x0.shape, device=side.device, generator=generator) < 0.3

        given = known if infilling else None
        result = evaluate(side.model, side.network, examples, repeats=2, batch_size=3, known=given)
        return [result.diffusion, result.prior, result.independent, result.positions]

    with fixed_shapes():
        expected = bound(Side.of(model, "bytenet", CPU))
    with pretended_gpu() as gpu:
        side = Side.of(model, "bytenet", gpu)
        warm(model, gpu)
        with count() as found:
            assert_close(bound(side), expected, rtol=1e-4, atol=1e-4)
    return found


def scores(model: str) -> tuple[Counts, Counts]:
    """Scores of sequences, and of variants of one: raises where they are not those of the CPU."""
    source = np.random.default_rng(0)
    sequences = [source.integers(0, cases.B, length).astype(np.uint8) for length in (9, 7, 9)]
    sequences[1][2] = cases.B  # unknown
    wild = sequences[0]
    variants = [wild.copy() for _ in range(3)]
    for variant, places in zip(variants, ([2], [2, 5], [7]), strict=True):
        variant[places] = (variant[places] + 1) % cases.B

    def of_sequences(side: Side) -> NDArray[np.float64]:
        return score(side.model, side.network, sequences, repeats=8).log_likelihood

    def of_variants(side: Side) -> NDArray[np.float64]:
        return score_variants(side.model, side.network, wild, variants, repeats=16).difference

    with fixed_shapes():
        side = Side.of(model, "bytenet", CPU)
        expected = of_sequences(side), of_variants(side)
    with pretended_gpu() as gpu:
        warm(model, gpu)
        side = Side.of(model, "bytenet", gpu)
        with count() as first:
            found = of_sequences(side)
        with count() as second:
            differences = of_variants(side)
    np.testing.assert_allclose(found, expected[0], rtol=1e-4)
    np.testing.assert_allclose(differences, expected[1], rtol=1e-3, atol=1e-3)
    return first, second


@dataclass(frozen=True)
class Budget:
    """Counts of a model's parts, beside those of the network alone.

    Attributes:
        loss, backward, sampling: of the model; sampling is one run of `steps` steps.
        embed: of the evidence, as the network asks for it.
        forward, network_backward: of the network, its evidence included.
        steps: of the sampling run.
    """

    loss: Counts
    backward: Counts
    sampling: Counts
    embed: Counts
    forward: Counts
    network_backward: Counts
    steps: int

    def __str__(self) -> str:
        per_step = (self.sampling.kernels / self.steps, self.sampling.waits / self.steps)
        return (
            f"network {self.forward.kernels} forward ({self.embed.kernels} of them evidence) and "
            f"{self.network_backward.kernels} backward; loss {self.loss}; backward {self.backward}; "
            f"a sampling step {per_step[0]:.1f} kernels, {per_step[1]:.1f} waits: {self.sampling.where}"
        )


def budget(kind: str, num_states: int, shape: Shape) -> Budget:
    """Count the loss, its backward pass and sampling of a model of pictures."""
    steps = 8
    model = cases.picture_model(kind, num_states)
    with pretended_gpu() as gpu:
        model = model.to(gpu)
        network = cases.picture_network(num_states, shape[1:]).to(gpu)
        x0 = torch.randint(num_states, shape, generator=torch.Generator().manual_seed(5)).to(gpu)
        source = torch.Generator(gpu).manual_seed(6)
        model.loss(network, x0, generator=source).backward()
        model.sample(network, shape, steps=2, generator=source)
        with count() as of_loss:
            value = model.loss(network, x0, generator=source)
        with count() as of_backward:
            value.backward()
        told = told_of(model, x0, source)
        with count() as of_embed, torch.no_grad():
            assert told[1].evidence is not None
            told[1].evidence.embed(network.embedding)
        with count() as of_forward:
            logits = network(*told)
        value = nn.functional.cross_entropy(logits.flatten(0, -2), x0.flatten())
        with count() as of_network_backward:
            value.backward()
        with count() as of_sampling:
            model.sample(network, shape, steps=steps, generator=source)
    return Budget(
        of_loss, of_backward, of_sampling, of_embed, of_forward, of_network_backward, steps
    )


def told_of(model: Diffusion, x0: Tensor, source: torch.Generator) -> tuple[Tensor, Conditioning]:
    """What a network is told half-way."""
    t = torch.full((len(x0),), 0.5, dtype=torch.float64, device=x0.device)
    noisy = model.noise(x0, t, source)
    return noisy.x_t, model.condition(noisy)

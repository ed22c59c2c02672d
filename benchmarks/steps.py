"""Training and sampling steps over the same steps of the network alone.

The network alone trains on tokens: an embedding look-up, the network at a fixed noise level, cross-entropy, backward, clipping
and AdamW. A full step adds what diffusion adds: times, noise, evidence, the bound. In sampling, the network alone is its forward
pass, and a full step adds evidence, checks and the draw of an earlier state, at places spread over a whole run.
"""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import cases
from benchmarks.cases import FreeDenoiser, Scale, Tokenizer
from benchmarks.report import Row
from benchmarks.timing import compare, fresh_process, held_bytes, median_seconds, peak_bytes
from scud.diffusion import Diffusion, Losses
from scud.diffusion.compiled import CompiledObjective
from scud.diffusion.objectives import Bound, Objective
from scud.numerics import fixed_shapes, is_fixed
from scud.samplers import Ancestral
from scud.samplers.base import predict
from scud.typing import Batch, Conditioning, Denoiser, Given

DRAWS = 3
"""Steps of which the peak memory is taken: it depends on the noise that is drawn."""


class Bfloat16(nn.Module):
    """A network that computes in bfloat16 where that is safe; its weights stay float32."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        with torch.autocast(x_t.device.type, torch.bfloat16):
            logits: Tensor = self.network(x_t, conditioning)
        return logits


def bare(model: Diffusion, x0: Tensor, mask: Tensor | None = None) -> Conditioning:
    """What a network is told when there is no diffusion: tokens, at the noise level of one draw at t = 0.5."""
    noisy = model.corrupt(x0, torch.full((len(x0),), 0.5, dtype=torch.float64, device=x0.device))
    return Conditioning(noisy.t.float(), noisy.s, mask=mask, evidence=Tokenizer(x0))


class TrainingStep:
    """One batch, trained on with and without diffusion.

    Args:
        model: the diffusion, on the device of everything.
        network: the denoiser, in training mode.
        batch: clean examples.
        objective: the full step's; the bound by default.
        compiled: whether the full step compiles all behind the noise as one, where shapes are fixed.
    """

    def __init__(
        self,
        model: Diffusion,
        network: nn.Module,
        batch: Batch,
        objective: Objective | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        self.model, self.network, self.batch = model, network, batch
        self.objective = Bound() if objective is None else objective
        self.losses: Callable[..., Losses] = model.objective
        if compiled:
            self.losses = CompiledObjective(model, backend=backend(batch.x0.device))
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
        self.fixed = bare(model, batch.x0, batch.mask)
        self.count = batch.x0.numel() if batch.mask is None else int(batch.mask.sum())

    def alone(self) -> None:
        """The network alone."""
        logits, x0 = self.network(self.batch.x0, self.fixed), self.batch.x0
        if self.batch.mask is None:
            logits, x0 = logits.flatten(0, -2), x0.flatten()
        else:
            logits, x0 = logits[self.batch.mask], x0[self.batch.mask]
        self._update(F.cross_entropy(logits.float(), x0))

    def full(self) -> None:
        """The diffusion's step."""
        terms = self.losses(self.network, self.batch, self.objective)
        self._update(terms.loss.sum() / self.count)

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()


class SamplingStep:
    """Single steps of a sampling run, at places spread evenly over it, one after the other.

    Args:
        model: the diffusion, on the device of everything.
        denoiser: called once a step.
        x0: clean states, noised to the times of the places.
        steps: of the whole run.
        places: how many single steps are taken from it.
    """

    def __init__(
        self, model: Diffusion, denoiser: Denoiser, x0: Tensor, steps: int, places: int
    ) -> None:
        self.model, self.denoiser, self.x0, self.fixed = model, denoiser, x0, bare(model, x0)
        grid = Ancestral(steps=steps).times(model)
        chosen = [int((place + 0.5) * steps / places) for place in range(places)]
        times = grid if is_fixed(grid) else grid.tolist()
        states = [(model.corrupt(x0, grid[i].expand(len(x0))), times[i + 1]) for i in chosen]
        self.states = itertools.cycle(states)

    @torch.no_grad()
    def alone(self) -> None:
        """The network alone."""
        self.denoiser(self.x0, self.fixed)

    @torch.no_grad()
    def full(self) -> None:
        """One turn of the loop of `scud.samplers`, which cannot be entered in the middle."""
        noisy, u = next(self.states)
        logits = predict(self.model, self.denoiser, noisy, Given(), u)
        self.model.reverse(noisy, logits, u)


def backend(device: torch.device) -> str:
    """What compiles. On a CPU code is only traced, which shows that it can be compiled."""
    return "inductor" if device.type == "cuda" else "eager"


def prepare(network: nn.Module, device: torch.device, bfloat16: bool, compiled: bool) -> nn.Module:
    """The network as it is to be measured."""
    network = network.to(device)
    if compiled:
        network = torch.compile(network, backend=backend(device))  # type: ignore[assignment]
    return Bfloat16(network) if bfloat16 else network


def training_rows(
    scale: Scale, device: torch.device, *, bfloat16: bool = False, compiled: bool = False
) -> Iterator[Row]:
    """Training steps, a row for every number of states and model. Compiled, they have fixed shapes on a CPU too."""
    for num_states, name in itertools.product(scale.states, cases.MODELS):
        model = cases.model(name, num_states).to(device)
        network = prepare(
            cases.network(scale.size, num_states, scale.shape[1:]), device, bfloat16, compiled
        ).train()
        batch = Batch(cases.images(model.p0, scale.shape).to(device))
        work = TrainingStep(model, network, batch, compiled=compiled)
        with fixed_shapes(compiled):
            found = compare(work.alone, work.full, device, scale.pairs, scale.inner)
        row: dict[str, object] = {"model": name, "B": num_states, "network alone, s": found.base}
        yield {**row, "step, s": found.full, "step / alone": found.ratio, "±": found.error}


def memory_rows(scale: Scale, device: torch.device, *, bfloat16: bool = False) -> Iterator[Row]:
    """Peak memory of training steps, a row for every number of states and model; no ratio where nothing grew."""
    with fresh_process(scale.fresh and device.type == "cpu") as call:
        # The first time counts what libraries load, which is no cost of a step.
        call(training_memory, cases.MODELS[0], scale.states[0], scale, device, bfloat16)
        for num_states, name in itertools.product(scale.states, cases.MODELS):
            alone, full = call(training_memory, name, num_states, scale, device, bfloat16)
            row: dict[str, object] = {
                "model": name,
                "B": num_states,
                "network alone, MB": alone / 1e6,
            }
            yield {
                **row,
                "step, MB": full / 1e6,
                "step / alone": full / alone if alone > 0 else math.nan,
            }


def training_memory(
    name: str, num_states: int, scale: Scale, device: torch.device, bfloat16: bool
) -> tuple[float, float]:
    """Peak bytes of a training step, weights and optimiser included: of the network alone, and of the full step."""
    model = cases.model(name, num_states).to(device)
    x0 = cases.images(model.p0, scale.shape).to(device)
    before = held_bytes(device)
    network = prepare(
        cases.network(scale.size, num_states, scale.shape[1:]), device, bfloat16, False
    ).train()
    work = TrainingStep(model, network, Batch(x0))
    peaks = []
    for step in (
        work.alone,
        work.full,
    ):  # what the first step of all keeps is not held against the network alone
        step()
        peaks.append(max(peak_bytes(step, device) for _ in range(DRAWS)) - before)
    return peaks[0], peaks[1]


def sampling_rows(
    scale: Scale, device: torch.device, *, bfloat16: bool = False, compiled: bool = False
) -> Iterator[Row]:
    """Sampling steps, a row for every number of states and model."""
    for num_states, name in itertools.product(scale.states, cases.MODELS):
        model = cases.model(name, num_states).to(device)
        network = prepare(
            cases.network(scale.size, num_states, scale.shape[1:]), device, bfloat16, compiled
        ).eval()
        x0 = cases.images(model.p0, scale.shape).to(device)
        work = SamplingStep(model, network, x0, scale.steps, scale.pairs)
        found = compare(work.alone, work.full, device, scale.pairs, scale.inner, statistics.mean)
        free = SamplingStep(
            model, FreeDenoiser(scale.shape, num_states, device), x0, scale.steps, scale.pairs
        )
        row: dict[str, object] = {"model": name, "B": num_states, "network alone, s": found.base}
        row |= {"step, s": found.full, "step / alone": found.ratio, "±": found.error}
        row["step with the network free, s"] = median_seconds(free.full, device, scale.pairs)
        yield row


def describe(scale: Scale) -> str:
    """Network and batch, for the text above a table."""
    return f"U-Net {scale.size}, batch {' x '.join(map(str, scale.shape))}"


def training_text(scale: Scale) -> str:
    """What `training_rows` measure."""
    return (
        "A training step over the network alone (forward, cross-entropy, backward, clipping, AdamW), both in one run: "
        f"{describe(scale)}, {scale.pairs} pairs."
    )


def memory_text(scale: Scale) -> str:
    """What `memory_rows` measure."""
    return f"Peak memory of {DRAWS} training steps over the network alone, weights and optimiser included: {describe(scale)}."


def sampling_text(scale: Scale) -> str:
    """What `sampling_rows` measure."""
    return (
        f"A sampling step over the network's forward pass, both in one run: {describe(scale)}, means over {scale.pairs} places "
        f"of a run of {scale.steps} steps."
    )

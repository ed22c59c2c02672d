"""The same work in other libraries: `flow-matching` (mixture paths) and `diffusers` (samplers of categories).

Equal in every row: shapes, data, logits given in advance and differentiated, an embedding of what the network would be fed in 64
dimensions, threads, and that all noise and all times are drawn anew. Rows of a loss are forward and backward; rows of sampling
are one step, the mean over a run. Not equal, since the libraries do not do the same thing:

- flow-matching has its mask as a state more, so that its network gives B + 1 logits for masking; scud's has none. Its loss has
  uniform times and one event that forgets everything; scud's loss draws times for finite variance. Uniform noise is compared
  with scud's classical model, which is told as much (the time), and with SCUD, which is told the events and embeds more. Its
  sampler takes probabilities, so that its softmax is counted as part of the step.
- diffusers has samplers only. `AmusedScheduler` unmasks the surest positions first, where scud unmasks at random.
  `VQDiffusionScheduler` is masking with a little uniform noise; it takes log-probabilities, so that its softmax is counted as
  part of the step. `DiscreteDDIMScheduler` has uniform noise; it runs at temperature 1.
- scud checks its input and draws in float64; the others do neither.
"""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import cases
from benchmarks.cases import EMBEDDING, FreeDenoiser, Scale
from benchmarks.overhead import free_step
from benchmarks.report import Row, Table
from benchmarks.timing import Work, compare
from scud.diffusion import SCUD, Classical, Diffusion, Masking
from scud.processes import Uniform
from scud.samplers import Ancestral
from scud.schedules import Linear

CPU = torch.device("cpu")
LATEST = 0.999
"""Share of the way from noise to data at which flow-matching's times end; at 1 its weight is infinite."""


class Fed:
    """What a peer's network would cost if it were free: it embeds its input, and returns given logits [*shape, B]."""

    def __init__(self, shape: tuple[int, ...], num_states: int, inputs: int) -> None:
        self.logits = torch.randn(*shape, num_states, requires_grad=True)
        self.weight = torch.randn(inputs, EMBEDDING, requires_grad=True)
        self.upstream = torch.randn(*shape, EMBEDDING)

    def __call__(self, x_t: Tensor) -> Tensor:
        embedded = F.embedding(x_t, self.weight)
        if torch.is_grad_enabled():
            embedded.backward(self.upstream)
        return self.logits

    def forget(self) -> None:
        """Drop the gradients."""
        self.logits.grad = self.weight.grad = None


def ours(noise: str, num_states: int) -> dict[str, Diffusion]:
    """scud's models for a kind of noise, all on the schedule alpha = 1 - t that the peers have."""
    p0 = cases.marginal(num_states)
    if noise == "masking":
        return {"masking": Masking(num_states, p0=p0)}
    process, gamma = Uniform(num_states), 1 - 1 / num_states
    return {
        "classical": Classical(process, Linear(), p0=p0),
        "SCUD": SCUD(process, Linear(), gamma, p0=p0),
    }


def our_sampling(model: Diffusion, x0: Tensor, steps: int) -> Work:
    """A whole sampling run of scud."""
    denoiser = FreeDenoiser(tuple(x0.shape), model.num_states, CPU)
    return lambda: Ancestral(steps=steps)(model, denoiser, tuple(x0.shape))


def source(noise: str, x0: Tensor, num_states: int) -> Tensor:
    """flow-matching's noise: all masks (state B), or uniform states."""
    return (
        torch.full_like(x0, num_states)
        if noise == "masking"
        else torch.randint_like(x0, num_states)
    )


def flow_matching_loss(noise: str, x0: Tensor, num_states: int) -> Work:
    """flow-matching's generalised KL, forward and backward."""
    from flow_matching.loss import MixturePathGeneralizedKL
    from flow_matching.path import MixtureDiscreteProbPath
    from flow_matching.path.scheduler import PolynomialConvexScheduler

    path = MixtureDiscreteProbPath(PolynomialConvexScheduler(n=1.0))
    divergence, inputs = MixturePathGeneralizedKL(path), num_states + (noise == "masking")
    denoiser = Fed(tuple(x0.shape), inputs, inputs)

    def step() -> None:
        denoiser.forget()
        t = LATEST * torch.rand(len(x0))
        x_t = path.sample(source(noise, x0, num_states), x0, t).x_t
        divergence(denoiser(x_t), x0, x_t, t).backward()

    return step


def flow_matching_sampling(noise: str, x0: Tensor, num_states: int, steps: int) -> Work:
    """A whole run of flow-matching's Euler solver."""
    from flow_matching.path import MixtureDiscreteProbPath
    from flow_matching.path.scheduler import PolynomialConvexScheduler
    from flow_matching.solver import MixtureDiscreteEulerSolver
    from flow_matching.utils import ModelWrapper

    inputs = num_states + (noise == "masking")
    denoiser = Fed(tuple(x0.shape), inputs, inputs)

    class Wrapped(ModelWrapper):  # type: ignore[misc]
        def forward(self, x: Tensor, t: Tensor, **extras: Any) -> Tensor:  # noqa: ARG002
            return denoiser(x).softmax(-1)

    path = MixtureDiscreteProbPath(PolynomialConvexScheduler(n=1.0))
    solver = MixtureDiscreteEulerSolver(Wrapped(nn.Identity()), path, inputs)
    grid = torch.linspace(0, 1, steps + 1)
    return lambda: solver.sample(source(noise, x0, num_states), step_size=None, time_grid=grid)


def diffusers_sampling(kind: str, x0: Tensor, num_states: int, steps: int) -> Work:
    """A whole run of one of diffusers' samplers, positions in one row per example."""
    import diffusers

    flat = x0.flatten(1)
    denoiser = Fed(tuple(flat.shape), num_states, num_states + (kind != "DiscreteDDIMScheduler"))
    masked = torch.full_like(flat, num_states)
    if kind == "AmusedScheduler":
        scheduler, start, options = (
            diffusers.AmusedScheduler(num_states, masking_schedule="linear"),
            masked,
            {},
        )
    elif kind == "VQDiffusionScheduler":
        scheduler = diffusers.VQDiffusionScheduler(num_states + 1, num_train_timesteps=steps)
        start, options = masked, {}
    else:
        scheduler, start = (
            diffusers.DiscreteDDIMScheduler(steps),
            torch.randint_like(flat, num_states),
        )
        options = {"temperature": 1.0}
    scheduler.set_timesteps(steps)

    @torch.no_grad()
    def run() -> None:
        x = start
        for t in scheduler.timesteps.tolist():
            logits = denoiser(x)
            if kind == "VQDiffusionScheduler":
                logits = logits.log_softmax(-1).transpose(1, 2)
            x = scheduler.step(logits, t, x, **options).prev_sample

    return run


Make = Callable[[Tensor, int, int], Work]

PEERS: list[tuple[str, str, str, str, Make]] = [
    *(
        (
            "flow_matching",
            "MixturePathGeneralizedKL",
            noise,
            "loss",
            lambda x, b, _, n=noise: flow_matching_loss(n, x, b),
        )
        for noise in ("masking", "uniform")
    ),
    *(
        (
            "flow_matching",
            "MixtureDiscreteEulerSolver",
            noise,
            "sampling step",
            lambda x, b, steps, n=noise: flow_matching_sampling(n, x, b, steps),
        )
        for noise in ("masking", "uniform")
    ),
    *(
        (
            "diffusers",
            kind,
            noise,
            "sampling step",
            lambda x, b, steps, k=kind: diffusers_sampling(k, x, b, steps),
        )
        for kind, noise in (
            ("AmusedScheduler", "masking"),
            ("VQDiffusionScheduler", "masking"),
            ("DiscreteDDIMScheduler", "uniform"),
        )
    ),
]
"""Module, what of it, noise, the work, and how it is set up from (x0, B, steps)."""


def rows(scale: Scale, steps: int) -> Iterator[Row]:
    """A row for every peer that is installed, number of states, and model of scud with the same noise."""
    for module, what, noise, work, make in PEERS:
        if find_spec(module) is None:
            continue
        for num_states in scale.states[-2:]:
            for name, model in ours(noise, num_states).items():
                x0 = cases.images(model.p0, scale.shape)
                row: dict[str, object] = {
                    "work": work,
                    "noise": noise,
                    "B": num_states,
                    "scud": name,
                    "peer": what,
                }
                mine = free_step(model, x0) if work == "loss" else our_sampling(model, x0, steps)
                parts = 1 if work == "loss" else steps
                try:
                    found = compare(make(x0, num_states, steps), mine, CPU, scale.pairs)
                except RuntimeError as error:
                    if "allocate memory" not in str(error):
                        raise
                    yield {
                        **row,
                        "scud, s": None,
                        "peer, s": "out of memory",
                        "scud / peer": None,
                        "±": None,
                    }
                    continue
                row |= {"scud, s": found.full / parts, "peer, s": found.base / parts}
                yield {**row, "scud / peer": found.ratio, "±": found.error}


def peers_table(scale: Scale, steps: int) -> Table:
    """The same work in scud and in the libraries that are installed."""
    absent = [name for name in ("flow_matching", "diffusers") if find_spec(name) is None]
    text = (
        f"The same work without a network in other libraries, batch {' x '.join(map(str, scale.shape))}, runs of {steps} steps; "
        "what is equal and what is not is said in benchmarks/peers.py."
    )
    if absent:
        text += f" Not installed: {', '.join(absent)} (pip install -e '.[bench]')."
    return Table("peers", text, list(rows(scale, steps)))

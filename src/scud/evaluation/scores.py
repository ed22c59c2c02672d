"""Scores of sequences: how likely a model finds them, and how much likelier a variant than its wild type.

`score` estimates the bound's negative, a lower bound on log p(x) in nats: L(x) = -prior(x) - ∫ Σ_d h_d(t) dt, 0 < t < t_max.
`score_variants` estimates D = L(variant) - L(wild type). A difference of two bounds is no bound: it is an estimate of the log
ratio of probabilities, of either sign. `scud.evaluation.paired` says how it is drawn for one mutation. With several, D is the
sum over mutations in the order of their positions, each given those before it: this varies less than all at once, and variants
that begin with the same mutations share these terms.

Draws come in G = 8 independent groups. The times of a group are one systematic sample of the mixture in
`scud.diffusion.times`; noise is independent from draw to draw. With means m_g of the groups, the estimate is their mean m and
its standard error sqrt( Σ_g (m_g - m)² / (G (G - 1)) ), of G - 1 = 7 degrees of freedom.

Noise depends on the seed, the number of draws and the length alone: apart from rounding, no score depends on what else is
scored with it. Positions of unknown state (code B) are treated as padding.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from scud.diffusion import Diffusion, Noisy
from scud.diffusion.objectives import per_example
from scud.errors import fail
from scud.evaluation.paired import GROUPS, Comparison, Draws, Events, calls, group_means, other_seed
from scud.numerics.transfer import sent
from scud.ranks import ALONE, Ranks
from scud.typing import Denoiser

Codes = NDArray[np.uint8]
Progress = Callable[[float], None]
Path = tuple[tuple[int, int], ...]
"""Mutations one after another: positions and new states."""


@dataclass(frozen=True)
class Scores:
    """Lower bounds on log-likelihoods, each [N].

    Attributes:
        log_likelihood: nats per sequence.
        standard_error: of it, nats.
        positions: positions of known state.
    """

    log_likelihood: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    positions: NDArray[np.int64]


@dataclass(frozen=True)
class Differences:
    """Estimates of log p(variant) - log p(wild type), each [N]: positive where the variant is likelier.

    Attributes:
        difference: of the two bounds, nats.
        standard_error: of it, nats.
    """

    difference: NDArray[np.float64]
    standard_error: NDArray[np.float64]


@torch.no_grad()
def score(
    model: Diffusion,
    network: Denoiser,
    sequences: Sequence[Codes],
    *,
    repeats: int = 64,
    tokens: int = 16384,
    seed: int = 0,
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> Scores:
    """Lower bounds on log p; sequences of equal length share the noise, so that their errors are alike.

    Args:
        model: the diffusion; its device is where the computation runs.
        network: the denoiser, on the same device; dropout is off, and its mode is restored afterwards.
        sequences: states 0..B-1 of each, [length]; B where unknown.
        repeats: draws of time and noise for each, rounded up to a multiple of 8.
        tokens: positions at once, padding included.
        seed: of all noise.
        ranks: the processes that share out the batches, all of which call this with the same arguments and get the same scores.
        progress: called with the share done, in (0, 1], after each batch.

    Raises:
        UserError: no sequences, one without a known state or with a state above B, repeats or tokens below 1, or a
            network that returns NaN.
    """
    check_numbers(repeats, tokens)
    if not sequences:
        raise fail("sequences", "hold at least one sequence", "none", "give some")
    pairs = [known_states(f"sequence {i}", codes, model) for i, codes in enumerate(sequences, 1)]
    means = torch.zeros(len(pairs), GROUPS, dtype=torch.float64)
    done = 0
    with evaluating(network):
        for index, counts in ranks.share(batches_of(sequences, repeats, tokens)):
            nats = bounds(model, network, [pairs[i] for i in index], repeats, tokens, seed)
            if counts:
                means[index] = group_means(nats).cpu()
            done += len(index) * ranks.count
            if progress is not None:
                progress(min(done / len(pairs), 1.0))
    means = ranks.sum(means)
    value, error = summary(-means)
    known = [int((np.asarray(codes) < model.num_states).sum()) for codes in sequences]
    return Scores(value, error, np.array(known))


@torch.no_grad()
def score_variants(
    model: Diffusion,
    network: Denoiser,
    wild: Codes,
    variants: Sequence[Codes],
    *,
    repeats: int = 64,
    tokens: int = 16384,
    seed: int = 0,
    ranks: Ranks = ALONE,
    progress: Progress | None = None,
) -> Differences:
    """Differences of bounds, variant minus wild type: estimates, and not bounds, of the log ratio of probabilities.

    Args:
        wild: states of the wild type [length], B where unknown.
        variants: states of each variant [length]: substitutions of known states by known states. One equal to the wild
            type has difference 0 and standard error 0.
        repeats: draws for each mutation, rounded up to a multiple of 16; it takes no more calls of the network than that.
        model, network, tokens, seed, ranks, progress: as in `score`.

    Raises:
        UserError: no variants, one that differs in length or where states are unknown, and as `score` says.
    """
    check_numbers(repeats, tokens)
    if not variants:
        raise fail("variants", "hold at least one variant", "none", "give some")
    states, known = known_states("wild", wild, model)
    steps = steps_of(wild, variants, model.num_states)
    found = [torch.zeros(0, GROUPS, dtype=torch.float64, device=states.device)]
    mine, comparison, at = list[int](), None, None
    with evaluating(network):
        events = Events.of(model)
        for number, (step, counts) in enumerate(ranks.share(steps), 1):
            if comparison is None or step.path != at:
                before, at = states.clone(), step.path
                for position, state in step.path:
                    before[position] = state
                depth = other_seed(seed, len(step.path))
                settings = {"repeats": repeats, "tokens": tokens, "seed": depth}
                comparison = Comparison.of(model, network, before, known, events=events, **settings)
            to = sent(torch.tensor(list(step.members)), states.device)
            nats = comparison.differences(step.position, to)
            if counts:
                found.append(nats)
                mine += step.places
            if progress is not None:
                progress(min(number * ranks.count / len(steps), 1.0))
    differences = torch.zeros(sum(len(step.members) for step in steps), GROUPS, dtype=torch.float64)
    differences[mine] = torch.cat(found).cpu()
    means = torch.zeros(len(variants), GROUPS, dtype=torch.float64)
    members = [some for step in steps for some in step.members.values()]
    for some, nats in zip(members, ranks.sum(differences), strict=True):
        means[some] += nats
    return Differences(*summary(-means))


class Step(NamedTuple):
    """What is compared at once: states at one position of the wild type with some mutations.

    Attributes:
        path: these mutations.
        position: where.
        members: the variants that have each new state there.
        places: a number for each new state, counted over all steps.
    """

    path: Path
    position: int
    members: dict[int, list[int]]
    places: range


def steps_of(wild: Codes, variants: Sequence[Codes], num_states: int) -> list[Step]:
    """The mutations of all variants, each after those before it; what variants share is one step."""
    found: dict[Path, dict[int, dict[int, list[int]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for i, codes in enumerate(variants):
        path: Path = ()
        for position in mutated_positions(f"variant {i + 1}", wild, codes, num_states):
            found[path][position][int(codes[position])].append(i)
            path = (*path, (position, int(codes[position])))
    steps, end = list[Step](), 0
    for path, by_position in found.items():
        for position, members in by_position.items():
            start, end = end, end + len(members)
            steps.append(Step(path, position, members, range(start, end)))
    return steps


def batches_of(sequences: Sequence[Codes], repeats: int, tokens: int) -> Iterator[list[int]]:
    """Indices of sequences in batches of like length, the longest first, for so many draws of each and positions at once."""
    order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
    done = 0
    while done < len(order):
        size = max(tokens // (len(sequences[order[done]]) * repeats), 1)
        yield order[done : done + size]
        done += size


def bounds(
    model: Diffusion,
    network: Denoiser,
    pairs: Sequence[tuple[Tensor, Tensor]],
    repeats: int,
    tokens: int,
    seed: int,
) -> Tensor:
    """One estimate of the bound per draw, for (states, known) of each sequence, [L] both: -> [n, R] float64."""
    longest = max(len(states) for states, _ in pairs)
    draws = [Draws.of(model, states, repeats, seed) for states, _ in pairs]
    rows = len(draws[0].weight)

    def padded(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(
            [F.pad(part.expand(rows, -1), (0, longest - part.shape[-1])) for part in parts]
        )

    counts = [draw.noisy.s for draw in draws if draw.noisy.s is not None]
    t = torch.cat([draw.noisy.t for draw in draws])
    noisy = Noisy(padded([draw.noisy.x_t for draw in draws]), t, padded(counts) if counts else None)
    x0, mask = (padded([pair[part] for pair in pairs]) for part in (0, 1))
    nats = torch.zeros(len(t), dtype=torch.float64, device=t.device)
    for part, some, logits in calls(model, network, noisy, mask, tokens):
        nats[part] = per_example(model.integrand(logits, x0[part], some, mask[part])).double()
    prior = torch.stack([(model.prior_term(states) * known).sum() for states, known in pairs])
    return nats.reshape(-1, rows) * torch.stack([draw.weight for draw in draws]) + prior.unsqueeze(
        1
    )


def summary(means: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over groups and its standard error, [n] both, of means [n, GROUPS]; raises `UserError` where one is NaN."""
    if bool(means.isnan().any()):
        raise fail("denoiser", "return numbers", "NaN", "check its weights and its input")
    return means.mean(1).numpy(), (means.std(1) / GROUPS**0.5).numpy()


@contextmanager
def evaluating(network: Denoiser) -> Iterator[None]:
    """Dropout off within the block; a denoiser that is no module has none."""
    if not isinstance(network, nn.Module):
        yield
        return
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def known_states(name: str, codes: Codes, model: Diffusion) -> tuple[Tensor, Tensor]:
    """States of a sequence, 0 where unknown, and which are known, [length] both, on the model's device.

    Raises:
        UserError: a code above B, or no known state.
    """
    states = torch.as_tensor(np.asarray(codes).astype(np.int64))
    if states.ndim != 1 or len(states) == 0:
        raise fail(
            name,
            "be a sequence of one state or more",
            f"shape {list(states.shape)}",
            "pass codes [length]",
        )
    if int(states.max()) > model.num_states or int(states.min()) < 0:
        rule = f"hold states in 0..{model.num_states}"
        raise fail(name, rule, int(states.max()), "encode it with the run's alphabet")
    known = states < model.num_states
    if not bool(known.any()):
        raise fail(name, "have a letter that is known", "unknown letters only", "leave it out")
    device = model.p0.device
    return sent(states.masked_fill(~known, 0), device), sent(known, device)


def mutated_positions(name: str, wild: Codes, variant: Codes, num_states: int) -> tuple[int, ...]:
    """Positions, from 0, at which a variant differs from the wild type; raises `UserError` for more than substitutions."""
    if wild.shape != variant.shape:
        rule, remedy = (
            f"have the wild type's length {len(wild)}",
            "only substitutions can be compared",
        )
        raise fail(name, rule, len(variant), remedy)
    changed = np.flatnonzero(wild != variant)
    outside = changed[(wild[changed] >= num_states) | (variant[changed] >= num_states)]
    if len(outside):
        rule = "replace known letters by known ones"
        raise fail(
            name, rule, f"an unknown one at position {outside[0] + 1}", "leave this variant out"
        )
    return tuple(changed.tolist())


def check_numbers(repeats: int, tokens: int) -> None:
    """Raise `UserError` unless both are positive."""
    for name, value in (("repeats", repeats), ("tokens", tokens)):
        if value < 1:
            raise fail(name, "be at least 1", value, "64 repeats and 16384 tokens are the defaults")

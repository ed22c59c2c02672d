"""Scores: against enumeration with the ideal denoiser, what pairing saves, and what they must not depend on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking
from scud.errors import UserError
from scud.evaluation.paired import Draws, Events
from scud.evaluation.scores import Differences, score, score_variants
from scud.networks.bytenet import ByteNet
from scud.processes import Blosum62, Uniform
from scud.schedules import Linear, MutualInformation
from scud.typing import Conditioning, Denoiser
from tests.theory.cases import make_process
from tests.theory.oracle import (
    IdealEvents,
    IdealMasking,
    IdealTime,
    average_marginal,
    powers,
    random_joint,
    states,
)

B, LENGTH = 3, 3
JOINT = random_joint(B, LENGTH, seed=8).sqrt()
JOINT = JOINT / JOINT.sum()
P0 = average_marginal(JOINT)
ALL = states(B, LENGTH).numpy().astype(np.uint8)
KINDS = ("masking", "scud", "scud, non-reversible", "classical")
PROTEIN = torch.full((20,), 0.05, dtype=torch.float64)


def ideal(kind: str) -> tuple[Diffusion, Denoiser]:
    """A model of JOINT whose noise at t_max leaves next to nothing (masking: 30%), and its ideal denoiser."""
    if kind == "masking":
        return Masking(B, Linear(), p0=P0, t_max=0.7), IdealMasking(JOINT)
    process = make_process("non-reversible" if "non" in kind else "gaussian", B)
    if kind == "classical":
        schedule = MutualInformation(process, P0, 0.0)
        return Classical(process, schedule, p0=P0), IdealTime(JOINT, process.generator(), schedule)
    table = powers(torch.eye(B) + process.generator() / process.rate(0.7), 400)
    return SCUD(process, Linear(), 0.7, p0=P0), IdealEvents(JOINT, table)


def expected(kind: str) -> Tensor:
    """What `score` estimates, [B^L]: log p(x), less what a factorised prior cannot know of the positions left unmasked."""
    value = JOINT.flatten().log()
    if kind != "masking":
        return value
    x = states(B, LENGTH)
    for pattern in states(2, LENGTH)[1:]:
        shown, hidden = (
            pattern.nonzero().flatten().tolist(),
            (1 - pattern).nonzero().flatten().tolist(),
        )
        marginal = JOINT.sum(hidden, keepdim=True).expand(JOINT.shape) if hidden else JOINT
        chance = 0.3 ** len(shown) * 0.7 ** len(hidden)
        value = value - chance * (marginal.flatten().log() - P0.log()[x[:, shown]].sum(1))
    return value


def random_network(seed: int = 0) -> ByteNet:
    torch.manual_seed(seed)
    network = ByteNet(20, width=32, layers=2)
    torch.nn.init.normal_(network.out.weight)
    return network.eval()


@cache
def scud_of_proteins() -> SCUD:
    process = Blosum62()
    return SCUD(process, MutualInformation(process, PROTEIN, 1.0), p0=PROTEIN)


PROTEIN_MODELS: dict[str, Callable[[], Diffusion]] = {
    "masking": lambda: Masking(20, p0=PROTEIN),
    "scud": scud_of_proteins,
    "classical": lambda: Classical(Blosum62(), Linear(), p0=PROTEIN),
}


@pytest.fixture(params=PROTEIN_MODELS)
def model(request: pytest.FixtureRequest) -> Diffusion:
    """Every kind of model, of proteins."""
    return PROTEIN_MODELS[request.param]()


def random_sequence(length: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 20, length).astype(np.uint8)


def mutate(wild: NDArray[np.uint8], *positions: int, by: int = 1) -> NDArray[np.uint8]:
    variant = wild.copy()
    variant[list(positions)] = (variant[list(positions)] + by) % 20
    return variant


@pytest.mark.parametrize("kind", KINDS)
def test_scores_with_the_ideal_denoiser(kind: str) -> None:
    model, denoiser = ideal(kind)
    chosen = [0, 5, 13, 26]
    result = score(model, denoiser, [ALL[i] for i in chosen], repeats=25600)
    error = result.log_likelihood - expected(kind)[chosen].numpy()
    assert (np.abs(error) < 5 * result.standard_error).all()
    assert (result.standard_error < 0.15).all()
    np.testing.assert_array_equal(result.positions, LENGTH)


@pytest.mark.parametrize("kind", KINDS)
def test_differences_with_the_ideal_denoiser(kind: str) -> None:
    """One to three mutations, those of one position together with others: unbiased, errors as stated."""
    model, denoiser = ideal(kind)
    wild, chosen = 7, [6, 8, 1, 16, 25, 3, 26, 7]
    exact = (expected(kind)[chosen] - expected(kind)[wild]).numpy()
    result = score_variants(model, denoiser, ALL[wild], [ALL[i] for i in chosen], repeats=25600)
    error = result.difference - exact
    assert (np.abs(error) <= 5 * result.standard_error).all()
    assert (result.standard_error < 0.1).all()
    assert result.difference[-1] == result.standard_error[-1] == 0


def test_standard_errors_cover_the_truth() -> None:
    """Student's t with 7 degrees of freedom: 95% within 2.365 standard errors; 30 of 40 at least, but for one in 10^5."""
    model, denoiser = ideal("masking")
    exact = float(expected("masking")[5] - expected("masking")[7])
    runs = [
        score_variants(model, denoiser, ALL[7], [ALL[5]], repeats=640, seed=seed)
        for seed in range(40)
    ]
    ratio = np.array([float((run.difference[0] - exact) / run.standard_error[0]) for run in runs])
    assert (np.abs(ratio) < 2.365).sum() >= 30
    assert (np.abs(ratio) > 0.1).sum() >= 20


@dataclass
class Profile:
    """A law per position, whatever is seen."""

    logits: Tensor

    def __call__(self, x_t: Tensor, _: Conditioning) -> Tensor:
        return self.logits[: x_t.shape[1]].expand(len(x_t), -1, -1)


def test_where_positions_are_independent_masking_compares_them_by_hand() -> None:
    """Nothing but the mutated position matters, and its term has no noise at all where its times are uniform."""
    logits = torch.randn(40, 20, generator=torch.Generator().manual_seed(3))
    model, wild = Masking(20, p0=PROTEIN), random_sequence(40)
    variants = [mutate(wild, place, by=by) for place in (0, 20, 39) for by in (1, 5)]
    law = logits.log_softmax(-1).double().numpy()
    exact = [
        0.999 * (law[np.arange(40), variant] - law[np.arange(40), wild]).sum()
        for variant in variants
    ]
    result = score_variants(model, Profile(logits), wild, variants)
    np.testing.assert_allclose(result.difference, exact, rtol=1e-5)
    assert (result.standard_error < 1e-5).all()


def test_noise_in_common_lowers_the_variance(model: Diffusion) -> None:
    """Of a difference, at least 50 times beside that of two scores with noise of their own."""
    wild, network = random_sequence(80), random_network()
    variants = [mutate(wild, place) for place in (3, 40, 70)] + [mutate(wild, 10, 50)]
    result = score_variants(model, network, wild, variants, repeats=64)
    single = score(model, network, [wild], repeats=64).standard_error[0]
    assert np.mean(result.standard_error**2) < 2 * single**2 / 50


def test_what_else_is_scored_makes_no_difference(model: Diffusion) -> None:
    wild, network = random_sequence(30), random_network()
    wild[[4, 17]] = 20
    variants = [
        mutate(wild, *places, by=by) for places in ((0,), (9,), (9, 25)) for by in (1, 2, 3)
    ]

    def scored(chosen: list[int], tokens: int) -> Differences:
        return score_variants(
            model, network, wild, [variants[i] for i in chosen], repeats=20, tokens=tokens, seed=3
        )

    together = scored([*range(9)], 16384)
    for chosen, tokens in (([4], 16384), ([8, 0, 3], 16384), ([*range(9)], 70), ([7, 8], 1)):
        apart = scored(chosen, tokens)
        np.testing.assert_allclose(apart.difference, together.difference[chosen], atol=0.01)
        np.testing.assert_allclose(apart.standard_error, together.standard_error[chosen], atol=0.01)
    other = score_variants(model, network, wild, variants, repeats=20, seed=4)
    assert (other.difference != together.difference).all()

    sequences = [wild, wild[:7], random_sequence(19, seed=2), wild[:7]]
    scores = score(model, network, sequences, repeats=20, seed=3)
    for i, tokens in ((0, 16384), (1, 16384), (2, 30)):
        alone = score(model, network, [sequences[i]], repeats=20, tokens=tokens, seed=3)
        np.testing.assert_allclose(alone.log_likelihood[0], scores.log_likelihood[i], rtol=1e-4)
    np.testing.assert_array_equal(scores.positions, [28, 6, 19, 6])
    assert scores.log_likelihood[1] == pytest.approx(scores.log_likelihood[3])


def test_noise_in_common_is_the_same_noise(model: Diffusion) -> None:
    """Clean sequences of one length get the same times and events, and the same states wherever they agree."""
    wild = torch.as_tensor(random_sequence(50)).long()
    variant = wild.clone()
    variant[[7, 30]] = (variant[[7, 30]] + 3) % 20
    first, second = (Draws.of(model, x, 40, 9).noisy for x in (wild, variant))
    agree = wild == variant
    assert torch.equal(first.t, second.t)
    assert torch.equal(first.x_t[:, agree], second.x_t[:, agree])
    assert (first.s is None) or (second.s is not None and torch.equal(first.s, second.s))


def test_counts_with_an_event_are_weighted_to_their_law(model: Diffusion) -> None:
    """Σ weight = P(an event), and the mean number of events is λ, within five standard errors."""
    events, draws = Events.of(model), 40_000
    generator = torch.Generator().manual_seed(0)
    for mean in (1e-6, 0.05, 1.0, 30.0):
        s, weight = events.draw(torch.full((draws,), mean, dtype=torch.float64), generator)
        some = -np.expm1(-mean)
        assert int(s.min()) >= 1
        assert float(weight.max()) <= some / 0.3 * (1 + 1e-9)
        for values, exact in (
            (weight, some),
            (weight * s, some if isinstance(model, Masking) else mean),
        ):
            error = float(values.std()) / draws**0.5
            assert abs(float(values.mean()) - exact) <= 5 * error + mean * 1e-6


def test_variants_share_what_their_first_mutations_have_in_common() -> None:
    """Of A and A:B, the second takes no call for A but in comparison with A:B; the sum is over single steps."""
    model, wild, network = Masking(20, p0=PROTEIN), random_sequence(30), Counting()
    score_variants(
        model, network, wild, [mutate(wild, 12), mutate(wild, 12, 20), mutate(wild, 12, 20, 25)]
    )
    assert network.rows == 3 * (32 + 2 * 32)


class Counting:
    """A denoiser that counts the rows it is called with."""

    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, x_t: Tensor, _: Conditioning) -> Tensor:
        self.rows += len(x_t)
        return torch.zeros(*x_t.shape, 20)


def test_variants_of_one_position_share_calls_where_all_is_masked() -> None:
    """32 calls for the position, and 32 for the wild type and for each variant where it is seen."""
    model, wild, network = Masking(20, p0=PROTEIN), random_sequence(30), Counting()
    variants = [mutate(wild, 12, by=by) for by in range(1, 20)]
    score_variants(model, network, wild, variants)
    assert network.rows == 32 + 32 * 20


def test_dropout_is_off_and_the_mode_restored() -> None:
    network = random_network().train()
    modes = set[bool]()
    network.register_forward_pre_hook(lambda module, _: modes.add(module.training))
    wild, shares = random_sequence(12), list[float]()
    score_variants(
        Masking(20, p0=PROTEIN),
        network,
        wild,
        [mutate(wild, 3), mutate(wild, 4)],
        progress=shares.append,
    )
    assert shares == [0.5, 1.0]
    shares.clear()
    score(Masking(20, p0=PROTEIN), network, [wild, wild[:5]], progress=shares.append, tokens=1)
    assert shares == [0.5, 1.0]
    assert modes == {False}
    assert network.training


def test_what_is_wrong_is_refused() -> None:
    model, network, wild = Masking(20, p0=PROTEIN), random_network(), random_sequence(6)
    unknown = np.full(4, 20, dtype=np.uint8)

    def refused(message: str, *variants: NDArray[np.uint8]) -> None:
        with pytest.raises(UserError, match=message):
            score_variants(model, network, wild, variants)

    refused("variants must hold at least one variant")
    refused("variant 2 must have the wild type's length 6, got 5", mutate(wild, 1), wild[:5])
    refused("variant 1 must replace known letters by known ones", np.append(wild[:5], np.uint8(20)))
    for sequences, message in (
        ([], "sequences must hold at least one"),
        ([wild, unknown], "sequence 2 must have a letter that is known"),
        ([np.array([3, 21], dtype=np.uint8)], r"sequence 1 must hold states in 0..20, got 21"),
        ([wild[:0]], "sequence 1 must be a sequence of one state or more"),
    ):
        with pytest.raises(UserError, match=message):
            score(model, network, sequences)
    with pytest.raises(UserError, match="repeats must be at least 1, got 0"):
        score(model, network, [wild], repeats=0)
    with pytest.raises(UserError, match="tokens must be at least 1, got 0"):
        score_variants(model, network, wild, [wild], tokens=0)
    with pytest.raises(UserError, match="denoiser must return numbers, got NaN"):
        score(model, Profile(torch.full((6, 20), torch.nan)), [wild])


def test_a_binary_alphabet_has_no_periodic_noise() -> None:
    """The classical model's events have a kernel even where that of gamma = 1 would be periodic."""
    model = Classical(Uniform(2), Linear(), p0=torch.full((2,), 0.5, dtype=torch.float64))
    wild = np.array([0, 1, 1, 0], dtype=np.uint8)
    result = score_variants(model, lambda x_t, _: torch.zeros(*x_t.shape, 2), wild, [1 - wild])
    assert abs(result.difference[0]) <= 5 * result.standard_error[0]


def test_a_model_of_ones_own_is_refused() -> None:
    class Other(Diffusion):
        """A diffusion whose events nobody knows."""

    Other.__abstractmethods__ = frozenset()
    model = Other(20, Linear(), PROTEIN, 0.999)  # type: ignore[abstract]
    with pytest.raises(
        UserError, match="model must be SCUD, Masking or Classical, got Other; use one of these, or"
    ):
        Events.of(model)

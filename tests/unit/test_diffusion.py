"""The models beyond their theorems: evidence, padding, sharp logits, precision, what is refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import scud
from scud import SCUD, Classical, Diffusion, Masking, Noisy
from scud.diffusion.times import draw_times
from scud.errors import UserError
from scud.processes import Dense, Gaussian, Uniform
from scud.processes.kernels.table import EvidenceTable
from scud.samplers import Ancestral
from scud.schedules import Cosine, Linear, MutualInformation
from scud.typing import Batch, Conditioning, Given
from tests.theory.oracle import poisson, powers, random_generator

B = 6
P0 = torch.tensor([0.3, 0.05, 0.2, 0.1, 0.25, 0.1], dtype=torch.float64)
KINDS = ("scud", "scud uniform", "scud uniform 1", "scud non-reversible", "classical", "masking")


def make(kind: str) -> Diffusion:
    if kind == "masking":
        return Masking(B, p0=P0)
    if kind == "classical":
        return Classical(Gaussian(B, 0.2), Linear(), p0=P0)
    process = {
        "scud": Gaussian(B, 0.2),
        "scud uniform": Uniform(B),
        "scud uniform 1": Uniform(B),
        "scud non-reversible": Dense(random_generator(B, 1, reversible=False)),
    }[kind]
    gamma = 1.0 if kind == "scud uniform 1" else 0.8
    return SCUD(process, MutualInformation(process, P0, gamma), gamma, p0=P0)


def constant(logits: Tensor) -> scud.Denoiser:
    def denoiser(x_t: Tensor, conditioning: Conditioning) -> Tensor:  # noqa: ARG001
        return logits.expand(*x_t.shape, -1)

    return denoiser


@pytest.mark.parametrize(
    "kind", ["scud", "scud uniform", "scud uniform 1", "scud non-reversible", "classical"]
)
def test_evidence_is_bayes(kind: str) -> None:
    """Exact at nodes (every count up to 16), within 2% in all between them."""
    model = make(kind)
    assert isinstance(model, SCUD | Classical)
    amounts = torch.tensor(
        [0, 1, 2, 3, 16, 40] if kind != "classical" else [0, 1e-3, 0.21, 1.7, 5.0]
    )
    x_t = torch.arange(B).repeat(len(amounts), 1)
    evidence = model.evidence.at(x_t, amounts.double().unsqueeze(1))
    for row, amount in zip(evidence.probs(), amounts, strict=True):
        dense = model.kernel.matrices(amount.double()[None])[0]
        exact = (P0.unsqueeze(1) * dense / (P0 @ dense)).T
        error = (row.double() - exact).abs().sum(-1).max()
        assert float(error) < (1e-5 if amount in (0, 1, 2, 3, 16) and kind != "classical" else 2e-2)
    weight = torch.randn(B, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.testing.assert_close(
        evidence.embed(weight), evidence.probs() @ weight, rtol=1e-4, atol=1e-5
    )
    (gradient,) = torch.autograd.grad(evidence.embed(weight).sum(), weight)
    torch.testing.assert_close(
        gradient.sum(0), torch.full((3,), float(x_t.numel())), rtol=1e-4, atol=0
    )


@pytest.mark.parametrize(
    "process", [Gaussian(10, 0.05), Gaussian(16, 0.03), Uniform(3), Gaussian(17, 0.05)]
)
def test_evidence_of_alternating_kernels(process: Gaussian) -> None:
    """Where an event rarely leaves a state as it is, odd and even counts differ for long: within 3% in all at each s <= 80."""
    size = process.num_states
    p0 = torch.arange(1, size + 1, dtype=torch.float64)
    p0 = p0 / p0.sum()
    model = SCUD(process, Linear(), 1.0, p0=p0)
    table = powers(torch.eye(size) + process.generator(), 80)
    evidence = (
        model.evidence.at(torch.arange(size).repeat(81, 1), torch.arange(81.0).unsqueeze(1))
        .probs()
        .double()
    )
    most = float(model.evidence.nodes[-1]) if isinstance(model.evidence, EvidenceTable) else 80.0
    exact = (p0.unsqueeze(1) * table / (p0 @ table).unsqueeze(1)).mT
    errors = (evidence - exact).abs().sum(-1).amax(1)
    assert float(errors[torch.arange(81) <= most].max()) < 0.03


@pytest.mark.parametrize("size", [12.0, 17.0, 30.0])
def test_sharply_wrong_predictions_in_float32(size: float) -> None:
    """Uniform noise at gamma = 1 sums terms of both signs: float32 must not take its rounding for a probability."""
    model = make("scud uniform 1")
    assert isinstance(model, SCUD)
    logits = size * torch.eye(B, dtype=torch.float64)[torch.tensor([2, 2, 1])].unsqueeze(0)
    x0, x_t, s = torch.tensor([[0, 0, 0]]), torch.tensor([[1, 0, 1]]), torch.tensor([[2, 2, 3]])
    results = []
    for dtype in (torch.float64, torch.float32):
        z = logits.to(dtype).requires_grad_()
        kl = model.divergence(z, x0, x_t, s)
        (gradient,) = torch.autograd.grad(kl.sum(), z)
        results.append((kl.detach().double(), gradient.double()))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=0.02, atol=1e-3)
    assert float(results[1][1].abs().max()) < 10


def test_masked_evidence() -> None:
    model = make("masking")
    noisy = Noisy(torch.tensor([[0, B, 5]]), torch.ones(1), torch.tensor([[0, 1, 0]]))
    evidence = model.condition(noisy).evidence
    assert evidence is not None
    torch.testing.assert_close(evidence.probs()[0, 1], P0.float())
    torch.testing.assert_close(evidence.probs()[0, 2], torch.eye(B)[5])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_never_counts(kind: str) -> None:
    """Whatever states stand at padded positions, terms and loss are those of the real positions alone."""
    model = make(kind)
    generator = torch.Generator().manual_seed(1)
    x0 = torch.randint(B, (300, 7), generator=generator)
    mask = torch.arange(7) < 4
    t = torch.full((300,), 0.5, dtype=torch.float64)
    noisy = model.corrupt(x0, t, generator)
    logits = torch.randn(300, 7, B, generator=generator)
    values = model.integrand(logits, x0, noisy, mask.expand(300, 7))
    assert float(values[:, 4:].abs().max()) == 0
    whole = model.integrand(logits, x0, noisy)
    torch.testing.assert_close(values[:, :4], whole[:, :4])
    bound = model.elbo(constant(P0.log()), Batch(x0, mask.expand(300, 7)), generator=generator)
    torch.testing.assert_close(
        bound.prior.double(), model.prior_nats[x0[:, :4]].sum(1), rtol=1e-5, atol=1e-9
    )
    loss = model.loss(constant(P0.log()), Batch(x0, mask.expand(300, 7)), generator=generator)
    assert 0 < float(loss) < 10


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_sharp_logits_stay_finite(kind: str, dtype: torch.dtype) -> None:
    """Right and wrong logits of size 1e4, at times down to 1e-6 and up to t_max: finite values and gradients."""
    model = make(kind)
    generator = torch.Generator().manual_seed(2)
    x0 = torch.randint(B, (400, 5), generator=generator)
    t = torch.logspace(-6, math.log10(0.999), 400, dtype=torch.float64)
    noisy = model.corrupt(x0, t, generator)
    for size in (1e4, -1e4):
        logits = (size * torch.nn.functional.one_hot(x0, B)).to(dtype).requires_grad_()
        values = model.integrand(logits, x0, noisy)
        (gradient,) = torch.autograd.grad(values.sum(), logits)
        assert bool(torch.isfinite(values).all())
        assert bool(torch.isfinite(gradient).all())
        assert float(values.detach().min()) >= 0
        if size > 0:
            assert float(values.detach().max()) < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees_with_float64(kind: str) -> None:
    model = make(kind)
    generator = torch.Generator().manual_seed(3)
    x0 = torch.randint(B, (2000, 3), generator=generator)
    noisy = model.corrupt(
        x0, torch.rand(2000, dtype=torch.float64, generator=generator) * 0.99, generator
    )
    logits = 3 * torch.randn(2000, 3, B, dtype=torch.float64, generator=generator)
    exact, single = model.integrand(logits, x0, noisy), model.integrand(logits.float(), x0, noisy)
    torch.testing.assert_close(single.double(), exact, rtol=5e-3, atol=1e-4)
    assert single.dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_by_finite_differences(kind: str) -> None:
    model = make(kind)
    generator = torch.Generator().manual_seed(4)
    x0 = torch.randint(B, (3, 4), generator=generator)
    noisy = model.corrupt(x0, torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64), generator)
    logits = torch.randn(3, 4, B, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: model.integrand(z, x0, noisy), (logits,))


@pytest.mark.parametrize(
    "schedule", [Linear(), Cosine(), MutualInformation(Gaussian(B, 0.2), P0, 1.0)]
)
def test_times_are_weighted_without_bias(schedule: Linear) -> None:
    """The weighted mean of any function of t is its integral over [0, t_max]: a stratified sum is a quadrature."""
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    end = float(schedule.tau(torch.tensor(0.99, dtype=torch.float64)))
    t, weight = draw_times(u, schedule, 0.99, end)
    assert float(t.max()) <= 0.99
    for function, exact in (
        (torch.ones_like(t), 0.99),
        (t**2, 0.99**3 / 3),
        (t**-0.3, 0.99**0.7 / 0.7),
    ):
        assert float((weight * function).mean()) == pytest.approx(exact, rel=2e-4)
    assert float((weight**2 / t).mean()) < 50, "the second moment of a 1/t integrand is finite"


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 300), kind=st.sampled_from(KINDS))
def test_grid(steps: int, kind: str) -> None:
    model = make(kind)
    grid = Ancestral(steps=steps).times(model)
    assert grid.shape == (steps + 1,)
    assert float(grid[0]) == model.t_max
    assert float(grid[-1]) == 0
    assert bool((grid.diff() < 0).all())


def information_left(model: Diffusion, t: Tensor) -> Tensor:
    """I(t) / H(p0) at times [n], by dense matrices."""
    tau, entropy = model.schedule.tau(t), torch.special.entr(P0).sum()
    if isinstance(model, Masking):
        return (-tau).exp()
    assert isinstance(model, SCUD | Classical)
    if isinstance(model, Classical):
        laws = torch.linalg.matrix_exp(tau[:, None, None] * model.process.generator())
    else:
        laws = powers(torch.eye(B) + model.process.generator() / model.rate, 120)
    information = (
        (torch.xlogy(laws, laws) - torch.xlogy(laws, (P0 @ laws).unsqueeze(1))).sum(-1)
        @ P0
        / entropy
    )
    return (
        information
        if isinstance(model, Classical)
        else poisson(model.rate * tau, 120) @ information
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_share_of_information_lost_on_the_grid_is_a_cosine(kind: str) -> None:
    model = make(kind)
    lost = 1 - information_left(model, Ancestral(steps=8).times(model))
    expected = (torch.pi / 2 * torch.arange(9, dtype=torch.float64) / 8).cos()
    torch.testing.assert_close(lost / lost[0], expected, rtol=2e-4, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(
    inner=st.lists(st.floats(1e-6, 0.98), max_size=8, unique=True),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 99),
)
def test_any_grid_is_walked_as_given(inner: list[float], kind: str, seed: int) -> None:
    """One call of the denoiser at each of its times but the last, where all noise is undone."""
    model, asked = make(kind), []

    def denoiser(x_t: Tensor, conditioning: Conditioning) -> Tensor:
        asked.append(float(conditioning.t[0]))
        return P0.log().expand(*x_t.shape, B)

    grid = torch.tensor([model.t_max, *sorted(inner, reverse=True), 0.0], dtype=torch.float64)
    sampler = Ancestral(grid=grid)
    x = model.sample(
        denoiser, (3, 4), sampler=sampler, generator=torch.Generator().manual_seed(seed)
    )
    assert asked == pytest.approx(grid[:-1].tolist())
    assert int(x.max()) < B


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_grid_steps_are_those_of_the_model(kind: str) -> None:
    model = make(kind)
    draws = [
        model.sample(
            constant(P0.log()),
            (9, 5),
            6,
            sampler=sampler,
            generator=torch.Generator().manual_seed(2),
        )
        for sampler in (None, Ancestral(grid=Ancestral(steps=6).times(model)))
    ]
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    "grid",
    [
        [],
        [0.99],
        [0.99, 0.5, 0.5, 0.0],
        [0.99, 0.2, 0.4, 0.0],
        [0.0, 0.99],
        [0.99, math.nan, 0.0],
        [[0.99, 0.0]],
    ],
)
def test_a_grid_must_fall(grid: list[float]) -> None:
    with pytest.raises(UserError, match=r"grid must hold at least two times, each below.*sort it"):
        make("scud").sample(constant(P0.log()), (2, 3), sampler=Ancestral(grid=torch.tensor(grid)))


@pytest.mark.parametrize("grid", [[0.5, 0.0], [0.999, 0.5, 0.001]])
def test_a_grid_must_run_from_t_max_to_0(grid: list[float]) -> None:
    with pytest.raises(
        UserError, match=r"grid must run from the model's t_max, \d.\d+, to 0.*at its ends"
    ):
        make("masking").sample(
            constant(P0.log()), (2, 3), sampler=Ancestral(grid=torch.tensor(grid))
        )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(KINDS), steps=st.integers(1, 6))
def test_known_positions_never_change(seed: int, kind: str, steps: int) -> None:
    model = make(kind)
    generator = torch.Generator().manual_seed(seed)
    known, mask = (
        torch.randint(B, (4, 5), generator=generator),
        torch.rand(4, 5, generator=generator) < 0.5,
    )
    sampler, given = Ancestral(steps=steps), Given(known, mask)
    for noisy in sampler.trajectory(model, constant(P0.log()), (4, 5), given, generator=generator):
        assert torch.equal(noisy.x_t[mask], known[mask])


def test_same_seed_same_sample() -> None:
    for kind in KINDS:
        model = make(kind)
        draws = [
            model.sample(constant(P0.log()), (8, 3), 5, generator=torch.Generator().manual_seed(5))
            for _ in range(2)
        ]
        assert torch.equal(*draws)


PROCESS = Gaussian(B, 0.2)


def refuse_given(
    x0: Tensor | None = None,
    known: Tensor | None = None,
    mask: Tensor | None = None,
    label: Tensor | None = None,
) -> None:
    make("scud").sample(constant(P0), (2, 2), given=Given(x0, known, mask, label))


def refuse_batch(**parts: Tensor) -> None:
    make("scud").elbo(constant(P0), Batch(torch.tensor([[0, 1]]), **parts))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: SCUD(PROCESS, MutualInformation(PROCESS, P0, 0.5), 1.0, p0=P0),
            "gamma must be the schedule's gamma 0.5",
        ),
        (
            lambda: SCUD(PROCESS, MutualInformation(PROCESS, P0, 1.0), 1.0, p0=P0.flip(0)),
            "p0 must be the schedule's",
        ),
        (
            lambda: Classical(PROCESS, MutualInformation(PROCESS, P0, 1.0), p0=P0),
            "gamma must be the schedule's gamma 1",
        ),
        (lambda: Masking(B, MutualInformation(PROCESS, P0, 1.0), p0=P0), "use Linear"),
        (
            lambda: SCUD(PROCESS, MutualInformation(Uniform(B), P0, 1.0), 1.0, p0=P0),
            "process must be the schedule's",
        ),
        (lambda: SCUD(PROCESS, Linear(), 0.0, p0=P0), "gamma must lie in"),
        (lambda: SCUD(PROCESS, gamma=0.0, p0=P0), r"gamma must lie in \(0, 1\], got 0.0"),
        (lambda: SCUD(PROCESS, p0=P0[:4]), r"p0 must have shape \[6\]"),
        (lambda: make("scud").corrupt(torch.tensor([[9]]), torch.zeros(1)), "x0 must hold states"),
        (
            lambda: make("scud").corrupt(torch.tensor([[1]]), torch.ones(1)),
            r"t must lie in \[0, 1\)",
        ),
        (
            lambda: make("scud").corrupt(torch.tensor([[1]]), torch.tensor([math.nan])),
            r"t must lie in",
        ),
        (lambda: make("scud").sample(constant(P0[:3]), (2, 2), 3), "return logits of shape"),
        (lambda: make("scud").sample(constant(P0 * math.nan), (2, 2), 3), "return finite numbers"),
        (
            lambda: make("masking").sample(constant(P0 * -math.inf), (2, 2), 3),
            "return finite numbers",
        ),
        (
            lambda: make("classical").sample(constant(P0 * math.inf), (2, 2), 3),
            "return finite numbers",
        ),
        (lambda: SCUD(PROCESS, Linear(), 1.0, p0=P0, t_max=1.0), "t_max must lie in"),
        (lambda: SCUD(PROCESS, Linear(), 1.0, p0=P0[:4]), r"p0 must have shape \[6\]"),
        (
            lambda: make("scud").loss(constant(P0), torch.tensor([[0, B]])),
            "x0 must hold states in 0..5, got 6",
        ),
        (lambda: make("scud").loss(constant(P0), torch.zeros(0, 3).long()), "at least one state"),
        (
            lambda: make("scud").loss(constant(P0[:3]), torch.tensor([[0, 1]])),
            "return logits of shape",
        ),
        (lambda: make("scud").sample(constant(P0), (2, 2), 0), "steps must be at least 1"),
        (
            lambda: refuse_given(x0=torch.zeros(2, 2).long()),
            r"be given together, got no known; give both",
        ),
        (
            lambda: refuse_given(known=torch.ones(2, 2).bool()),
            "be given together, got no x0; give both",
        ),
        (
            lambda: refuse_given(torch.full((2, 2), 9), torch.ones(2, 2).bool()),
            "given.x0 must hold states in 0..5, got 9",
        ),
        (
            lambda: refuse_given(torch.zeros(2, 2).long(), torch.ones(2).bool()),
            r"given.known must be bool of shape \[2, 2\]",
        ),
        (
            lambda: refuse_given(torch.zeros(2, 2).long(), torch.ones(2, 2)),
            r"given.known must be bool .*torch.float32",
        ),
        (
            lambda: refuse_given(torch.zeros(2).long(), torch.ones(2, 2).bool()),
            r"given.x0 must have the shape \[2, 2\]",
        ),
        (
            lambda: refuse_given(mask=torch.ones(2, 3).bool()),
            r"given.mask must be bool of shape \[2, 2\]",
        ),
        (
            lambda: refuse_given(label=torch.zeros(3).long()),
            "given.label must have one row for each of 2 examples",
        ),
        (
            lambda: refuse_batch(known=torch.ones(1, 2)),
            r"known must be bool of shape \[1, 2\], got torch.float32",
        ),
        (
            lambda: refuse_batch(known=torch.ones(2).bool()),
            r"known must be bool of shape \[1, 2\], got .* \[2\]",
        ),
        (
            lambda: refuse_batch(mask=torch.ones(2).bool()),
            r"mask must be bool of shape \[1, 2\], got .* \[2\]",
        ),
        (
            lambda: refuse_batch(label=torch.zeros(3).long()),
            "label must have one row for each of 1 examples",
        ),
    ],
)
def test_what_is_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(UserError, match=message):
        build()


@pytest.mark.parametrize("gamma", [1.0, 0.4])
def test_the_schedule_is_even_in_the_models_own_information_by_default(gamma: float) -> None:
    times = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    for model, given_gamma in (
        (SCUD(PROCESS, gamma=gamma, p0=P0), gamma),
        (Classical(PROCESS, p0=P0), 0.0),
    ):
        assert isinstance(model.schedule, MutualInformation)
        assert torch.equal(
            model.schedule.tau(times), MutualInformation(PROCESS, P0, given_gamma).tau(times)
        )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
@pytest.mark.parametrize("kind", KINDS)
def test_any_integers_will_do(kind: str, dtype: torch.dtype) -> None:
    model, x0 = make(kind), torch.tensor([[0, 3, 5], [1, 2, 4]])
    bounds = [
        model.elbo(constant(P0.log()), x, generator=torch.Generator().manual_seed(0))
        for x in (x0, x0.to(dtype))
    ]
    assert torch.equal(bounds[0].total, bounds[1].total)


def test_p0_must_be_a_tensor() -> None:
    with pytest.raises(TypeError, match=r"torch\.as_tensor"):
        Masking(B, p0=P0.numpy())  # type: ignore[arg-type]


def test_float_states_are_a_type_error() -> None:
    with pytest.raises(TypeError, match="integer states"):
        make("scud").loss(constant(P0), torch.zeros(2, 2))

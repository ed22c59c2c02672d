"""The path of a GPU, run on a CPU: it says of the same noise what the grouped path says, and draws from the same laws."""

from collections.abc import Callable

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking, Noisy
from scud.numerics import draw_categorical, draw_from, fixed_shapes
from scud.samplers import Ancestral
from tests.theory.cases import EVENT_PROCESSES, GAMMAS, PROCESSES, make_gamma, make_process
from tests.theory.oracle import random_joint

B, ROWS, WIDTH = 4, 64, 5
P0 = random_joint(B, 1, seed=6)

MODELS: dict[str, Callable[[], Diffusion]] = {
    "masking": lambda: Masking(B, p0=P0),
    **{
        f"classical {name}": lambda name=name: Classical(make_process(name, B), p0=P0)
        for name in PROCESSES
    },
    **{
        f"scud {name} {gamma}": lambda name=name, gamma=gamma: SCUD(
            make_process(name, B), gamma=make_gamma(gamma, B), p0=P0
        )
        for name in EVENT_PROCESSES
        for gamma in GAMMAS
    },
}


def check_law(drawn: Tensor, law: Tensor) -> None:
    """Chi-squared of outcomes drawn [N] against their law [n] at a false-alarm rate of 1e-7; rare ones are counted together."""
    expected = law * len(drawn)
    seen = torch.bincount(drawn, minlength=len(law)).double()
    assert float(seen[law == 0].sum()) == 0
    rare = expected < 10
    seen = torch.cat([seen[~rare], seen[rare].sum().reshape(1)])
    expected = torch.cat([expected[~rare], expected[rare].sum().reshape(1)]).clamp_min(1e-9)
    statistic = float(((seen - expected) ** 2 / expected.clamp_min(1)).sum())
    assert statistic < float(chi2.isf(1e-7, len(seen) - 1))


def noised(model: Diffusion) -> tuple[Tensor, Noisy, Tensor]:
    """Clean states, their noise at all times, and which of them count."""
    source = torch.Generator().manual_seed(1)
    x0 = torch.randint(B, (ROWS, WIDTH), generator=source)
    t = torch.rand(ROWS, dtype=torch.float64, generator=source) ** 2 * model.t_max
    noisy = model.noise(x0, t, source)
    known = torch.rand(ROWS, WIDTH, generator=source) < 0.1
    return x0, model.keep(noisy, x0, known), torch.rand(ROWS, WIDTH, generator=source) < 0.9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", MODELS)
def test_loss_and_gradient_are_those_of_the_grouped_path(name: str, dtype: torch.dtype) -> None:
    model = MODELS[name]()
    x0, noisy, mask = noised(model)
    logits = torch.randn(ROWS, WIDTH, B, dtype=dtype, generator=torch.Generator().manual_seed(2))
    logits[:, 0] *= 30  # sharp predictions
    found = []
    for fixed in (False, True):
        rows = logits.clone().requires_grad_()
        with fixed_shapes(fixed):
            terms = [
                model.integrand(rows, x0, noisy, mask),
                model.reconstruction(rows, x0, noisy, mask),
                model.independent_integrand(P0.log().to(dtype).expand(rows.shape), x0, noisy, mask),
            ]
        (slope,) = torch.autograd.grad(terms[0].sum() + terms[1].sum(), rows)
        found.append([*(term.detach() for term in terms), slope])
    tolerance = 1e-9 if dtype == torch.float64 else 2e-4
    for grouped, fixed_found in zip(*found, strict=True):
        assert bool(fixed_found.isfinite().all())
        torch.testing.assert_close(fixed_found, grouped, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", MODELS)
def test_a_step_draws_from_the_law_that_the_model_says(name: str) -> None:
    """50,000 steps from one noised position, chi-squared at a false-alarm rate of 1e-7: events and states at once."""
    model = MODELS[name]()
    draws = 50_000
    x0 = torch.full((1, 1), 1)
    source = torch.Generator().manual_seed(3)
    t = torch.full((1,), 0.5, dtype=torch.float64)
    noisy = next(
        found
        for found in (model.noise(x0, t, source) for _ in range(1000))
        if found.s is None or int(found.s) == (2 if isinstance(model, SCUD) else 1)
    )
    logits = torch.randn(1, 1, B, dtype=torch.float64, generator=source)
    many = Noisy(
        *(
            None if part is None else part.expand(draws, *part.shape[1:])
            for part in (noisy.x_t, noisy.t, noisy.s)
        )
    )
    with fixed_shapes():
        then = model.reverse(
            many, logits.expand(draws, 1, B), torch.tensor(0.2, dtype=torch.float64), source
        )
    most = 0 if then.s is None or noisy.s is None else int(noisy.s)
    states = model.num_states + isinstance(model, Masking)
    outcomes = [(s, x) for s in range(most + 1) for x in range(states)]
    log_p = []
    for s, x in outcomes:
        one = Noisy(
            torch.full((1, 1), x), then.t[:1], None if then.s is None else torch.full((1, 1), s)
        )
        log_p.append(model.reverse_log_prob(noisy, logits, 0.2, one))
    law = torch.cat(log_p).exp()
    assert float(law.sum()) == pytest.approx(1, abs=1e-5)
    counts = 0 if then.s is None else then.s.flatten()
    check_law(counts * states + then.x_t.flatten(), law)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "masking"])
def test_noise_of_fixed_shape_has_the_law_of_its_kernel(name: str) -> None:
    model = MODELS[name]()
    assert isinstance(model, SCUD | Classical)
    amounts = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    states = torch.full((40_000,), 2)
    for amount, law in zip(amounts, model.kernel.matrices(amounts)[:, 2], strict=True):
        with fixed_shapes():
            drawn = model.kernel.draw(
                states, amount.expand(len(states)), torch.Generator().manual_seed(4)
            )
        check_law(drawn, law)


def test_draws_by_search_are_those_by_bisection() -> None:
    weights = torch.rand(500, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    weights[:, [0, 3, 6]] = 0
    found = []
    for fixed in (False, True):
        with fixed_shapes(fixed):
            source = torch.Generator().manual_seed(6)
            found.append((draw_categorical(weights, source), draw_from(weights[0], (9, 3), source)))
    for one, other in zip(*found, strict=True):
        assert one.equal(other)


def test_samples_of_fixed_shape_follow_the_grid_of_the_grouped_path() -> None:
    model = MODELS["scud gaussian 1"]()
    sampler = Ancestral(steps=7)
    grouped = sampler.times(model)
    with fixed_shapes():
        torch.testing.assert_close(sampler.times(model), grouped, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", MODELS)
def test_positions_that_do_not_count_may_hold_what_cannot_be(name: str) -> None:
    """Every clean state beside every noised one: values there are 0, as the grouped path has them, and so are gradients."""
    model = MODELS[name]()
    clean, seen = torch.arange(B).repeat_interleave(B), torch.arange(B).repeat(B)
    times = torch.tensor([1e-9, 1e-3, 0.5], dtype=torch.float64).repeat_interleave(B * B)
    x0, x_t = clean.repeat(3).unsqueeze(1), seen.repeat(3).unsqueeze(1)
    s = None if isinstance(model, Classical) else torch.arange(3).repeat_interleave(B * B)
    noisy = Noisy(x_t, times, None if s is None else s.unsqueeze(1))
    rows = torch.zeros(*x0.shape, B).requires_grad_()
    with fixed_shapes():
        for term in (model.integrand, model.reconstruction):
            values = term(rows, x0, noisy, torch.zeros_like(x0, dtype=torch.bool))
            (slope,) = torch.autograd.grad(values.sum(), rows)
            assert float(values.detach().abs().max()) == 0
            assert float(slope.abs().max()) == 0

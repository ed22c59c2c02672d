"""Noise on a graph: what its generator is, that dense and sparse algebra agree, and what is refused."""

from unittest.mock import patch

import pytest
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from scud import SCUD, Classical, Masking, Noisy
from scud.diffusion import Reconstruction
from scud.errors import UserError
from scud.numerics.logits import LinearLogits
from scud.processes import NeighbourGraph, Uniform
from scud.processes.kernels.powers import PowersKernel
from scud.processes.kernels.sparse import SparseKernel
from scud.processes.kernels.walks import Graph
from scud.schedules import Linear, MutualInformation
from scud.schedules import information as curves
from tests.theory.cases import sparse_graph
from tests.unit.graphs import random_graph

SIZE = 60


def models(gamma: float = 1.0, connected: bool = False) -> tuple[SCUD, SCUD]:
    graph = random_graph(SIZE, 4, 0, connected)
    dense = NeighbourGraph(*graph)
    with patch("scud.processes.neighbour_graph.FEW", 0):
        sparse = NeighbourGraph(*graph)
        found = [
            SCUD(process, Linear(), gamma, p0=graph[2], t_max=0.99) for process in (dense, sparse)
        ]
    assert isinstance(found[0].kernel, PowersKernel)
    assert isinstance(found[1].kernel, SparseKernel)
    return found[0], found[1]


def noised(model: SCUD, batch: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x0 = torch.randint(SIZE, (batch, 7), generator=generator)
    noisy = model.corrupt(x0, torch.rand(batch, generator=generator) * 0.95, generator)
    assert noisy.s is not None
    logits = torch.randn(*x0.shape, SIZE, generator=generator, dtype=torch.float64) * 3
    return x0, noisy.x_t, noisy.s, logits


def test_generator_is_moves_and_jumps() -> None:
    neighbours = torch.tensor([[1, 2], [0, -1], [-1, -1]])
    marginal = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    process = NeighbourGraph(
        neighbours, torch.tensor([[3.0, 1.0], [7.0, -9.0], [0.0, 0.0]]), marginal, 0.4
    )
    off = torch.tensor(
        [[0, 0.75 + 0.4 * 0.3, 0.25 + 0.4 * 0.2], [1 + 0.4 * 0.5, 0, 0.4 * 0.2], [0.2, 0.12, 0]]
    )
    expected = off.double() - off.double().sum(1).diag()
    torch.testing.assert_close(process.generator(), expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(process.exit_rates, -expected.diagonal(), rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(
        process.stationary @ process.generator(), torch.zeros(3, dtype=torch.float64)
    )
    assert process.max_rate == pytest.approx(1.4)


@pytest.mark.parametrize(("connected", "parts"), [(False, 2), (True, 1)])
def test_graphs_are_connected_or_not(connected: bool, parts: int) -> None:
    neighbours = random_graph(SIZE, 4, 0, connected)[0]
    start, width = torch.arange(SIZE).repeat_interleave(4), neighbours.flatten()
    edges = coo_array(
        (torch.ones(int((width >= 0).sum())), (start[width >= 0], width[width >= 0])),
        shape=(SIZE, SIZE),
    )
    assert connected_components(edges, directed=False)[0] == parts


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 0.3])
def test_loss_and_gradient_by_both_algebras(gamma: float, connected: bool) -> None:
    dense, sparse = models(gamma, connected)
    x0, x_t, s, logits = noised(dense)
    values = []
    for model in (dense, sparse):
        z = logits.clone().requires_grad_()
        kl = model.divergence(z, x0, x_t, s)
        values.append((kl.detach(), *torch.autograd.grad((kl * torch.arange(1, 8)).sum(), z)))
    assert {0, 1, 2, 5} <= set(s.flatten().tolist())
    for one, other in zip(*values, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(sparse.prior_nats, dense.prior_nats, rtol=1e-8, atol=1e-12)


def test_what_knows_p0_alone_needs_no_walk() -> None:
    _, sparse = models()
    x0, x_t, s, logits = noised(sparse)
    noisy, alone = (
        Noisy(x_t, torch.full((len(x0),), 0.4, dtype=torch.float64), s),
        sparse.p0.log().expand(logits.shape),
    )
    torch.testing.assert_close(
        sparse.independent_integrand(alone, x0, noisy), sparse.integrand(alone, x0, noisy)
    )


def test_float32_is_within_1e_5() -> None:
    _, sparse = models()
    x0, x_t, s, logits = noised(sparse)
    wide, narrow = (
        sparse.divergence(logits, x0, x_t, s),
        sparse.divergence(logits.float(), x0, x_t, s),
    )
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-5, atol=1e-5)


def test_gradient_by_finite_differences() -> None:
    _, sparse = models()
    x0, x_t, s, logits = (part[:3, :2] for part in noised(sparse))
    s = torch.tensor([[0, 1], [2, 4], [3, 2]])
    assert torch.autograd.gradcheck(
        lambda z: sparse.divergence(z, x0, x_t, s), (logits.requires_grad_(),)
    )


def test_evidence_and_its_gradient_are_those_of_bayes() -> None:
    dense, sparse = models()
    x_t, counts = (
        torch.arange(SIZE).repeat(7, 1),
        torch.tensor([[0], [1], [2], [3], [6], [11], [16]]),
    )
    matrices = dense.kernel.matrices(counts.flatten().double())
    exact = (dense.p0.unsqueeze(1) * matrices / (dense.p0 @ matrices).unsqueeze(1)).mT
    evidence = sparse.evidence.at(x_t, counts.double())
    torch.testing.assert_close(evidence.probs().double(), exact, rtol=1e-5, atol=1e-6)
    weight = torch.randn(SIZE, 3, dtype=torch.float64, requires_grad=True)
    mixed = torch.randn(7, SIZE, 3, dtype=torch.float64)
    got, expected = (
        torch.autograd.grad((part * mixed).sum(), weight)[0]
        for part in (evidence.embed(weight), exact @ weight)
    )
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def test_columns_of_evidence_are_let_go_after_the_backward_pass() -> None:
    _, sparse = models()
    weight = torch.ones(SIZE, 2, requires_grad=True)
    total = sparse.evidence.at(torch.arange(SIZE), torch.full((SIZE,), 9.0)).embed(weight).sum()
    total.backward()
    with pytest.raises(RuntimeError, match="second time"):
        total.backward()


def test_logits_made_where_they_are_needed_give_the_same_loss() -> None:
    _, sparse = models()
    x0, x_t, s, _ = noised(sparse)
    parts = [
        torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        for shape in ((*x0.shape, 5), (SIZE, 5), (SIZE,))
    ]
    losses = []
    for held in (None, 2**27, 40 * SIZE):
        features, weight, bias = (part.clone().requires_grad_() for part in parts)
        logits = (
            features @ weight.T + bias if held is None else LinearLogits(features, weight, bias)
        )
        with patch("scud.numerics.rowwise.HELD_ELEMENTS", held):
            kl = sparse.divergence(logits, x0, x_t, s)
            losses.append(
                (
                    kl.detach(),
                    *torch.autograd.grad((kl * torch.arange(1, 8)).sum(), (features, weight, bias)),
                )
            )
    for other in losses[1:]:
        for ours, theirs in zip(losses[0], other, strict=True):
            torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("leaving", [1, 3, 100])
def test_columns_leave_a_walk_when_they_are_done(leaving: int) -> None:
    """In any order of the states, and in whatever company they leave."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.rand(9, 9, dtype=torch.float64, generator=generator) * (
        torch.rand(9, 9, generator=generator) < 0.4
    )
    row, column = matrix.nonzero(as_tuple=True)
    shuffled, order = (
        torch.randperm(len(row), generator=generator),
        torch.randperm(9, generator=generator),
    )
    graph = Graph(row[shuffled], column[shuffled], matrix[row, column][shuffled], order)
    counts, columns = (
        torch.tensor([0, 0, 1, 2, 2, 2, 5]),
        torch.rand(9, 7, dtype=torch.float64, generator=generator),
    )
    powers = [torch.linalg.matrix_power(matrix, int(count)) for count in counts]
    exact, found = (
        torch.stack([power @ part for power, part in zip(powers, columns.T, strict=True)]),
        torch.empty(7, 9),
    )
    with (
        patch("scud.processes.kernels.walks.LEAVING", leaving),
        patch("scud.processes.kernels.walks.PIECE", 4),
    ):
        graph.write(graph.walk(columns[order], counts), found)
    torch.testing.assert_close(found, exact.float())
    for power, after in zip(powers[1:], graph.powers(columns, counts[1:]), strict=True):
        torch.testing.assert_close(after, power @ columns)


@pytest.mark.parametrize("connected", [False, True])
@pytest.mark.parametrize("share", [0.0, 1 / 16, 10.0])
def test_rows_and_columns_of_unlike_counts_in_several_tiles(share: float, connected: bool) -> None:
    """Dense from the start, in part, or lists all along."""
    dense, sparse = models(connected=connected)
    counts, states = torch.tensor([5, 0, 2, 9, 1, 2, 3, 12, 0, 4, 2] * 3), torch.arange(33)
    exact = dense.kernel.matrices(counts.double())
    with (
        patch("scud.processes.kernels.sparse.block_rows", lambda *_: 7),
        patch("scud.processes.kernels.walks.block_rows", lambda *_: 7),
        patch("scud.processes.kernels.walks.SPARSE_SHARE", share),
    ):
        operator = sparse.kernel.operator(counts.double())
        torch.testing.assert_close(operator.rows(states), exact[range(33), states])
        torch.testing.assert_close(operator.columns(states), exact[range(33), :, states])
        laws = torch.rand(33, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(operator.apply(laws), (laws.unsqueeze(1) @ exact).squeeze(1))


def test_states_that_nobody_points_to_are_lists() -> None:
    """However many steps: A^s[:, x] is 0 where no state leads to x."""
    neighbours = torch.tensor([[1], [2], [1]])
    with patch("scud.processes.neighbour_graph.FEW", 0):
        process = NeighbourGraph(neighbours, torch.ones(3, 1), torch.full((3,), 1 / 3))
    kernel = process.events(1.0)
    assert isinstance(kernel, SparseKernel)
    walked, _ = kernel.ancestors(
        torch.full((4,), 5), torch.zeros(4, dtype=torch.int64), torch.float64
    )
    assert (walked.listed, len(walked.dense), len(walked.lists.index)) == (1, 0, 0)


def test_no_noise_at_time_0() -> None:
    _, sparse = models()
    x0 = torch.arange(6).reshape(2, 3)
    noisy = sparse.corrupt(x0, torch.zeros(2))
    assert torch.equal(noisy.x_t, x0)
    assert float(sparse.integrand(torch.randn(2, 3, SIZE), x0, noisy).abs().max()) == 0


def test_a_batch_without_noise_has_gradients_of_0() -> None:
    for model in (models()[1], Masking(SIZE, p0=random_graph(SIZE, 4, 0)[2])):
        x0, s = torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64)
        parts = [torch.ones(shape, requires_grad=True) for shape in ((2, 3, 5), (SIZE, 5), (SIZE,))]
        noisy = Noisy(x0, torch.full((2,), 0.1, dtype=torch.float64), s)
        for term in (model.integrand, model.reconstruction):
            values = term(LinearLogits(*parts), x0, noisy)
            assert float(values.detach().abs().max()) == 0
            assert all(
                float(part.abs().max()) == 0 for part in torch.autograd.grad(values.sum(), parts)
            )


def test_information_and_prior_of_many_states_are_estimates_of_the_exact_ones() -> None:
    """As of more than LARGE states: the curve within five of its own standard errors, prior terms to 1e-4."""
    graph = random_graph(400, 5, 2)
    with patch("scud.processes.neighbour_graph.FEW", 0):
        process = NeighbourGraph(*graph)
    kernel, amounts = process.events(1.0), torch.tensor([0, 1, 3, 8, 20], dtype=torch.float64)
    exact, none = curves.shares(kernel, graph[2], amounts)
    model = SCUD(process, Linear(), 1.0, p0=graph[2])
    assert float(none.max()) == 0
    with patch("scud.processes.kernels.sparse.LARGE", 0), patch.object(curves, "SAMPLE", 100):
        share, error = curves.shares(kernel, graph[2], amounts, 100)
        assert bool(((share - exact).abs() <= 5 * error + 1e-12).all())
        assert 0 < float(error[2]) < 0.05
        schedule = MutualInformation(process, graph[2])
        assert schedule.sampled
        assert 0 < schedule.error < 0.05
        lazy = SCUD(process, Linear(), 1.0, p0=graph[2])
        assert bool(lazy.prior_nats.isnan().all())
        x0 = torch.tensor([[3, 5], [3, 399]])
        torch.testing.assert_close(lazy.prior_term(x0), model.prior_term(x0), rtol=1e-4, atol=1e-9)
        assert int(lazy.prior_nats.isnan().sum()) == 397
    again = MutualInformation(process, graph[2], curve=schedule.spec()["curve"])
    t = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    torch.testing.assert_close(again.tau(t), schedule.tau(t))
    assert schedule.spec()["error"] == schedule.error


def test_prior_of_a_graph_that_forgets_fast() -> None:
    """In float32 its divergences reach 0 within the counts that matter: what is interpolated stays below what is near."""
    size, generator = 700, torch.Generator().manual_seed(0)
    neighbours = (
        torch.rand(size, size, generator=generator).fill_diagonal_(-1).topk(10, dim=1).indices
    )
    marginal = 1 / torch.arange(1, size + 1, dtype=torch.float64)
    marginal = marginal / marginal.sum()
    process = NeighbourGraph(neighbours, torch.ones(size, 10), marginal, 1.0)
    exact = SCUD(process, Linear(), 1.0, p0=marginal, t_max=0.99999)
    sparse = "scud.processes.kernels.sparse"
    with patch(f"{sparse}.LARGE", 0), patch(f"{sparse}.DOUBLE_ELEMENTS", 0):
        lazy = SCUD(process, Linear(), 1.0, p0=marginal, t_max=0.99999)
        found = lazy.prior_term(torch.arange(0, size, 13))
    torch.testing.assert_close(found, exact.prior_nats[::13], rtol=2e-3, atol=1e-9)


def test_a_graph_without_jumps_has_finite_figures() -> None:
    generator = torch.Generator().manual_seed(0)
    neighbours = torch.rand(30, 30, generator=generator).fill_diagonal_(-1).topk(6, dim=1).indices
    marginal = torch.full((30,), 1 / 30, dtype=torch.float64)
    process = NeighbourGraph(
        neighbours, torch.rand(30, 6, generator=generator) + 0.1, marginal, 0.0
    )
    assert float(process.events(1.0).matrices(torch.tensor([1.0, 7.0])).min()) >= 0
    for model in (
        SCUD(process, MutualInformation(process, marginal), p0=marginal),
        Classical(process, Linear(), p0=marginal),
    ):
        assert bool(model.prior_nats.isfinite().all())
        assert float(model.prior_nats.min()) >= 0


def test_kernels_are_their_own() -> None:
    process = sparse_graph(5)
    first, second = process.events(1.0), process.events(1.0)
    first.to(torch.float32)
    assert second.jump.dtype == torch.float64


def test_columns_that_are_kept_are_those_asked_for() -> None:
    """Not those of states that were changed in place, and good for training after inference."""
    _, sparse = models()
    x_t, counts = torch.tensor([[3, 4, 5]]), torch.tensor([[1.0, 2.0, 3.0]])
    weight = torch.randn(SIZE, 2, requires_grad=True)
    with torch.inference_mode():
        before = sparse.evidence.at(x_t, counts).embed(weight)
    again = sparse.evidence.at(x_t, counts).embed(weight)
    torch.testing.assert_close(again, before)
    again.sum().backward()
    x_t[0, 0] = 9
    changed = sparse.evidence.at(x_t, counts).embed(weight)
    torch.testing.assert_close(changed, models()[1].evidence.at(x_t, counts).embed(weight))
    assert not torch.allclose(changed, again)


def test_what_is_watched_of_many_states() -> None:
    """Trained by reconstruction: for masking the bound itself, else an unbiased estimate of it, here within five errors."""
    p0 = random_graph(SIZE, 4, 0)[2]
    generator = torch.Generator().manual_seed(0)
    x0, logits = (
        torch.randint(SIZE, (2000, 20), generator=generator),
        torch.randn(SIZE, generator=generator),
    )
    for model in (models()[1], Masking(SIZE, p0=p0)):
        terms = []
        for large in (0, 2048):
            with patch("scud.diffusion.base.LARGE", large):
                generator = torch.Generator().manual_seed(4)
                losses = model.objective(
                    lambda x, _: logits.expand(*x.shape, -1),
                    x0,
                    Reconstruction(),
                    generator=generator,
                )
                terms.append(losses.diffusion)
        difference = terms[0] - terms[1]
        if isinstance(model, Masking):
            assert float(difference.abs().max()) == 0
        else:
            assert float(difference.abs().max()) > 0
            assert abs(float(difference.mean())) < 5 * float(difference.std()) / len(x0) ** 0.5


def test_nothing_dense_of_many_states() -> None:
    process = NeighbourGraph(*random_graph(3000, 3, 4))
    p0 = process.marginal
    for wrong in (
        process.generator,
        process.time,
        lambda: process.events(1.0).matrices(torch.ones(1, dtype=torch.float64)),
    ):
        with pytest.raises(UserError, match="num_states must be at most 2048"):
            wrong()
    with pytest.raises(UserError, match="the classical model's mutual-information schedule"):
        MutualInformation(Uniform(3000), p0, 0.0)
    with patch.object(curves, "SAMPLE", 8):
        model = SCUD(process, MutualInformation(process, p0), 1.0, p0=p0)
    x = model.sample(lambda x_t, _: p0.log().float().expand(*x_t.shape, -1), (2, 5), 4)
    assert x.shape == (2, 5)


GRAPH = random_graph(8, 3, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"neighbours": GRAPH[0].double()}, "neighbours must be integers"),
        (
            {"neighbours": GRAPH[0].repeat(1, 3), "rates": GRAPH[1].repeat(1, 3)},
            "fewer than the 8 states, got 9",
        ),
        ({"rates": GRAPH[1][:, :2]}, "rates must have the shape of neighbours"),
        (
            {"neighbours": GRAPH[0].clone().index_fill_(1, torch.tensor([0]), 8)},
            "must be states 0..7, or -1 for none, got 8",
        ),
        ({"neighbours": torch.arange(8).unsqueeze(1).repeat(1, 3)}, "be other states, got state 0"),
        (
            {"neighbours": torch.tensor([[1, 2, 2]] + [[0, -1, -1]] * 7)},
            "named once, got one of state 0 twice",
        ),
        ({"rates": GRAPH[1] * float("nan")}, "rates must be positive and finite"),
        ({"rates": GRAPH[1] * 0}, "rates must be positive and finite"),
        ({"marginal": GRAPH[2][:5]}, r"marginal must have shape \[8\]"),
        ({"marginal_rate": -1.0}, "marginal_rate must lie in"),
        (
            {"neighbours": torch.tensor([[1, -1, -1]] * 7 + [[-1, -1, -1]]), "marginal_rate": 0.0},
            "other states, got state 1",
        ),
        (
            {
                "neighbours": torch.tensor(
                    [[1, -1, -1], [0, -1, -1]] * 3 + [[0, -1, -1], [-1, -1, -1]]
                ),
                "marginal_rate": 0.0,
            },
            "state",
        ),
    ],
)
def test_what_is_refused(change: dict[str, Tensor | float], message: str) -> None:
    options = {
        "neighbours": GRAPH[0],
        "rates": GRAPH[1],
        "marginal": GRAPH[2],
        "marginal_rate": 0.2,
    } | change
    with pytest.raises(UserError, match=message):
        NeighbourGraph(**options)  # type: ignore[arg-type]


def test_without_jumps_a_graph_must_be_connected() -> None:
    cycle = torch.tensor([[1], [2], [0], [4], [3]])
    ones, marginal = torch.ones(5, 1), torch.full((5,), 0.2)
    with pytest.raises(
        UserError, match="2 parts, such as those of states 0 and 3; give marginal_rate"
    ):
        NeighbourGraph(cycle, ones, marginal, 0.0)
    with pytest.raises(
        UserError, match="lead on from every state where marginal_rate is 0, got none of state 2"
    ):
        NeighbourGraph(torch.tensor([[1], [2], [-1], [4], [3]]), ones, marginal, 0.0)
    absorbing = torch.tensor([[1], [0], [0], [4], [3]])
    with pytest.raises(UserError, match="reach every state"):
        NeighbourGraph(absorbing, ones, marginal, 0.0)
    with pytest.raises(UserError, match="lower gamma"):
        NeighbourGraph(
            torch.tensor([[1], [0]]), torch.ones(2, 1), torch.full((2,), 0.5), 0.0
        ).events(1.0)
    connected = NeighbourGraph(torch.tensor([[1], [2], [3], [4], [0]]), ones, marginal, 0.0)
    torch.testing.assert_close(connected.stationary, marginal.double())
    with pytest.raises(UserError, match="lower gamma"):
        connected.events(1.0)  # a cycle never forgets
    for rate in (0.0, 1e-4):
        with pytest.raises(UserError, match=r"jumps, gamma rho / \(1 \+ rho\), for more than"):
            sparse_graph(4, marginal_rate=rate)
    with pytest.raises(UserError, match=r"got 0.01 at gamma 0.05"):
        sparse_graph(4, marginal_rate=0.01).events(0.05)

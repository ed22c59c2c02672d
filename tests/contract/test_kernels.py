"""Every kernel of every process against its dense matrices, by powers and exponentials computed here.

One contract for all structures: rows, columns, products, transported embeddings, draws, at mixed and at equal amounts.
"""

import copy
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from scud.processes import Blosum62, Dense, Gaussian, Kernel, Process, Uniform
from scud.processes.kernels.dense import DenseKernel
from tests.theory.cases import sparse_graph
from tests.theory.oracle import random_generator


def birth_death(size: int, up: float, down: float) -> Tensor:
    """Reversible, with a stationary law that falls by up / down per state."""
    Q = up * torch.diag(torch.ones(size - 1), 1) + down * torch.diag(torch.ones(size - 1), -1)
    return Q - Q.sum(1).diag()


MAKERS = {
    "uniform": lambda: Uniform(5),
    "gaussian": lambda: Gaussian(9, 0.2),
    "gaussian normalized": lambda: Gaussian(9, 0.2, normalized=True),
    "blosum62": lambda: Blosum62(),
    "blosum62 not normalized": lambda: Blosum62(sharpness=0.7, normalized=False),
    "reversible": lambda: Dense(random_generator(6, 1, reversible=True)),
    "non-reversible": lambda: Dense(random_generator(6, 2, reversible=False)),
    "birth-death": lambda: Dense(birth_death(24, 0.1, 1.0)),
    "transient": lambda: Dense(
        torch.tensor([[-1.0, 1.0, 0.0], [0.5, -0.5, 0.0], [0.2, 0.3, -0.5]])
    ),
}
MAKERS |= {f"sparse graph {size}": partial(sparse_graph, size) for size in (3, 11)}
AGAIN = ("gaussian normalized", "blosum62 not normalized")
"""Matrices of other numbers, which structures that others have hold."""

CASES = [pytest.param(name, marks=pytest.mark.long if name in AGAIN else ()) for name in MAKERS]
COUNTS = torch.tensor([0, 1, 2, 3, 5, 17, 200], dtype=torch.float64)
TIMES = torch.tensor([0, 1e-6, 1e-3, 0.3, 2.5, 9.0, 300.0], dtype=torch.float64)


def pair(name: str, time: bool) -> tuple[Process, Kernel, Tensor, Tensor]:
    """The process, its kernel, amounts [n] and the dense matrices [n, B, B]."""
    process = MAKERS[name]()
    if time:
        dense = torch.linalg.matrix_exp(TIMES[:, None, None] * process.generator())
        return process, process.time(), TIMES, dense
    jump = torch.eye(process.num_states) + 0.6 * process.generator() / process.max_rate
    return (
        process,
        process.events(0.6),
        COUNTS,
        torch.stack([torch.matrix_power(jump, int(n)) for n in COUNTS]),
    )


@pytest.mark.parametrize("time", [False, True], ids=["events", "time"])
@pytest.mark.parametrize("name", CASES)
class TestContract:
    def test_matrices(self, name: str, time: bool) -> None:
        _, kernel, amounts, dense = pair(name, time)
        torch.testing.assert_close(kernel.matrices(amounts), dense, rtol=1e-9, atol=1e-12)

    def test_operator(self, name: str, time: bool) -> None:
        process, kernel, amounts, dense = pair(name, time)
        size = process.num_states
        each, index = amounts.repeat_interleave(size), torch.arange(size).repeat(len(amounts))
        vectors = torch.rand(
            len(each), size, dtype=torch.float64, generator=torch.Generator().manual_seed(3)
        )
        operator = kernel.operator(each)
        torch.testing.assert_close(operator.rows(index), dense.flatten(0, 1), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            operator.columns(index), dense.mT.flatten(0, 1), rtol=1e-9, atol=1e-12
        )
        other = (index + 1) % size
        torch.testing.assert_close(
            operator.entries(index, other),
            dense.repeat_interleave(size, 0)[torch.arange(len(each)), index, other],
            rtol=1e-9,
            atol=1e-12,
        )
        product = torch.einsum("ni,nij->nj", vectors, dense.repeat_interleave(size, 0))
        torch.testing.assert_close(operator.apply(vectors), product, rtol=1e-9, atol=1e-11)
        assert operator.apply(vectors.float()).dtype == torch.float32

    def test_one_amount(self, name: str, time: bool) -> None:
        process, kernel, amounts, dense = pair(name, time)
        index = torch.arange(process.num_states)
        for amount, matrix in zip(amounts, dense, strict=True):
            operator = kernel.operator(amount.expand(process.num_states))
            torch.testing.assert_close(operator.rows(index), matrix, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(operator.columns(index), matrix.T, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(
                operator.apply(torch.eye(process.num_states)), matrix.float(), rtol=0, atol=1e-6
            )

    def test_gradient(self, name: str, time: bool) -> None:
        process, kernel, amounts, _ = pair(name, time)
        operator = kernel.operator(amounts)
        vectors = torch.rand(
            len(amounts), process.num_states, dtype=torch.float64, requires_grad=True
        )
        assert torch.autograd.gradcheck(operator.apply, (vectors,), fast_mode=True)

    def test_evidence(self, name: str, time: bool) -> None:
        """Exact at amounts that a table has as nodes (every count up to `start`), and its embedding with its gradient."""
        process, kernel, amounts, dense = pair(name, time)
        size = process.num_states
        p0 = torch.arange(1, size + 1, dtype=torch.float64) / (size * (size + 1) / 2)
        source = kernel.evidence(p0, *((1e-6, 300.0, False) if time else (16.0, 200.0, True)))
        x_t = torch.arange(size).repeat(len(amounts), 1)
        evidence = source.at(x_t, amounts.unsqueeze(1))
        exact = (p0.unsqueeze(1) * dense / (p0 @ dense).unsqueeze(1)).mT
        seen = (p0 @ dense) > 1e-12
        at_nodes = amounts <= (1e-6 if time else 16)
        error = (evidence.probs().double() - exact).abs().sum(-1)
        assert float(error[at_nodes][seen[at_nodes]].max()) < 1e-5
        assert float(error[seen].max()) < 0.03
        weight = torch.randn(
            size, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
        )
        embedded = evidence.embed(weight)
        torch.testing.assert_close(
            embedded[at_nodes][seen[at_nodes]], (exact @ weight)[at_nodes][seen[at_nodes]]
        )
        every = evidence.embed(torch.eye(size, dtype=torch.float64))
        torch.testing.assert_close(embedded[seen], (every @ weight)[seen], rtol=1e-8, atol=1e-10)
        assert torch.autograd.gradcheck(evidence.embed, (weight.requires_grad_(),), fast_mode=True)
        prior = source.push_forward(amounts)
        if prior is not None:
            torch.testing.assert_close(prior.double(), p0 @ dense, rtol=1e-6, atol=1e-9)

    def test_transport(self, name: str, time: bool) -> None:
        """Products with a weight, which the evidence of kernels with matrices is made of."""
        process, kernel, amounts, dense = pair(name, time)
        if not isinstance(kernel, DenseKernel):
            return
        weight = torch.randn(
            process.num_states, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4)
        )
        torch.testing.assert_close(
            kernel.transport(amounts)(weight), dense.mT @ weight, rtol=1e-8, atol=1e-10
        )

    def test_one_event_and_one_law(self, name: str, time: bool) -> None:
        """Columns of M(1) and their logarithms, columns of any amounts, laws pushed forward, divergences."""
        process, kernel, amounts, dense = pair(name, time)
        size = process.num_states
        index, p0 = (
            torch.arange(size),
            torch.arange(1, size + 1, dtype=torch.float64) / (size * (size + 1) / 2),
        )
        one = kernel.matrices(torch.ones(1, dtype=torch.float64))[0]
        torch.testing.assert_close(
            kernel.event_columns(index, torch.float64), one.T, rtol=1e-9, atol=1e-12
        )
        logs = kernel.event_log_columns(index, torch.float64)
        torch.testing.assert_close(logs.exp(), one.T, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            kernel.push_forward(p0, amounts), p0 @ dense, rtol=1e-7, atol=1e-9
        )
        nats = torch.xlogy(dense, dense / (p0 @ dense).unsqueeze(1)).nan_to_num(0.0).sum(-1)
        torch.testing.assert_close(kernel.divergences(p0, amounts), nats, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(
            kernel.divergences(p0, amounts, index[1:3]), nats[:, 1:3], rtol=1e-5, atol=1e-7
        )
        each, states = amounts.repeat_interleave(size), index.repeat(len(amounts))
        columns = kernel.columns_at(each, states, torch.float64)
        block = torch.arange(size, len(each), 3)
        torch.testing.assert_close(
            columns(block), dense.mT.flatten(0, 1)[block], rtol=1e-7, atol=1e-9
        )
        torch.testing.assert_close(
            kernel.entries(states, (states + 1) % size, each),
            dense.repeat_interleave(size, 0)[torch.arange(len(each)), states, (states + 1) % size],
            rtol=1e-9,
            atol=1e-12,
        )

    def test_blocks_cover_every_row_once(self, name: str, time: bool) -> None:
        _, kernel, amounts, _ = pair(name, time)
        chosen = amounts[
            torch.randint(len(amounts), (5000,), generator=torch.Generator().manual_seed(5))
        ]
        blocks = kernel.blocks(chosen)
        assert torch.equal(torch.cat(blocks).sort().values, torch.arange(5000))
        assert all((chosen[block] == 0).all() or (chosen[block] > 0).all() for block in blocks)

    def test_draws(self, name: str, time: bool) -> None:
        """Chi-squared per amount, false alarm 1e-7 in all."""
        process, kernel, amounts, dense = pair(name, time)
        size = process.num_states
        count = min(20_000, 100_000 // size)
        index = torch.arange(size).repeat_interleave(count).repeat(len(amounts))
        each = amounts.repeat_interleave(size * count)
        drawn = kernel.draw(index, each, torch.Generator().manual_seed(6)).reshape(-1, count)
        for states, law in zip(drawn, dense.flatten(0, 1), strict=True):
            seen, expected = torch.bincount(states, minlength=size).double(), law * count
            likely = expected > 5
            rest, expected_rest = seen[~likely].sum(), expected[~likely].sum()
            statistic = float(((seen - expected) ** 2 / expected)[likely].sum())
            statistic += float((rest - expected_rest) ** 2 / expected_rest.clamp_min(5))
            assert statistic < float(chi2.isf(1e-7 / len(drawn), int(likely.sum()))) + 1e-9


@pytest.mark.parametrize("name", ["uniform", "gaussian", "non-reversible"])
def test_rows_stay_normalised(name: str) -> None:
    """Row sums within 1e-6 of 1 for counts up to 1e5, also from the operators of mixed blocks."""
    process = MAKERS[name]()
    kernel = process.events(1.0)
    counts = torch.tensor([1, 10, 1000, 99_999, 100_000], dtype=torch.float64)
    assert float((kernel.matrices(counts).sum(-1) - 1).abs().max()) < 1e-9
    ones = torch.full((5, process.num_states), 1 / process.num_states)
    assert float((kernel.operator(counts).apply(ones).sum(-1) - 1).abs().max()) < 1e-6


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    num_states=st.integers(2, 7),
    reversible=st.booleans(),
    gamma=st.floats(0.05, 0.9),
)
def test_chapman_kolmogorov(seed: int, num_states: int, reversible: bool, gamma: float) -> None:
    """M(0) = I, M(a) M(b) = M(a + b), pi M = pi, for random generators, events and time."""
    process = Dense(random_generator(num_states, seed, reversible))
    for kernel in (process.events(gamma), process.time()):
        a, b, both, none = kernel.matrices(torch.tensor([2, 5, 7, 0], dtype=torch.float64))
        torch.testing.assert_close(a @ b, both, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(none, torch.eye(num_states, dtype=torch.float64))
        torch.testing.assert_close(
            process.stationary @ both, process.stationary, rtol=1e-9, atol=1e-12
        )


def test_few_dense_matrices_are_kept() -> None:
    """Asked for many amounts, one at a time, a kernel of 256 states holds at most 16 MB of them; again for one, the same."""
    kernel = Gaussian(256, 0.05).events(1.0)
    rows = torch.ones(256, dtype=torch.float64)
    if kernel.is_fixed(rows):
        pytest.skip("kept where rows are grouped by their amounts")
    operators = [kernel.operator(count * rows) for count in range(1, 40)]
    assert kernel.operator(39 * rows) is operators[-1]
    assert kernel.operator(rows) is not operators[0]
    for operator in operators:
        operator.apply(torch.eye(256))
        for dtype in (torch.float32, torch.float64):
            operator.rows(torch.arange(256), dtype)
            operator.columns(torch.arange(256), dtype)
    tables = [table for operator in kernel._recent.values() for table in operator.tables()]
    assert sum(table.numel() * table.element_size() for table in tables) <= 17e6


def test_what_is_kept_from_inference_serves_training() -> None:
    kernel = Gaussian(300, 0.05).events(1.0)
    amounts = torch.full((300,), 2.0, dtype=torch.float64)
    vectors = torch.rand(300, 300)
    with torch.inference_mode():
        kernel.operator(amounts).apply(vectors)
    kernel.operator(amounts).apply(vectors.requires_grad_()).sum().backward()
    assert vectors.grad is not None
    assert len(copy.deepcopy(kernel)._recent) == 0

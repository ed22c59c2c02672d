"""Noise that moves a state to its neighbours, and now and then to the marginal: words change into words of like meaning.

A state i with neighbours j and rates w_ij moves to one of them at rate 1, and jumps to a draw from the law m at rate rho:

    Q = (N - I) + rho (1 mᵀ - I),      N_ij = w_ij / Σ_j w_ij,

N_ii = 1 where i has no neighbours: it stays until it jumps (Amin et al. 2025 for language, w_ij = exp((cos_ij - 1) / bandwidth)
of embeddings, rho = 0.2, m the marginal of tokens).

A jump that draws the state it leaves is counted as an event too, so events come at r* = 1 + rho at gamma = 1, and
K = (1 - gamma) I + gamma (N + rho 1 mᵀ) / (1 + rho): a sparse matrix whose rows sum to q = 1 - gamma rho / (1 + rho), and a
rank-one term (see `sparse`). Every eigenvalue of K but 1 is one of the sparse part, so at most q. Of few states, dense matrices
are cheaper, and a graph that is connected needs no jumps there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from scud.errors import check_at_least, check_distribution, check_in_interval, check_positive, fail
from scud.options import Options
from scud.processes.base import (
    NEAR_PERIODIC,
    Process,
    check_forgets,
    check_generator,
    check_num_states,
    stationary_law,
)
from scud.processes.kernels.base import Kernel, check_small
from scud.processes.kernels.powers import PowersKernel
from scud.processes.kernels.sparse import SparseKernel
from scud.processes.neighbour_lists import load_neighbours
from scud.typing import DataView

MARGINAL_RATE = 0.2
"""The paper's rate of jumps, for language."""

FASTEST = 1e6
"""The largest rate of jumps beside moves at rate 1."""

FEW = 512
"""States up to which kernels are dense."""


class NeighbourGraph(Process):
    """Moves along the edges of a graph, and jumps to a marginal law.

    A kernel over more than FEW states holds one vector [B] float32 per count of events until 1e-8 of the state is remembered:
    log 1e-8 / log q of them, 102 for the default rate at gamma = 1, 1,100 at gamma = 0.1; a model holds two such tables.

    Args:
        neighbours: states [B, k] that each state moves to, integers; -1 where it has fewer than k.
        rates: w [B, k], in proportion to which it moves to them; > 0, of any value where there is no neighbour.
        marginal: m [B], positive, summing to 1: the law of jumps, such as the training marginal.
        marginal_rate: rho >= 0, the rate of jumps beside moves at rate 1.

    Attributes:
        sparse: whether kernels of events are sparse.

    Raises:
        UserError: shapes that do not fit; a neighbour that is no state, the state itself or named twice; a rate that is not
            positive; more than `FEW` states with hardly any jumps; or a graph without jumps that is not connected.
    """

    def __init__(
        self,
        neighbours: Tensor,
        rates: Tensor,
        marginal: Tensor,
        marginal_rate: float = MARGINAL_RATE,
    ) -> None:
        check_graph(neighbours, rates)
        self.num_states = len(neighbours)
        check_distribution("marginal", marginal, self.num_states)
        check_marginal_rate(marginal_rate)
        self.neighbours, self.rates = (
            neighbours.detach().long().cpu(),
            rates.detach().double().cpu(),
        )
        self.marginal, self.marginal_rate = marginal.detach().double().cpu(), marginal_rate
        self.marginal = self.marginal / self.marginal.sum()
        there = self.neighbours >= 0
        self._row, place = there.nonzero(as_tuple=True)
        weights = self.rates.masked_fill(~there, 0)
        self._column, self._moves = (
            self.neighbours[there],
            (weights / weights.sum(1, keepdim=True))[self._row, place],
        )
        self._alone = (~there.any(1)).nonzero().squeeze(-1)
        leaves = torch.ones(self.num_states, dtype=torch.float64).index_fill(0, self._alone, 0.0)
        self.exit_rates = leaves + marginal_rate * (1 - self.marginal)
        self.sparse = self.num_states > FEW
        self.stationary = self._make_sparse(1.0).stationary if self.sparse else self._stationary()

    @property
    def max_rate(self) -> float:
        """r* = 1 + rho: of moves and of jumps, those that draw the state they leave included."""
        return 1 + self.marginal_rate

    def generator(self) -> Tensor:
        check_small(self.num_states, "a generator")
        rates = self.marginal_rate * self.marginal.repeat(self.num_states, 1)
        rates = rates.index_put((self._row, self._column), self._moves, accumulate=True)
        off = rates - rates.diagonal().diag()
        return off - off.sum(1).diag()

    def events(self, gamma: float) -> Kernel:
        rate = self.rate(gamma)
        if self.sparse:
            return self._make_sparse(gamma)
        jump = self._dense_jump(rate)
        check_forgets(torch.linalg.eigvals(jump), gamma)
        return PowersKernel(jump, self.stationary)

    def time(self) -> Kernel:
        check_small(self.num_states, "noise in time")
        return PowersKernel(self._dense_jump(self.max_rate), self.stationary, rate=self.max_rate)

    def spec(self) -> dict[str, Any]:
        tensors = {"neighbours": self.neighbours, "rates": self.rates, "marginal": self.marginal}
        return {"kind": "neighbour_graph", **tensors, "marginal_rate": self.marginal_rate}

    def _dense_jump(self, rate: float) -> Tensor:
        """I + Q / rate; what rounds below 0 on its diagonal is 0."""
        jump: Tensor = torch.eye(self.num_states, dtype=torch.float64) + self.generator() / rate
        return jump.clamp_min_(0)

    def _make_sparse(self, gamma: float) -> SparseKernel:
        share = gamma / self.max_rate
        if share * self.marginal_rate < 1 - NEAR_PERIODIC:
            rule = f"make {1 - NEAR_PERIODIC:.0e} of events or more jumps, gamma rho / (1 + rho), for more than {FEW} states"
            raise fail(
                "marginal_rate",
                rule,
                f"{self.marginal_rate:g} at gamma {gamma:g}",
                "raise it; 0.2 is the default",
            )
        stays = torch.full((self.num_states,), 1 - gamma, dtype=torch.float64).index_add(
            0, self._alone, torch.full((len(self._alone),), share, dtype=torch.float64)
        )
        own = stays.nonzero().squeeze(-1)
        row, column = torch.cat([self._row, own]), torch.cat([self._column, own])
        values = torch.cat([share * self._moves, stays[own]])
        return SparseKernel(row, column, values, share * self.marginal_rate * self.marginal)

    def _stationary(self) -> Tensor:
        if self.marginal_rate > 0:
            return stationary_law(check_generator(self.generator()))
        if len(self._alone):
            remedy = "give it neighbours, or a marginal_rate above 0"
            raise fail(
                "neighbours",
                "lead on from every state where marginal_rate is 0",
                f"none of state {int(self._alone[0])}",
                remedy,
            )
        return connected_law(self.generator())


def connected_law(generator: Tensor) -> Tensor:
    """The stationary law [B] of a graph without jumps, which must reach every state from every other.

    Raises:
        UserError: it does not, naming two states.
    """
    from scipy.sparse.csgraph import connected_components

    count, label = connected_components((generator > 0).numpy(), directed=True, connection="strong")
    if count > 1:
        other = int((torch.as_tensor(label) != int(label[0])).nonzero()[0])
        rule = "reach every state from every other where marginal_rate is 0"
        found = f"{count} parts, such as those of states 0 and {other}"
        raise fail(
            "neighbours", rule, found, "give marginal_rate a value above 0, or more neighbours"
        )
    return stationary_law(generator)


def check_graph(neighbours: Tensor, rates: Tensor) -> None:
    """Raise `UserError` unless neighbours [B, k] and rates [B, k] make a graph over B states."""
    if neighbours.ndim != 2 or neighbours.dtype.is_floating_point or neighbours.dtype == torch.bool:
        found = f"{neighbours.dtype} of shape {list(neighbours.shape)}"
        raise fail(
            "neighbours",
            "be integers [B, k]",
            found,
            "name k neighbours of each state, -1 for none",
        )
    num_states, width = neighbours.shape
    check_num_states(num_states)
    if not 1 <= width < num_states:
        raise fail(
            "neighbours",
            f"be at least 1 and fewer than the {num_states} states",
            width,
            "give fewer of them",
        )
    if rates.shape != neighbours.shape:
        found = f"{list(rates.shape)} beside {list(neighbours.shape)}"
        raise fail("rates", "have the shape of neighbours", found, "give one rate per neighbour")
    there = neighbours >= 0
    if int(neighbours.min()) < -1 or int(neighbours.max()) >= num_states:
        worst = (
            int(neighbours.max()) if int(neighbours.max()) >= num_states else int(neighbours.min())
        )
        raise fail(
            "neighbours",
            f"be states 0..{num_states - 1}, or -1 for none",
            worst,
            "correct the list",
        )
    if bool((neighbours == torch.arange(num_states, device=neighbours.device).unsqueeze(1)).any()):
        state = int(
            (neighbours == torch.arange(num_states, device=neighbours.device).unsqueeze(1))
            .any(1)
            .nonzero()[0]
        )
        raise fail(
            "neighbours",
            "be other states",
            f"state {state} among its own",
            "leave it out, or write -1",
        )
    ordered = neighbours.sort(1).values
    twice = (ordered.diff(dim=1) == 0) & (ordered[:, 1:] >= 0)
    if bool(twice.any()):
        raise fail(
            "neighbours",
            "be named once",
            f"one of state {int(twice.any(1).nonzero()[0])} twice",
            "drop it",
        )
    if not bool((rates[there] > 0).all()) or not bool(rates[there].isfinite().all()):
        raise fail(
            "rates",
            "be positive and finite",
            "one that is not",
            "write -1 for a neighbour that is none",
        )


def check_marginal_rate(marginal_rate: float) -> None:
    """Raise `UserError` unless a rate of jumps lies in [0, FASTEST]."""
    remedy = f"{MARGINAL_RATE} is the default; for jumps alone use Uniform"
    check_in_interval("marginal_rate", marginal_rate, 0, FASTEST, remedy)


@dataclass(frozen=True, kw_only=True)
class NeighbourGraphOptions(Options):
    """States become near ones, such as words of like meaning."""

    process: ClassVar[type[Process]] = NeighbourGraph

    kind: Literal["neighbour_graph"] = "neighbour_graph"

    bandwidth: float = 0.3
    """Rates of neighbours are exp((cosine - 1) / bandwidth)."""

    neighbours: Path | None = None
    """A .npy, .npz or .safetensors file of an embedding of the states, [B, d], or an .npz file of their nearest neighbours,
    knn_idx and knn_cos [B, k]; by default characters are near whose contexts are alike."""

    nearest: int = 10
    """Neighbours that a state jumps to."""

    marginal_rate: float = MARGINAL_RATE
    """Rate of jumps to any state by its share of the training data."""

    def check(self) -> None:
        check_positive("bandwidth", self.bandwidth, "0.3 is the paper's for language")
        check_at_least("nearest", self.nearest, 1, "10 is the paper's for language")
        check_marginal_rate(self.marginal_rate)

    def build(self, data: DataView) -> NeighbourGraph:
        """Noise on the graph of neighbours; raises `UserError` as `load_neighbours` and `NeighbourGraph` do."""
        neighbours, rates = load_neighbours(self.neighbours, data, self.nearest, self.bandwidth)
        return NeighbourGraph(neighbours, rates, data.p0(), self.marginal_rate)

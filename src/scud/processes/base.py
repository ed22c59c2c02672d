"""Noising processes: what noise does to one position.

A process is a generator Q over B states (rows are "from"; they sum to 0), with stationary law pi, exit rates -Q_ii and
their maximum r*. It offers two kernels (see `kernel`):

- `events(gamma)`: counting events at rate r = r* / gamma, each a jump from K = I + Q / r (uniformisation: Q = r (K - I));
- `time()`: exp(tau Q).

gamma = 1 conditions on the most schedule information; gamma -> 0 is classical diffusion.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from scud.errors import check_in_interval, fail, shown
from scud.numerics.memory import check_memory
from scud.processes.kernels.base import Kernel, check_small
from scud.processes.kernels.powers import PowersKernel
from scud.processes.kernels.spectral import SpectralKernel, reversible_basis

UNBALANCED = 1e-8
"""Ratio of stationary probabilities below which the spectral basis, whose condition is its root, loses too many digits."""

SMALLEST_GAMMA = 1e-12
"""With less, an event hardly changes anything, and rounding hides what it does."""

VECTORS = 4
"""Vectors [B] float64 that any process with its model holds, at least."""

NEAR_PERIODIC = 0.999
"""An eigenvalue of K with negative real part and modulus above this forgets too slowly to be called noise."""


class Process(ABC):
    """A noising process over `num_states` states.

    Attributes:
        num_states: B.
        stationary: pi [B] float64.
        exit_rates: -Q_ii [B] float64.
    """

    num_states: int
    stationary: Tensor
    exit_rates: Tensor

    @property
    def max_rate(self) -> float:
        """r*, the largest exit rate."""
        return float(self.exit_rates.max())

    def rate(self, gamma: float) -> float:
        """r = r* / gamma, the rate of events.

        Raises:
            UserError: gamma outside (0, 1].
        """
        check_gamma(gamma)
        return self.max_rate / gamma

    @abstractmethod
    def generator(self) -> Tensor:
        """Q [B, B] float64."""

    @abstractmethod
    def events(self, gamma: float) -> Kernel:
        """The kernel K^s of event counts, K = I + gamma Q / r*.

        Raises:
            UserError: gamma outside (0, 1], or so large that K is periodic or nearly so.
        """

    @abstractmethod
    def time(self) -> Kernel:
        """The kernel exp(tau Q) of effective time."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """The constructor's arguments and the registered `kind`: enough to build the process again."""


class MatrixProcess(Process):
    """A process given by its dense generator: checks it, and picks the algebra for it.

    Reversible generators get a real spectral basis, unless pi spans many orders of magnitude; others get binary powers.

    Args:
        generator: Q [B, B]; off-diagonal entries >= 0, rows summing to 0, one recurrent class.

    Raises:
        UserError: naming the rule that the generator breaks.
    """

    def __init__(self, generator: Tensor) -> None:
        self._generator = check_generator(generator)
        self.num_states = self._generator.shape[0]
        self.exit_rates = -self._generator.diagonal()
        self.stationary = stationary_law(self._generator)
        flow = self.stationary.unsqueeze(1) * self._generator
        balanced = float(self.stationary.min() / self.stationary.max()) > UNBALANCED
        self.spectral = balanced and bool((flow - flow.T).abs().max() <= 1e-12 * flow.abs().max())
        if self.spectral:
            self._basis = reversible_basis(self._generator, self.stationary)
            self._eigenvalues = self._basis[0].to(torch.complex128)
        else:
            self._eigenvalues = torch.linalg.eigvals(self._generator)

    def generator(self) -> Tensor:
        return self._generator

    def events(self, gamma: float) -> Kernel:
        rate = self.rate(gamma)
        check_forgets(self._eigenvalues / rate + 1, gamma)
        if self.spectral:
            values, basis, inverse = self._basis
            return SpectralKernel(1 + values / rate, basis, inverse)
        return PowersKernel(
            torch.eye(self.num_states, dtype=torch.float64) + self._generator / rate,
            self.stationary,
        )

    def time(self) -> Kernel:
        if self.spectral:
            values, basis, inverse = self._basis
            return SpectralKernel(values.exp(), basis, inverse)
        step = torch.eye(self.num_states, dtype=torch.float64) + self._generator / self.max_rate
        return PowersKernel(step, self.stationary, rate=self.max_rate)


def check_gamma(gamma: float) -> None:
    """Raise `UserError` unless gamma lies in (0, 1], and K can be told from I."""
    remedy = "use 1 for the most schedule information, or the Classical model for the limit 0"
    check_in_interval("gamma", gamma, 0, 1, remedy, open_low=True)
    check_in_interval("gamma", gamma, SMALLEST_GAMMA, 1, remedy)


def check_num_states(num_states: int) -> None:
    """Raise `UserError` unless there are at least two states, and vectors over them fit into memory."""
    if num_states < 2:
        raise fail("num_states", "be at least 2", num_states, "one state carries no information")
    remedy = "model fewer states"
    check_memory("num_states", VECTORS * 8 * num_states, shown(num_states), remedy)


def check_forgets(eigenvalues: Tensor, gamma: float) -> None:
    """Raise `UserError` if K, of these eigenvalues [B], is periodic or nearly so: then K^n never forgets."""
    worst = eigenvalues[(eigenvalues.real < 0) & (eigenvalues.abs() > NEAR_PERIODIC)]
    if worst.numel():
        raise fail(
            "gamma",
            f"give a jump kernel that forgets (eigenvalues of negative real part below {NEAR_PERIODIC} in modulus)",
            f"gamma {gamma:g}, where K has an eigenvalue of modulus {float(worst.abs().max()):.6g} and is (nearly) periodic",
            f"lower gamma, for example to {gamma / 2:g}, or use noise that reaches more states",
        )


def check_generator(generator: Tensor) -> Tensor:
    """The generator in float64 with rows summing to 0 exactly up to rounding; raises `UserError` naming what is wrong."""
    Q = torch.as_tensor(generator).detach()
    if Q.is_complex():
        raise TypeError(f"generator must hold real rates, got {Q.dtype}; pass its real part")
    if Q.ndim == 2:
        check_small(max(Q.shape), "a generator")
    Q = Q.double().cpu()
    if Q.ndim != 2 or Q.shape[0] != Q.shape[1] or Q.shape[0] < 2:
        raise fail(
            "generator",
            "be a square matrix over at least 2 states",
            f"shape {list(Q.shape)}",
            "pass [B, B] rates",
        )
    if not bool(torch.isfinite(Q).all()):
        raise fail(
            "generator",
            "be finite",
            "NaN or infinite rates",
            "look for divisions by zero where it was built",
        )
    off = Q - Q.diagonal().diag()
    if float(off.min()) < 0:
        row, column = divmod(int(off.argmin()), Q.shape[0])
        raise fail(
            "generator",
            "have off-diagonal rates >= 0",
            f"{float(off.min()):g} at [{row}, {column}]",
            "clip or fix it",
        )
    scale = off.sum(1).max()
    sums = Q.sum(1)
    if float(sums.abs().max()) > 1e-5 * float(scale) or float(scale) == 0:
        row = int(sums.abs().argmax())
        remedy = "set each diagonal entry to minus the sum of the other rates in its row"
        raise fail(
            "generator",
            "have rows that sum to 0 and some rate",
            f"a sum of {float(sums[row]):g} in row {row}",
            remedy,
        )
    return off - off.sum(1).diag()


def stationary_law(Q: Tensor) -> Tensor:
    """pi [B] float64 with pi Q = 0, by elimination of states without a subtraction (Grassmann, Taksar and Heyman 1985).

    Every entry keeps its relative accuracy. States outside the recurrent class have probability exactly 0.

    Raises:
        UserError: the generator has more than one recurrent class.
    """
    from scipy.sparse.csgraph import connected_components

    off = (Q - Q.diagonal().diag()).numpy()
    count, label = connected_components(off > 0, directed=True, connection="strong")
    leaves = [bool((off[label == c][:, label != c] > 0).any()) for c in range(count)]
    closed = [c for c in range(count) if not leaves[c]]
    if len(closed) != 1:
        remedy = "connect the classes by a small rate, or drop the states that nothing leads to"
        raise fail(
            "generator",
            "have one recurrent class",
            f"{len(closed)} classes that are never left",
            remedy,
        )
    members = (label == closed[0]).nonzero()[0]
    rates = off[members][:, members].copy()
    size = len(members)
    for last in range(size - 1, 0, -1):
        rates[:last, last] /= rates[last, :last].sum()
        rates[:last, :last] += rates[:last, last, None] * rates[last, :last]
    law = torch.zeros(size, dtype=torch.float64)
    law[0] = 1.0
    weights = torch.as_tensor(rates)
    for state in range(1, size):
        law[state] = law[:state] @ weights[:state, state]
    full = torch.zeros(Q.shape[0], dtype=torch.float64)
    full[members] = law / law.sum()
    return full

"""What noise: processes, one file each, over a shared algebra of kernels."""

from collections.abc import Callable

from scud.processes.base import Process
from scud.processes.blosum import Blosum62
from scud.processes.dense import Dense
from scud.processes.gaussian import Gaussian
from scud.processes.kernels.base import Kernel
from scud.processes.kernels.operator import Operator
from scud.processes.neighbour_graph import NeighbourGraph
from scud.processes.uniform import Uniform

PROCESSES: dict[str, Callable[..., Process]] = {
    "uniform": Uniform,
    "gaussian": Gaussian,
    "blosum62": Blosum62,
    "dense": Dense,
    "neighbour_graph": NeighbourGraph,
}
"""Processes by the `kind` of their spec."""

__all__ = ["PROCESSES", "Blosum62", "Dense", "Gaussian", "Kernel", "NeighbourGraph", "Operator", "Process", "Uniform"]

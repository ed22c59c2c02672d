"""What noise: processes, one file each with their options, over a shared algebra of kernels."""

from typing import Any

from scud.options import by_kind
from scud.processes.base import MatrixProcess, Process
from scud.processes.blosum import Blosum62, Blosum62Options
from scud.processes.dense import Dense, DenseOptions
from scud.processes.gaussian import Gaussian, GaussianOptions
from scud.processes.kernels.base import Kernel
from scud.processes.kernels.operator import Operator
from scud.processes.neighbour_graph import NeighbourGraph, NeighbourGraphOptions
from scud.processes.uniform import Uniform, UniformOptions

ProcessOptions = (
    UniformOptions | GaussianOptions | Blosum62Options | DenseOptions | NeighbourGraphOptions
)
"""The options of every process."""

_OPTIONS: dict[str, Any] = by_kind(ProcessOptions)

PROCESSES: dict[str, type[Process]] = {kind: options.process for kind, options in _OPTIONS.items()}
"""Processes by the `kind` of their spec."""

__all__ = [
    "PROCESSES",
    "Blosum62",
    "Blosum62Options",
    "Dense",
    "DenseOptions",
    "Gaussian",
    "GaussianOptions",
    "Kernel",
    "MatrixProcess",
    "NeighbourGraph",
    "NeighbourGraphOptions",
    "Operator",
    "Process",
    "ProcessOptions",
    "Uniform",
    "UniformOptions",
]

"""The cases every theorem is tested on: five processes (one of events alone), four gammas, three schedules, three models."""

from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from scud.processes import Dense, Gaussian, NeighbourGraph, Process, Uniform
from scud.schedules import Cosine, Linear, MutualInformation, Schedule
from tests.theory.oracle import random_generator

PROCESSES = ("uniform", "gaussian", "reversible", "non-reversible")
EVENT_PROCESSES = (*PROCESSES, "graph")
GAMMAS = ("1", "0.6", "0.1", "1 - 1/B")
SCHEDULES = ("linear", "cosine", "mutual_information")


def repeated(values: tuple[Any, ...], *, long: bool) -> Any:
    """A case of a test, which is left to `make theory` where it says with other numbers what other cases say."""
    return pytest.param(*values, marks=pytest.mark.long if long else ())


def make_process(name: str, num_states: int) -> Process:
    if name == "uniform":
        return Uniform(num_states)
    if name == "gaussian":
        return Gaussian(num_states, bandwidth=0.3)
    if name == "graph":
        return sparse_graph(num_states)
    return Dense(random_generator(num_states, seed=5, reversible=name == "reversible"))


def sparse_graph(num_states: int, marginal_rate: float = 0.3) -> NeighbourGraph:
    """A directed graph in two parts and one state of its own, by the algebra of many states."""
    step = torch.arange(num_states)
    neighbours = torch.stack(
        [step ^ 1, torch.where(step % 4 < 2, step ^ 1, step - step % 4 + (step + 1) % 4)], 1
    )
    neighbours[(neighbours >= num_states) | (neighbours == step.unsqueeze(1))] = -1
    neighbours[neighbours[:, 0] == neighbours[:, 1], 1] = -1
    neighbours = neighbours[:, : num_states - 1]
    rates = 1 + torch.rand(
        neighbours.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(8)
    )
    marginal = torch.arange(1, num_states + 1, dtype=torch.float64)
    with patch("scud.processes.neighbour_graph.FEW", 0):
        return NeighbourGraph(neighbours, rates, marginal / marginal.sum(), marginal_rate)


def make_gamma(name: str, num_states: int) -> float:
    return 1 - 1 / num_states if name == "1 - 1/B" else float(name)


def make_schedule(name: str, process: Process, p0: Tensor, gamma: float) -> Schedule:
    if name == "mutual_information":
        return MutualInformation(process, p0, gamma)
    return Linear() if name == "linear" else Cosine()


def time_at(schedule: Schedule, tau: float) -> float:
    """The t at which effective time tau has passed, at most 0.999."""
    return min(float(schedule.inverse(torch.tensor(tau, dtype=torch.float64))), 0.999)

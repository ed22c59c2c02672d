"""The cases every theorem is tested on: four processes, four gammas, three schedules, the three models."""

import torch
from torch import Tensor

from scud.processes import Dense, Gaussian, Process, Uniform
from scud.schedules import Cosine, Linear, MutualInformation, Schedule
from tests.theory.oracle import random_generator

PROCESSES = ("uniform", "gaussian", "reversible", "non-reversible")
GAMMAS = ("1", "0.6", "0.1", "1 - 1/B")
SCHEDULES = ("linear", "cosine", "mutual_information")


def make_process(name: str, num_states: int) -> Process:
    if name == "uniform":
        return Uniform(num_states)
    if name == "gaussian":
        return Gaussian(num_states, bandwidth=0.3)
    return Dense(random_generator(num_states, seed=5, reversible=name == "reversible"))


def make_gamma(name: str, num_states: int) -> float:
    return 1 - 1 / num_states if name == "1 - 1/B" else float(name)


def make_schedule(name: str, process: Process, p0: Tensor, gamma: float) -> Schedule:
    if name == "mutual_information":
        return MutualInformation(process, p0, gamma)
    return Linear() if name == "linear" else Cosine()


def time_at(schedule: Schedule, tau: float) -> float:
    """The t at which effective time tau has passed, at most 0.999."""
    return min(float(schedule.inverse(torch.tensor(tau, dtype=torch.float64))), 0.999)

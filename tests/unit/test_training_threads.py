"""How many threads to train with: what is measured, what is chosen, and that nothing of it stays."""

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from scud import front
from scud.diffusion.objectives import Bound
from scud.errors import UserError
from scud.training import threads
from scud.training.files import RunFolder
from scud.training.job import Job
from scud.training.options import ByExamples
from scud.training.threads import LEAST_STEPS, ROUNDS, Tried
from tests.unit.front import DATA, MODELS, network

CPU = torch.device("cpu")


def job_of(kind: str = "scud", seed: int = 3, **options: Any) -> Job:
    settings = ByExamples(**{"steps": LEAST_STEPS, "batch_size": 10, **options})
    return front.job_of(MODELS[kind](DATA.p0()), network(), DATA, settings, Bound(), seed)


class Clock:
    """Time that passes with steps alone: so many seconds a step, by number of threads."""

    def __init__(self, seconds: dict[int, Sequence[float]]) -> None:
        self.seconds = {number: iter(times) for number, times in seconds.items()}
        self.now = 0.0
        self.steps: list[tuple[int, int]] = []

    def step(self, _: object, __: object, portions: Sequence[Any]) -> None:
        number = torch.get_num_threads()
        self.steps.append((portions[0].step, number))
        self.now += next(self.seconds[number])


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Eight cores and threads."""
    monkeypatch.setattr(threads, "cores", lambda: 8)
    with threads.computing_with(8):
        yield


def tried(monkeypatch: pytest.MonkeyPatch, **seconds: Sequence[float]) -> tuple[Clock, Tried]:
    clock = Clock({int(number[1:]): times for number, times in seconds.items()})
    monkeypatch.setattr(threads, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(threads, "_step", clock.step)
    found = threads.try_threads(job_of(), CPU)
    assert found is not None
    return clock, found


@pytest.mark.usefixtures("eight")
def test_steps_take_turns_after_one_that_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, found = tried(monkeypatch, t8=[0.2] * 5, t4=[9.0, *[0.1] * 5], t1=[0.14] * 5)
    assert clock.steps[0] == (0, 4)
    assert clock.steps[1:4] == [(0, 8), (0, 4), (0, 1)]
    clock, found = tried(monkeypatch, t8=[0.2] * 5, t4=[0.1] * 6, t1=[0.14] * 5)
    turns = [(step, number) for step in range(ROUNDS) for number in (8, 4, 1)]
    assert clock.steps == [(0, 4), *turns]
    assert found.best == 4
    line = "threads: 4 (a step took 0.14 s with 1, 0.1 s with 4, 0.2 s with 8; --threads decides by hand)"
    assert str(found) == line


@pytest.mark.usefixtures("eight")
def test_single_steps_that_are_disturbed_decide_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [0.1, 0.1, 3.0, 0.1, 0.9]
    _, found = tried(monkeypatch, t8=slow, t4=[0.2] * 6, t1=[0.25, 0.25, 0.01, 0.25, 0.25])
    assert dict(found.seconds) == pytest.approx({8: 0.1, 4: 0.2})
    assert found.best == 8


@pytest.mark.usefixtures("eight")
def test_steps_that_take_long_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, found = tried(monkeypatch, t8=[5.0], t4=[6.0, 6.0], t1=[7.0])
    assert [number for _, number in clock.steps] == [4, 8, 4, 1]
    assert found.best == 8
    clock, found = tried(monkeypatch, t8=[1.0] * 3, t4=[1.6] * 4)
    assert 1 not in found.seconds, "one thread would take longer still"


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1.0, 2: 1.0}, 1),
        ({1: 1.09, 2: 1.0}, 1),
        ({1: 1.2, 2: 1.0}, 2),
        ({1: 0.8, 2: 1.0}, 1),
        ({1: 2.0, 4: 1.05, 8: 1.0}, 4),
        ({1: 2.0, 4: 1.5, 8: 1.0}, 8),
        ({1: 0.0, 2: 0.0}, 1),
    ],
)
def test_the_fastest_is_taken_and_fewer_threads_at_a_tie(
    seconds: dict[int, float], best: int
) -> None:
    assert Tried(seconds).best == best


@pytest.mark.parametrize(
    ("cores", "caller", "numbers"),
    [(8, 8, [8, 4, 1]), (8, 2, [2, 1]), (8, 3, [3, 1]), (2, 8, [2, 1]), (8, 1, [1]), (1, 1, [1])],
)
def test_the_caller_s_threads_are_the_most(
    monkeypatch: pytest.MonkeyPatch, cores: int, caller: int, numbers: list[int]
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: cores)
    with threads.computing_with(caller):
        assert threads.candidates() == numbers


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize("why", ["short", "gpu", "one thread"])
def test_nothing_is_tried_where_that_gives_nothing(
    monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("nothing is to be tried")

    monkeypatch.setattr(threads, "time_steps", refused)
    job = job_of(steps=LEAST_STEPS - (why == "short"))
    device = torch.device("cuda" if why == "gpu" else "cpu")
    with threads.computing_with(1 if why == "one thread" else None):
        assert threads.try_threads(job, device) is None


def randomness() -> list[Any]:
    """The state of all sources that a network may draw from without being given one."""
    of_numpy: dict[str, Any] = dict(np.random.get_state(legacy=False))  # noqa: NPY002
    numbers = of_numpy["state"]["key"].tolist()
    return [torch.get_rng_state().tolist(), random.getstate(), numbers, of_numpy["state"]["pos"]]


class Restless(nn.Module):
    """A network that counts, and draws from all sources of randomness."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner = network()
        self.calls = 0
        self.register_buffer("mean", torch.zeros(1))

    def forward(self, x_t: Tensor, conditioning: Any) -> Tensor:
        self.calls += 1
        self.mean += torch.rand(1) + random.random() + np.random.rand()  # noqa: NPY002
        logits: Tensor = self.inner(x_t, conditioning)
        return logits


@pytest.mark.parametrize("kind", MODELS)
def test_trying_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    job = replace(job_of(kind), network=Restless().eval())
    used: list[Any] = []
    step = threads._step

    def record(copied: Job, *rest: Any) -> None:
        used.extend([copied.model, copied.network, copied.objective])
        step(copied, *rest)

    monkeypatch.setattr(threads, "_step", record)
    before = {name: value.clone() for name, value in job.network.state_dict().items()}
    kept, count = randomness(), torch.get_num_threads()
    times = threads.time_steps(job, [2, 1])
    assert {len(seconds) for seconds in times.values()} == {len(times[2])}
    assert used
    assert not {id(part) for part in used} & {id(job.model), id(job.network), id(job.objective)}
    assert job.network.calls == 0
    assert not job.network.training
    assert all(weight.grad is None for weight in job.network.parameters())
    assert all(value.equal(before[name]) for name, value in job.network.state_dict().items())
    assert randomness() == kept
    assert torch.get_num_threads() == count


@pytest.mark.parametrize(("precision", "accumulate"), [("float32", 1), ("bfloat16", 5)])
def test_what_is_timed_is_a_step_of_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, precision: str, accumulate: int
) -> None:
    """Its gradient is, to the last bit: the first steps', and then those of training itself."""
    norms: list[float] = []
    clip = nn.utils.clip_grad_norm_

    def record(*arguments: Any) -> Tensor:
        norms.append(float(clip(*arguments)))
        return torch.tensor(norms[-1])

    monkeypatch.setattr(nn.utils, "clip_grad_norm_", record)
    job = job_of(precision=precision, accumulate=accumulate, steps=1)
    job.network.dropout.p = 0.0
    monkeypatch.setattr(threads, "ROUNDS", 1)
    threads.time_steps(job, [1])
    files = RunFolder(tmp_path / "run")
    files.path.mkdir()
    front.train_job(job, DATA, files, device=CPU, progress=False)
    tried, again, trained = norms
    assert tried == again == trained


def test_threads_are_what_they_were_after_a_step_that_fails() -> None:
    def broken(*_: object) -> Tensor:
        raise ZeroDivisionError

    count = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        threads.time_steps(replace(job_of(), objective=broken), [2, 1])
    assert torch.get_num_threads() == count


def test_more_threads_than_cores_are_refused() -> None:
    most = threads.cores()
    assert 1 <= most <= (os.cpu_count() or 1)
    threads.check_threads(None)
    threads.check_threads(most)
    with pytest.raises(
        UserError, match=rf"threads must be at most {most}, the cores at hand, got {most + 1}; give"
    ):
        threads.check_threads(most + 1)


def test_a_run_of_a_larger_machine_takes_the_cores_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 2)
    assert [threads.at_hand(number) for number in (None, 1, 2, 8)] == [None, 1, 2, 2]

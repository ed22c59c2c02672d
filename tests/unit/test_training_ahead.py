"""Batches prepared by a thread are those that there are without it, a few ahead; the thread ends whatever happens."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Generator, Tensor, nn

from scud import Masking
from scud.data import Examples
from scud.data.images.augment import mirror_half
from scud.errors import UserError
from scud.training.ahead import MOST, Ahead, ahead
from scud.training.job import Job
from scud.training.options import ByExamples
from scud.training.stream import Portion, Stream
from scud.typing import Batch

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


def threads() -> list[str]:
    return [part.name for part in threading.enumerate() if part.name.startswith("scud-batches")]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert threads() == []


def stream(
    first: int = 0, augment: Callable[[Tensor, Generator], Tensor] | None = mirror_half
) -> Stream:
    """Ten steps of two parts each."""
    model = Masking(5, p0=torch.full((5,), 0.2, dtype=torch.float64))
    x = torch.randint(5, (30, 1, 3, 4), generator=torch.Generator().manual_seed(0))
    examples, settings = Examples(x), ByExamples(batch_size=8, accumulate=2, steps=10)
    job = Job(model, nn.Identity(), examples, examples, settings, seed=3, augment=augment)
    return Stream(job, first)


@pytest.mark.parametrize("first", [0, 7])
def test_the_portions_are_the_same(first: int) -> None:
    found, expected = list(Ahead(stream(first), CPU)), list(stream(first))
    assert len(found) == 2 * (10 - first)
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.step, ours.part, ours.last) == (theirs.step, theirs.part, theirs.last)
        assert ours.positions == theirs.positions
        assert ours.batch.x0.equal(theirs.batch.x0)
        assert ours.u.equal(theirs.u)


def test_one_thread_prepares_a_few_ahead() -> None:
    made: list[int] = []

    def counted() -> Iterator[Portion]:
        for portion in stream():
            made.append(threading.get_ident())
            yield portion

    running = iter(Ahead(counted(), CPU))
    assert made == [], "nothing is begun before it is asked for"
    for taken in range(1, 6):
        next(running)
        assert taken <= len(made) <= taken + MOST
    assert len(threads()) == len(set(made)) == 1
    assert made[0] != threading.get_ident()
    assert len(list(running)) == 15


def test_an_error_in_the_thread_arrives_as_itself_in_its_place() -> None:
    error = UserError("the data must be there, got nothing; bring them back")

    def failing() -> Iterator[Portion]:
        for portion in stream():
            if portion.step == 3:
                raise error
            yield portion

    taken = list[Portion]()
    with pytest.raises(UserError) as caught:
        taken.extend(Ahead(failing(), CPU))
    assert caught.value is error
    assert len(taken) == 6


def test_the_thread_ends_when_it_is_closed_or_begun_again() -> None:
    portions = Ahead(stream(), CPU)
    portions.close()
    first = iter(portions)
    next(first)
    assert len(threads()) == 1
    again = list(portions)
    assert len(again) == 20
    assert list(first) == [], "one thread at a time"
    next(iter(portions))
    portions.close()
    portions.close()
    assert threads() == []


def test_closing_waits_for_the_portion_at_hand_and_prepares_no_other() -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    def slow() -> Iterator[Portion]:
        for number, portion in enumerate(stream()):
            if number == 1:
                begun.set()
                assert go_on.wait(10)
            made.append(number)
            yield portion

    portions = Ahead(slow(), CPU)
    next(iter(portions))
    assert begun.wait(10)
    closing = threading.Thread(target=go_on.set)
    closing.start()
    portions.close()
    closing.join()
    assert made[:2] == [0, 1]
    assert len(made) <= 1 + MOST


def test_a_cpu_has_no_thread_and_a_gpu_gets_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[int] = []
    set_for: list[torch.device] = []

    def pin(tensor: Tensor) -> Tensor:
        pinned.append(threading.get_ident())
        return tensor.clone()

    monkeypatch.setattr(Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.cuda, "set_device", set_for.append)
    plain = stream()
    assert ahead(plain, CPU) is plain
    found, expected = list(ahead(plain, CUDA)), list(plain)
    assert len(pinned) == 2 * len(expected), "states and times"
    assert threading.get_ident() not in pinned
    assert set(set_for) == {CUDA}
    pairs = zip(found, expected, strict=True)
    assert all(ours.batch.x0.equal(theirs.batch.x0) for ours, theirs in pairs)


def test_all_of_a_portion_is_pinned_and_copied_without_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to, waited = Tensor.to, list[bool]()

    def copied(tensor: Tensor, device: torch.device, *, non_blocking: bool = False) -> Tensor:
        waited.append(not non_blocking)
        return to(tensor, device)

    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor + 1)
    monkeypatch.setattr(Tensor, "to", copied)
    ones = torch.ones(2, 3, dtype=torch.int64)
    batch = Batch(ones, ones, ones[:, 0], ones)
    portion = Portion(0, 0, True, batch, torch.zeros(2), 6.0).pinned().to(CPU)
    parts = [portion.batch.x0, portion.batch.mask, portion.batch.label, portion.batch.known]
    assert all(part is not None and bool((part == 2).all()) for part in parts)
    assert bool((portion.u == 1).all())
    assert waited == [False] * 5

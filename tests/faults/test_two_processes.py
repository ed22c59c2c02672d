"""Two processes that write to one place at once: one writes, the other waits or is refused, and the outcome is as of one."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.children import Child, Ended
from tests.faults.compare import differences, state_of
from tests.faults.scenarios import (
    Action,
    Place,
    Scenario,
    fit,
    interrupted,
    nothing,
    other_finished,
    read_sequences,
    read_text,
    sample,
    train,
    with_samples,
)
from tests.faults.trials import Trial


def together(place: Place, *actions: Action) -> list[Ended]:
    """Start two processes at the same moment."""
    children = [Child(lambda action=action: action(place)) for action in actions]
    return [child.end() for child in children]


@pytest.mark.parametrize(
    ("prepare", "action"),
    [
        (nothing, train()),
        pytest.param(interrupted, train("--resume"), marks=pytest.mark.long),
        pytest.param(other_finished, train("--overwrite"), marks=pytest.mark.long),
        (nothing, fit()),
    ],
    ids=["new runs", "--resume", "--overwrite", "scud.fit"],
)
def test_two_starts_in_one_folder(
    tmp_path: Path, prepare: Callable[[Place], None], action: Action
) -> None:
    trial = Trial(Scenario("alone", prepare, action, ()), Place(tmp_path))
    trial.put_back()
    ended = together(trial.place, action, action)
    assert [one.broke for one in ended] == ["", ""]
    assert 0 in {one.status for one in ended}
    for one in ended:
        if one.status == 2:
            assert str(trial.place.run) in one.last_line
    assert differences(state_of(trial.place.work), trial.reference) == ""


@pytest.mark.parametrize("read", [read_sequences, read_text])
def test_two_readers_of_one_file_give_one_store(tmp_path: Path, read: Action) -> None:
    trial = Trial(Scenario("alone", nothing, read, ()), Place(tmp_path))
    for _ in range(5):
        trial.put_back()
        ended = together(trial.place, read, read, read)
        assert [(one.status, one.broke) for one in ended] == [(0, "")] * 3
        assert differences(state_of(trial.place.work), trial.reference) == ""


def test_two_sets_of_samples_are_not_mixed(tmp_path: Path) -> None:
    trial = Trial(Scenario("alone", with_samples, sample(2), ()), Place(tmp_path))
    trial.put_back()
    ended = together(trial.place, sample(2), sample(2))
    assert [one.broke for one in ended] == ["", ""]
    assert 0 in {one.status for one in ended}
    assert differences(state_of(trial.place.work), trial.reference) == ""

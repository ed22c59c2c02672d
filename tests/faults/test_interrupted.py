"""Whatever is killed, or finds the disk full, half way: the command that a user gives next ends as if nothing had been.

`make crash` does so at every change of every scenario, with other seeds and intervals.
"""

from pathlib import Path

import pytest

from tests.faults.scenarios import SCENARIOS, Place, Scenario
from tests.faults.trials import Tally, Trial, tried


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("interrupted")


def some(points: list[int], count: int) -> list[int]:
    """So many of the points, from everywhere."""
    return [points[int((number + 0.6) * len(points) / count)] for number in range(count)]


@pytest.mark.parametrize(
    "scenario",
    [scenario for scenario in SCENARIOS if sum(scenario.brief)],
    ids=lambda scenario: scenario.name,
)
def test_an_interruption_is_made_good(root: Path, scenario: Scenario) -> None:
    trial, tally = Trial(scenario, Place(root)), Tally()
    kills, full = scenario.brief
    for number in some(trial.points, kills):
        tried(tally, f"killed before {trial.changes[number - 1]}", lambda n=number: trial.killed(n))
    for number in some(trial.points, full):
        tried(tally, f"disk full at {trial.changes[number - 1]}", lambda n=number: trial.full(n))
    assert tally.findings == []
    assert tally.count["recovered"] == kills + full

"""Kills and full disks at every change that every scenario makes: `python -m tests.faults.crash [--kills 1000] [--minutes 60]`.

Scenarios are gone through again with other seeds, steps and intervals of validation until there have been so many kills.
Then each change of the first round finds the disk full, and the command line is killed below Python, by strace.
The exit status is 1 where anything was not as it should be.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import torch

from tests.faults import traced
from tests.faults.scenarios import SCENARIOS, Place, Scenario
from tests.faults.trials import Tally, Trial, tried

OUTCOMES = ("recovered", "changed", "dead", "broke")


def places(root: Path) -> Iterator[Place]:
    """One place a round, of other numbers each."""
    for number in count():
        yield Place(
            root / f"round-{number}", seed=number, steps=4 + number % 3, every=2 + number % 2
        )


def fault(
    kind: str, trials: list[Trial], tallies: dict[str, Tally], enough: Callable[[], bool]
) -> None:
    """Try a fault at each change of some trials."""
    for trial in trials:
        tally = tallies.setdefault(trial.scenario.name, Tally())
        for number in trial.points:
            if enough():
                return
            name = f"{trial.scenario.name}, {kind} at {number}: {trial.changes[number - 1]}"
            attempt = trial.killed if kind == "kill" else trial.full
            wrong = tried(tally, name, lambda attempt=attempt, number=number: attempt(number))
            if wrong:
                print(f"  {tally.findings[-1]}", flush=True)


def table(title: str, tallies: dict[str, Tally]) -> int:
    """Print what became of the tries; how many were not as they should be."""
    print(f"\n| {title} | tries | {' | '.join(OUTCOMES)} |\n|---|---|{'---|' * len(OUTCOMES)}")
    total = Tally()
    for name, tally in tallies.items():
        total.count += tally.count
        print(row(name, tally))
    print(row("all", total))
    return total.tries - total.count["recovered"]


def row(name: str, tally: Tally) -> str:
    return f"| {name} | {tally.tries} | {' | '.join(str(tally.count[one]) for one in OUTCOMES)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000, help="at least so many")
    parser.add_argument("--minutes", type=float, default=120, help="stop after so many")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument("--traced", type=int, default=24, help="kills by strace")
    options = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes
    chosen = [scenario for scenario in SCENARIOS if options.only in scenario.name]
    with tempfile.TemporaryDirectory() as folder:
        return run(Path(folder), chosen, options, lambda: time.monotonic() > end)


def run(
    root: Path, chosen: list[Scenario], options: argparse.Namespace, late: Callable[[], bool]
) -> int:
    kills: dict[str, Tally] = {}
    full: dict[str, Tally] = {}
    for place in places(root):
        for scenario in chosen:
            trial = Trial(scenario, place)
            fault("kill", [trial], kills, late)
            if place.root.name == "round-0":
                fault("full disk", [trial], full, late)
        if late() or sum(tally.tries for tally in kills.values()) >= options.kills:
            break
    wrong = table("killed", kills) + table("disk full", full)
    below = traced.kills(root / "traced", options.traced, late)
    if below is None:
        print("\nno kills below Python: there is no strace here")
    else:
        wrong += table("killed below Python", {"new run": below})
        print("\n".join(below.findings))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

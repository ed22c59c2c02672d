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
from tests.faults.changes import WRITES
from tests.faults.scenarios import SCENARIOS, Place, Scenario
from tests.faults.trials import Tally, Trial, tried

OUTCOMES = ("recovered", "changed", "dead", "broke")


def places(root: Path) -> Iterator[Place]:
    """One place a round, of other numbers each."""
    for number in count():
        yield Place(
            root / f"round-{number}", seed=number, steps=4 + number % 3, every=2 + number % 2
        )


def fault(kind: str, trial: Trial, tally: Tally, enough: Callable[[], bool]) -> None:
    """Try a fault at each change of a trial."""
    for number in trial.points:
        change = trial.changes[number - 1]
        if enough():
            return
        if kind == "disk full" and change.split()[0] not in WRITES:
            continue
        attempt = trial.killed if kind == "killed" else trial.full
        name = f"{trial.scenario.name}, {kind} at {number}: {change}"
        if tried(tally, name, lambda attempt=attempt, number=number: attempt(number)):
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
    kills, full = ({scenario.name: Tally() for scenario in chosen} for _ in range(2))
    for place in places(root):
        for scenario in chosen:
            trial = Trial(scenario, place)
            fault("killed", trial, kills[scenario.name], late)
            if place.root.name == "round-0":
                fault("disk full", trial, full[scenario.name], late)
        if late() or sum(tally.tries for tally in kills.values()) >= options.kills:
            break
    wrong = table("killed", kills) + table("disk full", full)
    below = traced.kills(root / "traced", options.traced, late) if options.traced else Tally()
    if below is None:
        print("\nno kills below Python: there is no strace here")
    else:
        wrong += table("killed below Python", {"new run": below})
        print("\n".join(below.findings))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

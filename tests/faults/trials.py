"""A scenario, tried with a fault at each of its changes."""

import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.faults.changes import Act, Watch, full_from, keep, kill_before
from tests.faults.children import Ended, forked
from tests.faults.compare import State, differences, state_of
from tests.faults.scenarios import Place, Scenario


@dataclass
class Tally:
    """What became of the tries.

    Attributes:
        count: tries by outcome: recovered, changed, dead, broke.
        findings: what each that is not recovered was.
    """

    count: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    @property
    def tries(self) -> int:
        return sum(self.count.values())


class Trial:
    """A scenario in a place: what was there before, what comes out without a fault, and the changes on the way."""

    def __init__(self, scenario: Scenario, place: Place) -> None:
        self.scenario, self.place = scenario, place
        self.before = place.root / "before"
        place.make_inputs()
        self.reference: State = {}
        if scenario.reference is not None:
            self._clear()
            scenario.reference(place)
            self.reference = state_of(place.work)
        self._clear()
        scenario.prepare(place)
        self.was = state_of(place.work)
        shutil.copytree(place.work, self.before)
        self.changes = self._changes()
        if scenario.reference is None:
            self.reference = state_of(place.work)

    @property
    def points(self) -> list[int]:
        """The numbers of the changes; of many writes to one file in a row the first, the middle and the last."""
        found, row = list[int](), list[int]()
        for number, change in enumerate([*self.changes, ""], start=1):
            if row and change != self.changes[row[-1] - 1]:
                found += sorted({row[0], row[len(row) // 2], row[-1]})
                row = []
            row.append(number)
        return found

    def _clear(self) -> None:
        for folder in (self.before, self.place.work):
            shutil.rmtree(folder, ignore_errors=True)

    def put_back(self) -> None:
        """What was there before, and nothing else."""
        shutil.rmtree(self.place.work)
        shutil.copytree(self.before, self.place.work)

    def _changes(self) -> list[str]:
        """Start without a fault: what changes there are, in order."""
        listed = self.place.root / "changes"

        def count() -> int | None:
            seen: list[str] = []
            Watch(self.place.work, keep(seen))
            status = self.scenario.start(self.place)
            listed.write_text("\n".join(seen))
            return status

        ended = forked(count)
        assert ended.status == 0, ended.text
        return listed.read_text().replace(f"{self.place.work}/", "").splitlines()

    def start(self, act: Act) -> Ended:
        """Start what is interrupted, from what was there before."""
        self.put_back()

        def faulty() -> int | None:
            Watch(self.place.work, act)
            return self.scenario.start(self.place)

        return forked(faulty)

    def killed(self, number: int) -> tuple[str, str]:
        """The outcome of a kill before a change, and what went wrong."""
        ended = self.start(kill_before(number))
        survived = ended.signal != signal.SIGKILL
        return self.recovered(f"not killed: {ended.broke or ended.last_line}" if survived else "")

    def full(self, number: int) -> tuple[str, str]:
        """The outcome of a disk that is full from a change on."""
        return self.after_refusal(self.start(full_from(number)), "No space left on device")

    def after_refusal(self, ended: Ended, reason: str) -> tuple[str, str]:
        """The outcome of a system that refused to write: success or a `UserError` that says so, and recovery."""
        if ended.broke:
            self.recovered()
            return "broke", ended.broke
        if ended.status == 2 and reason not in ended.text:
            return "broke", f"says nothing of {reason!r}: {ended.last_line}"
        if ended.status == 2 and str(self.place.work) not in ended.text:
            return "broke", f"does not say what was being written: {ended.last_line}"
        return self.recovered()

    def recovered(self, wrong: str = "") -> tuple[str, str]:
        """Do what a user would do; the outcome, and what went wrong."""
        wrong = wrong or self._left()
        if wrong:
            return "broke", wrong
        said = []
        for action in self.scenario.recover:
            ended = forked(lambda action=action: action(self.place))
            if ended.broke:
                return "broke", f"afterwards: {ended.broke}"
            if ended.status == 0:
                other = differences(state_of(self.place.work), self.reference)
                return ("changed", other) if other else ("recovered", "")
            said.append(ended.last_line)
        return "dead", said[-1]

    def _checked(self) -> None:
        warnings.simplefilter("ignore")  # of a copy that is not yet what the weights beside it say
        print(self.scenario.check(self.place))

    def _left(self) -> str:
        """What is wrong with what the fault has left."""
        if self.scenario.whole:
            found = state_of(self.place.work)
            torn = [
                name
                for name, digest in found.items()
                if not name.rpartition("/")[2].startswith(".")
                and digest not in (self.was.get(name), self.reference.get(name))
            ]
            lost = [name for name in self.was if name not in found]
            if torn or lost:
                return f"torn or lost: {', '.join(torn + lost)}"
        wrong: list[str] = []
        ended = forked(self._checked)
        if ended.broke:
            wrong.append(f"reading what was left: {ended.broke}")
        return "; ".join(wrong) or ended.text.strip()


def tried(tally: Tally, name: str, attempt: Callable[[], tuple[str, str]]) -> str:
    """Count an attempt; what went wrong."""
    outcome, wrong = attempt()
    tally.count[outcome] += 1
    if wrong:
        tally.findings.append(f"{name}: {outcome}: {wrong}")
    return wrong

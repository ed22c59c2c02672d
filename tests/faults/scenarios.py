"""What is interrupted: a command or a call of Python that writes, what was there before, and what its user would do next.

All that is needed is imported here, so that a forked child imports nothing.
"""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import scud
import scud.cli.sample
import scud.cli.train
import scud.experiment
import scud.plots.curves
import scud.training.fit
from scud.cli import main
from scud.data import ArraysOptions, SequencesOptions, TextOptions
from scud.errors import UserError
from scud.networks import DiT
from scud.processes import Uniform
from tests.faults.changes import Watch, kill_before_rename
from tests.faults.children import forked
from tests.unit.sequences import random_fasta
from tests.unit.texts import some_text

STATES = 3
WIDTH = 16


@dataclass(frozen=True)
class Place:
    """Where a scenario happens, and its numbers.

    Attributes:
        root: a folder of its own; what is interrupted writes below `work`.
        seed: of the run.
        steps: how long a run trains.
        every: steps between validations, after each of which a checkpoint and the model are written.
    """

    root: Path
    seed: int = 0
    steps: int = 4
    every: int = 2

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def run(self) -> Path:
        return self.work / "run"

    @property
    def arrays(self) -> Path:
        return self.root / "arrays.npz"

    def make_inputs(self) -> None:
        """Files of data, the same whenever they are made."""
        self.root.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(0)
        train, valid = (random.integers(0, STATES, (count, 6), dtype=np.uint8) for count in (24, 6))
        np.savez(self.arrays, x_train=train, x_valid=valid)
        random_fasta(self.root / "some.fasta", 20, 5, 20)
        (self.root / "some.txt").write_text(some_text(100))

    def options(self, seed: int | None = None) -> list[str]:
        """The command that trains here."""
        values = {
            "data.train": self.arrays,
            "data.num-states": STATES,
            "network.width": WIDTH,
            "network.layers": 1,
            "network.heads": 2,
            "training.steps": self.steps,
            "training.batch-size": 8,
            "training.warmup": 2,
            "training.validate-every": self.every,
            "training.validation-repeats": 1,
            "seed": self.seed if seed is None else seed,
            "device": "cpu",
            "out": self.run,
        }
        return ["train", "arrays", *(f"--{name}={value}" for name, value in values.items())]


Action = Callable[[Place], int | None]


@dataclass(frozen=True)
class Scenario:
    """A way to write.

    Attributes:
        name: what to call it.
        prepare: makes what is there before; called outside the child.
        start: what is interrupted.
        recover: what a user would do afterwards, one after another until one is not refused.
        reference: makes the outcome that there must be in the end; what `start` makes by default.
        whole: whether each file must, at any moment, be as it was before or as it will be.
        check: looks at what the interruption has left; says what is wrong.
        brief: how many kills and full disks a test that always runs tries.
    """

    name: str
    prepare: Callable[[Place], None]
    start: Action
    recover: tuple[Action, ...]
    reference: Callable[[Place], None] | None = None
    whole: bool = False
    check: Callable[[Place], str] = lambda _: ""
    brief: tuple[int, int] = (1, 1)


def train(*more: str, seed: int = 0) -> Action:
    """`scud train` with further options; `seed` is added to the place's."""
    return lambda place: main([*place.options(place.seed + seed), *more])


def nothing(place: Place) -> None:
    place.work.mkdir(parents=True)


def finished(place: Place, seed: int = 0) -> None:
    """A run that is complete; it is made once for a place."""
    made = place.root / f"finished-{place.seed + seed}-{place.steps}-{place.every}"
    if not made.exists():
        nothing(place)
        ended = forked(lambda: train(seed=seed)(place))
        assert ended.status == 0, ended.text
        place.work.rename(made)
    shutil.copytree(made, place.work)


def other_finished(place: Place) -> None:
    """A run of another seed that is complete."""
    finished(place, seed=1)


def interrupted(place: Place) -> None:
    """A run that was killed between its two checkpoints."""
    nothing(place)

    def killed() -> int | None:
        Watch(place.work, kill_before_rename("last.ckpt", 2))
        return train()(place)

    assert forked(killed).signal == signal.SIGKILL


def without_model(place: Place) -> None:
    finished(place)
    (place.run / "model" / "model.safetensors").unlink()


def with_half_a_model(place: Place) -> None:
    finished(place)
    os.truncate(place.run / "model" / "model.safetensors", 1000)


def with_samples(place: Place) -> None:
    finished(place)
    ended = forked(lambda: sample(1)(place))
    assert ended.status == 0, ended.text


def sample(seed: int) -> Action:
    run = ["--num=3", "--steps=2", "--device=cpu", f"--seed={seed}", "--overwrite"]
    return lambda place: main(["sample", str(place.run), *run])


def read_sequences(place: Place) -> None:
    os.environ["SCUD_CACHE"] = str(place.work / "cache")
    data = SequencesOptions(train=place.root / "some.fasta", valid_share=0.3).read()
    print(len(data.split("train")))


def read_text(place: Place) -> None:
    os.environ["SCUD_CACHE"] = str(place.work / "cache")
    letters = " .abcehnstu\n"
    data = TextOptions(train=place.root / "some.txt", alphabet=letters, length=16).read()
    print(len(data.split("train")))


def fit(*, resume: bool = False, overwrite: bool = False) -> Action:
    """A run through Python."""

    def call(place: Place) -> None:
        data = ArraysOptions(train=place.arrays, num_states=STATES).read()
        scud.fit(
            *parts(place.seed),
            data,
            place.run,
            seed=place.seed,
            resume=resume,
            overwrite=overwrite,
            device="cpu",
            progress=False,
            steps=place.steps,
            batch_size=8,
            validate_every=place.every,
            validation_repeats=1,
        )

    return call


def parts(seed: int) -> tuple[scud.SCUD, DiT]:
    """A model and a network whose weights follow from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DiT(STATES, dims=(6,), width=WIDTH, layers=1, heads=2)
    p0 = torch.full((STATES,), 1 / STATES, dtype=torch.float64)
    return scud.SCUD(Uniform(STATES), p0=p0), network


def save(seed: int) -> Action:
    """A model that is saved through Python."""

    def call(place: Place) -> None:
        data = ArraysOptions(train=place.arrays, num_states=STATES).read()
        scud.save(place.run, *parts(place.seed + seed), data)

    return call


def saved(place: Place) -> None:
    nothing(place)
    ended = forked(lambda: save(1)(place))
    assert ended.status == 0, ended.text


def loads_one_of_two(place: Place) -> str:
    """A saved model is the one or the other, or is refused; never a mixture."""
    try:
        network = scud.load(place.run).network
    except UserError:
        return ""
    ours = network.state_dict()
    for seed in (0, 1):
        theirs = parts(place.seed + seed)[1].state_dict()
        if all(ours[name].equal(theirs[name]) for name in theirs):
            return ""
    return "a model that nobody saved"


def loads_or_refuses(place: Place) -> str:
    """A model in a run that was interrupted can be loaded, or is refused."""
    try:
        scud.load(place.run)
    except UserError:
        return ""
    return ""


_AGAIN = (train("--resume"), train(), train("--overwrite"))

SCENARIOS = (
    Scenario("new run", nothing, train(), _AGAIN, check=loads_or_refuses),
    Scenario(
        "new run, then --overwrite",
        nothing,
        train(),
        (train("--overwrite"), train()),
        check=loads_or_refuses,
        brief=(0, 0),
    ),
    Scenario(
        "--resume",
        interrupted,
        train("--resume"),
        _AGAIN,
        reference=finished,
        check=loads_or_refuses,
    ),
    Scenario(
        "--overwrite",
        other_finished,
        train("--overwrite"),
        (train("--resume"), train("--overwrite"), train()),
        check=loads_or_refuses,
    ),
    Scenario(
        "--resume without model",
        without_model,
        train("--resume"),
        _AGAIN,
        reference=finished,
        brief=(0, 0),
    ),
    Scenario(
        "--resume with half a model",
        with_half_a_model,
        train("--resume"),
        _AGAIN,
        reference=finished,
        brief=(0, 0),
    ),
    Scenario("read FASTA", nothing, read_sequences, (read_sequences,), brief=(3, 2)),
    Scenario("read text", nothing, read_text, (read_text,), brief=(3, 2)),
    Scenario(
        "sample over samples", with_samples, sample(2), (sample(2),), whole=True, brief=(2, 1)
    ),
    Scenario("scud.fit", nothing, fit(), (fit(resume=True), fit(), fit(overwrite=True))),
    Scenario(
        "scud.save over a model",
        saved,
        save(0),
        (save(0),),
        whole=True,
        check=loads_one_of_two,
        brief=(2, 1),
    ),
)

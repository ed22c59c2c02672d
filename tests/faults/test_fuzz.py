"""Whatever an input is, reading it gives a valid result or a `UserError`; `make fuzz MINUTES=60` tries many more."""

from functools import partial
from pathlib import Path

import pytest

from tests.faults.children import forked
from tests.faults.fuzz import input_of, outcome_of, put, run_batch, seed_files
from tests.faults.targets import TARGETS, Target

REFUSED = {"generator npz", "generator safetensors"}
"""Kinds that may be refused even where nothing is wrong with them."""


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_strange_input_is_read_or_refused(tmp_path: Path, target: Target) -> None:
    folder = tmp_path / "input"
    files = seed_files(target, folder)
    put(files, folder)
    whole = forked(lambda: print(outcome_of(lambda: target.read(folder)))).text.strip()
    assert whole == "valid" or (whole == "refused" and target.name in REFUSED)
    count = 1 if target.slow else 3
    outcomes = dict(run_batch(target, partial(input_of, target, files), range(count), folder))
    assert len(outcomes) == count
    found = {seed: found for seed, found in outcomes.items() if found not in ("valid", "refused")}
    assert found == {}


def test_what_takes_all_memory_is_found(tmp_path: Path) -> None:
    def read(folder: Path) -> object:
        return b"x" * (3 << 29) if (folder / "x").read_bytes() else None

    hungry = Target("hungry", lambda _: None, read)
    outcomes = dict(run_batch(hungry, lambda seed: {"x": b"1" * (seed == 1)}, range(3), tmp_path))
    assert outcomes == {0: "valid", 1: "more than 1 GB", 2: "valid"}


def test_an_exception_is_found_with_its_place() -> None:
    outcome = outcome_of(lambda: {}["x"])
    assert outcome.startswith("KeyError at ")
    assert outcome_of(lambda: None) == "valid"

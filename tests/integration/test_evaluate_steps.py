"""The bound of samples that are drawn in a few steps: by the command and from Python."""

import json
import math
from pathlib import Path

import pytest
import torch

import scud as library
from scud.data import Examples
from scud.errors import UserError
from scud.samplers import Ancestral
from tests.integration.conftest import Command


class Redraw(Ancestral):
    """A sampler of a user's own, whose bound nobody knows."""


def test_few_steps_have_a_bound_of_their_own(scud: Command, finished: Path) -> None:
    figures, errors = {}, {}
    for steps in (1, 4, 64):
        told = scud("evaluate", finished, f"--steps={steps}", "--repeats=8", "--device=cpu")
        assert told.status == 0, told.err
        assert f"on test, {steps} steps" in told.last_line
        found = json.loads((finished / f"evaluation-test-{steps}-steps.json").read_text())
        assert found["steps"] == steps
        figures[steps], errors[steps] = found["bits_per_dim"], found["bits_per_dim_error"]
    assert len(set(figures.values())) == 3
    assert scud("evaluate", finished, "--repeats=8", "--device=cpu").status == 0
    whole = json.loads((finished / "evaluation-test.json").read_text())
    assert whole["steps"] is None
    error = math.hypot(whole["bits_per_dim_error"], errors[64])
    assert whole["bits_per_dim"] == pytest.approx(figures[64], abs=6 * error)
    told = scud("evaluate", finished, "--steps=4", "--grid=information", "--device=cpu")
    assert told.status == 0
    other = json.loads((finished / "evaluation-test-4-steps-information.json").read_text())
    assert other["bits_per_dim"] != figures[4]
    assert other["repeats"] == 4, "each of which is of all four steps"


def test_from_python(finished: Path) -> None:
    run = library.load(finished)
    x = torch.randint(5, (10, 1, 4, 4), generator=torch.Generator().manual_seed(0))
    result = library.evaluate(run, x, sampler=Ancestral(steps=4), repeats=2)
    assert ", for samples drawn in 4 steps" in str(result)
    assert (
        result.bits_per_dim
        == library.evaluate(run, Examples(x), sampler=Ancestral(steps=4), repeats=2).bits_per_dim
    )
    with pytest.raises(
        UserError, match="sampler must be Ancestral, whose bound is known, got Redraw"
    ):
        library.evaluate(run, x, sampler=Redraw(steps=4))
    with pytest.raises(UserError, match=r"temperature must be 1 for a bound, got 0\.5"):
        library.evaluate(run, x, sampler=Ancestral(steps=4, temperature=0.5))


def test_what_makes_no_sense_is_refused(scud: Command, finished: Path) -> None:
    refused = {
        ("--grid=cosine",): "grid must be given with steps only",
        ("--steps=0",): "steps must be at least 1",
        ("--steps=2", "--grid=even"): "grid must be one of",
        ("--steps=2", "--samples", finished / "x.npz"): "steps must be left out with samples",
    }
    for options, message in refused.items():
        told = scud("evaluate", finished, "--device=cpu", *options)
        assert told.status == 2
        assert message in told.err
    assert not list(finished.glob("evaluation*"))

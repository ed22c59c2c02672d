"""Very short runs give the figures that they gave before, so that nobody changes a number unawares.

Figures were measured with version 0.1.0 on one thread, and take examples in its order. They hold for the options and data of
conftest.py, and say nothing of how good a model is. A change that means to change them replaces
them by those that a failing test shows, and says so.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import Command, without

RTOL = 1e-4

IN_METRICS = ("train_bits_per_dim", "valid_bits_per_dim", "gradient_norm")
"""Figures of the last step."""

IN_EVALUATION = ("bits_per_dim", "diffusion", "prior", "independent")
"""Figures of `scud evaluate` with --repeats 4, on the test split or else the validation split."""

SHORT = ["--training.steps=6", "--training.validate-every=3", "--training.learning-rate=0.001"]
"""Options of all. At a larger learning rate figures of images differ between processors: Adam makes
steps of full length of gradients that are rounding."""


@dataclass(frozen=True)
class Recorded:
    """A run and its figures.

    Attributes:
        recipe: what it starts from.
        options: beside those of conftest.py.
        metrics: IN_METRICS.
        evaluation: IN_EVALUATION.
    """

    recipe: str
    options: list[str]
    metrics: list[float]
    evaluation: list[float]


RECORDED = {
    "images-scud": Recorded(
        "images",
        ["--diffusion.kind=scud", "--diffusion.gamma=0.5", "--network.head=mixed"],
        metrics=[3.160197, 2.994676, 2.747195],
        evaluation=[2.532851, 28.055111, 0.03510898, 26.032078],
    ),
    "images-masking": Recorded(
        "images",
        ["--diffusion.kind=masking", "--schedule.kind=cosine"],
        metrics=[3.278935, 1.011994, 1.226619],
        evaluation=[2.348690, 26.047778, 3.211578e-05, 26.032078],
    ),
    "images-classical": Recorded(
        "images",
        ["--diffusion.kind=classical", "--training.accumulate=3"],
        metrics=[3.392696, 2.152547, 1.049060],
        evaluation=[2.333767, 25.847077, 0.03522558, 26.032078],
    ),
    "proteins-scud": Recorded(
        "proteins",
        ["--diffusion.kind=scud", "--training.infill-share=0.5"],
        metrics=[4.410486, 2.885361, 0.5826559],
        evaluation=[4.298495, 68.161521, 0.06879865, 68.862608],
    ),
    "proteins-classical": Recorded(
        "proteins",
        ["--diffusion.kind=classical", "--process.kind=uniform"],
        metrics=[4.304588, 2.992913, 0.4198568],
        evaluation=[4.330897, 68.676066, 0.06857195, 68.862608],
    ),
    "text-bytenet": Recorded(
        "text",
        ["--diffusion.kind=masking", "--network.kind=bytenet"],
        metrics=[4.499412, 2.017294, 1.032508],
        evaluation=[3.318219, 36.766554, 0.03366878, 33.668784],
    ),
    "text-dit": Recorded(
        "text",
        ["--process.kind=neighbour_graph", "--process.nearest=3", "--network.kind=dit"],
        metrics=[2.783776, 2.898591, 0.6480682],
        evaluation=[2.907745, 32.221793, 0.02613653, 33.668784],
    ),
}


@pytest.fixture
def given(recorded: Recorded, request: pytest.FixtureRequest) -> list[str]:
    """The options of conftest.py for a kind of data, but those of other kinds than are chosen; and its data."""
    if recorded.recipe == "images":
        tiny: list[str] = request.getfixturevalue("tiny")
        return without(tiny, "process.") if "--diffusion.kind=masking" in recorded.options else tiny
    options = {"proteins": "small", "text": "small_text"}[recorded.recipe]
    data = request.getfixturevalue(recorded.recipe)
    given: list[str] = request.getfixturevalue(options)
    if "--network.kind=dit" in recorded.options:
        given = without(given, "network.hidden")
    return [*given, f"--data.train={data}"]


@pytest.mark.parametrize("recorded", RECORDED.values(), ids=RECORDED)
@pytest.mark.usefixtures("old_order")
def test_a_run_gives_its_recorded_figures(
    scud: Command,
    given: list[str],
    tmp_path: Path,
    recorded: Recorded,
) -> None:
    run = tmp_path / "run"
    options = [*given, *recorded.options, *SHORT]
    trained = scud("train", recorded.recipe, *options, "--device=cpu", "--out", run)
    assert trained.status == 0, trained.err
    with (run / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    metrics = [float(last[name]) for name in IN_METRICS]

    evaluated = scud("evaluate", run, "--repeats=4", "--device=cpu")
    assert evaluated.status == 0, evaluated.err
    (written,) = run.glob("evaluation-*.json")
    figures = json.loads(written.read_text())
    evaluation = [figures[name] for name in IN_EVALUATION]

    assert metrics == pytest.approx(recorded.metrics, rel=RTOL)
    assert evaluation == pytest.approx(recorded.evaluation, rel=RTOL)

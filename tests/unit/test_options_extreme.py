"""Every option of every kind, with values that nobody means: refused with a rule, or used, but never a crash or a long wait."""

import time
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest
import torch

from scud.config import KINDS, changed, default_config
from scud.data import ArraysOptions, Data
from scud.errors import UserError
from scud.options import Options
from scud.training.options import ByExamples, ByPositions, ByRows

EXTREMES: list[Any] = [
    0,
    -1,
    1e-300,
    1e-16,
    1e-14,
    1e300,
    10**12,
    2**70,
    float("nan"),
    float("inf"),
    10**4000,
    "1" * 5000,
    "1e400",
]

STATES = torch.arange(60).reshape(12, 5) % 4
DATA = Data.of(STATES, STATES, num_states=4)
PICTURES = Data.of(
    STATES[:, :4].reshape(12, 1, 2, 2), STATES[:, :4].reshape(12, 1, 2, 2), num_states=4
)

BUILT = {kind: options for kind, options in KINDS.items() if kind != "data"}


def numeric(options: type[Options]) -> Iterator[str]:
    """The options that take a number."""
    hints = get_type_hints(options)
    for part in fields(options):
        hint = hints[part.name]
        if {int, float} & {hint, *get_args(hint)}:
            yield part.name


CASES = [
    (section, kind, name)
    for section, kinds in BUILT.items()
    for kind, options in kinds.items()
    for name in numeric(options)
]


def build(section: str, kind: str, name: str, value: Any) -> None:
    """All that a configuration with this value needs, for small data."""
    given = {f"{section}.kind": kind, f"{section}.{name}": value}
    if section == "network":
        given |= {f"network.{other}": 8 for other in ("width",) if other != name}
        given |= {"network.heads": 2} if kind == "dit" and name != "heads" else {}
    config = changed(default_config(ArraysOptions()), given)
    data = PICTURES if kind == "unet" else DATA
    if section == "network":
        config.network.build(data)
    elif section in ("process", "diffusion"):
        config.diffusion.build(data, config.process, config.schedule)


@pytest.mark.parametrize(("section", "kind", "name"), CASES, ids="-".join)
def test_extreme_values_of_parts(section: str, kind: str, name: str) -> None:
    for value in EXTREMES:
        start = time.perf_counter()
        try:
            build(section, kind, name, value)
        except UserError as error:
            assert len(str(error)) < 1000
            assert "\n" not in str(error)
        assert time.perf_counter() - start < 5, f"{value!r:.20}"


@pytest.mark.parametrize("training", [ByExamples, ByRows, ByPositions])
def test_extreme_values_of_training(training: type[Options]) -> None:
    config = default_config(ArraysOptions())
    for name in numeric(training):
        for value in EXTREMES:
            try:
                training(**{name: value}) if isinstance(value, int | float) else None
                changed(config, {f"training.{name}": value})
            except (UserError, TypeError) as error:
                assert len(str(error)) < 6000


@pytest.mark.parametrize("kind", KINDS["data"])
def test_extreme_values_of_data(kind: str) -> None:
    for name in numeric(KINDS["data"][kind]):
        for value in EXTREMES:
            try:
                changed(default_config(KINDS["data"][kind]()), {f"data.{name}": value})
            except UserError as error:
                assert len(str(error)) < 1000

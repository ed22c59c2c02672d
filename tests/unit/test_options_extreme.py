"""Every option of every kind, with values that nobody means: refused with a rule, or used, but never a crash or a long wait."""

import os
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from scud.config import KINDS, changed, default_config
from scud.data import ArraysOptions, Data
from scud.diffusion import SCUD
from scud.errors import UserError
from scud.networks import ByteNet, DiT, UNet
from scud.options import Options
from scud.processes import Dense, Gaussian, NeighbourGraph, Uniform
from scud.schedules import MutualInformation
from scud.training.options import ByExamples

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


@pytest.mark.parametrize(("section", "kind", "name"), CASES)
def test_extreme_values_of_parts(section: str, kind: str, name: str) -> None:
    for value in EXTREMES:
        start, said = time.perf_counter(), ""
        try:
            build(section, kind, name, value)
        except UserError as error:
            said = str(error)
        assert time.perf_counter() - start < 5, f"{value!r:.20}"
        assert len(said) < 1000
        assert "\n" not in said


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("data." + kind, name) for kind, each in KINDS["data"].items() for name in numeric(each)),
        *(("training", name) for name in numeric(ByExamples)),
    ],
)
def test_extreme_values_of_data_and_training(kind: str, name: str) -> None:
    section, _, data = kind.partition(".")
    for value in EXTREMES:
        said = ""
        try:
            changed(default_config(KINDS["data"][data or "arrays"]()), {f"{section}.{name}": value})
        except UserError as error:
            said = str(error)
        assert len(said) < 1000


@pytest.mark.parametrize("gamma", [1e-300, 1e-16, 1e-14, 1e-12, 1e-9])
def test_hardly_any_noise_for_an_event(gamma: float) -> None:
    """Is used, or refused with a range; noise that would never forget is not waited for."""
    rates = torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cut = torch.tensor([[0, 1, 0], [1, 0, 1e-200], [0, 1e-200, 0]], dtype=torch.float64)
    processes = [Uniform(4), Gaussian(4, 0.3), Dense(rates - rates.sum(1).diag())]
    for process in (*processes, Dense(cut - cut.sum(1).diag())):
        p0 = torch.full((process.num_states,), 1 / process.num_states, dtype=torch.float64)
        said = ""
        try:
            assert SCUD(process, gamma=gamma, p0=p0).prior_nats.isfinite().all()
        except UserError as error:
            said = str(error)
        assert said or gamma >= 1e-12
        if gamma < 1e-12:
            assert "gamma must lie in [1e-12, 1]" in said


def test_widest_noise_is_to_all_states_alike() -> None:
    widest = Gaussian(5, 1e300).generator()
    assert widest.equal(Gaussian(5, 1.7e308).generator())
    torch.testing.assert_close(widest * 4, Uniform(5).generator() * 4)


def test_what_cannot_fit_into_memory_says_how_much_it_takes() -> None:
    many = torch.zeros(1).expand(100_000, 100_000)
    with pytest.raises(UserError, match=r"num_states must be at most 2048 .* each takes 80\.0 GB"):
        Dense(many)
    with pytest.raises(UserError, match=r"at most 2048 for Gaussian noise.* each takes 80\.0 GB"):
        Gaussian(100_000)
    with pytest.raises(UserError, match=r"fit into memory.* got 10000000000000, .* 320\.0 TB"):
        Uniform(10**13)
    with pytest.raises(UserError, match=r"network must fit into memory.* 844\.5 TB"):
        DiT(5, width=2**20, heads=1)
    for build_one, said in (
        (lambda: ByteNet(5, hidden=2**20), "network must fit into memory"),
        (lambda: UNet(5, (1, 4, 4), width=2**20), "network must fit into memory"),
        (lambda: UNet(5, (1, 4, 4), blocks=10**6), "blocks must be at most 500"),
        (lambda: UNet(5, (1, 4, 4), levels=10**6), "levels must be at most 24"),
        (lambda: UNet(5, (1, 10**5, 10**5)), "have at most 1,048,576 positions"),
        (lambda: DiT(5, dims=(10**5, 10**5)), "have at most 1,048,576 positions"),
        (lambda: DiT(5, layers=10**6), "layers must be at most 1,000"),
        (lambda: ByteNet(5, num_labels=2**70), "num_labels must be at most"),
    ):
        with pytest.raises(UserError, match=said):
            build_one()


def test_a_graph_whose_jumps_are_too_rare_for_its_states(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbours = (torch.arange(600).unsqueeze(1) + 1) % 600
    p0 = torch.full((600,), 1 / 600, dtype=torch.float64)
    monkeypatch.setattr("scud.numerics.memory.memory", lambda: 10**6)
    with pytest.raises(UserError, match=r"the noise must fit into memory.* events of 600 states"):
        NeighbourGraph(neighbours, torch.ones(600, 1), p0, 0.01)


def test_a_curve_that_is_none() -> None:
    p0 = torch.full((4,), 0.25, dtype=torch.float64)
    curve = MutualInformation(Uniform(4), p0)
    good = torch.stack([curve.knots, curve.values, curve.slopes])
    assert MutualInformation(Uniform(4), p0, curve=good).knots.equal(curve.knots)
    for bad in (good[:2], good[:, :1], good.flip(1), good * torch.nan, good.long(), good[0]):
        with pytest.raises(UserError, match="curve must be knots and values that increase"):
            MutualInformation(Uniform(4), p0, curve=bad)


def test_a_file_of_rates_that_is_no_plain_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00")
    np.save(tmp_path / "of_texts.npy", np.array([["a"]]))
    for name in ("pipe", ".", "missing.npy", "cut.npy", "of_texts.npy"):
        with pytest.raises(UserError, match=r"process\.generator must"):
            KINDS["process"]["dense"](generator=tmp_path / name).build(DATA)


@pytest.mark.parametrize("name", ["data.train", "process.generator", "init_from"])
def test_paths_that_cannot_be_followed(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    config = changed(default_config(ArraysOptions()), {"process.kind": "dense"})
    for path in ("~nosuchuser/x", str(tmp_path / "loop" / "x"), "a\0b"):
        with pytest.raises(
            UserError, match=rf"{name} must (be a path that can be followed|name a home folder)"
        ):
            changed(config, {name: path})

"""Saved models that are damaged, torn apart or made up: named, before anything large is built of them."""

import json
import os
import stat
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import scud
from scud.data import Arrays, Sequences, Text, find_alphabet, find_tokenizer
from scud.diffusion import SCUD, Masking
from scud.errors import UserError
from scud.networks import ByteNet, DiT
from scud.processes import Gaussian, Uniform
from scud.runs import load_modality, load_start, save, saved_step
from scud.schedules import Linear
from tests.saved import rewrite, strip, update

P0 = torch.full((5,), 0.2, dtype=torch.float64)


def arrays(folder: Path, step: int | None = 3, **options: Any) -> None:
    """A small model of arrays."""
    torch.manual_seed(0)
    net = DiT(5, width=8, layers=1, heads=1, dims=(2, 2))
    save(
        folder,
        SCUD(Gaussian(5, 0.3), Linear(), p0=P0),
        net,
        Arrays(5, (2, 2)),
        step=step,
        **options,
    )


def proteins(folder: Path) -> None:
    p0 = torch.full((20,), 0.05, dtype=torch.float64)
    modality = Sequences(find_alphabet("protein"), torch.tensor([0, 0, 3]))
    scud.save(folder, Masking(20, p0=p0), ByteNet(20, width=8, layers=1), modality)


def text(folder: Path) -> None:
    p0 = torch.full((27,), 1 / 27, dtype=torch.float64)
    net = DiT(27, width=8, layers=1, heads=1)
    scud.save(
        folder, SCUD(Uniform(27), Linear(), p0=p0), net, Text(find_tokenizer("characters", None), 6)
    )


def refused(folder: Path) -> str:
    """What is said, at once, of a model that cannot be loaded."""
    said = ""
    for read in (scud.load, load_modality, lambda path: load_start(path, Arrays)):
        start = time.perf_counter()
        try:
            read(folder)
        except UserError as error:
            said = said or str(error)
        assert len(said) < 1200
        assert time.perf_counter() - start < 5
    assert said, "it was loaded"
    return said


def leaves(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a configuration stands."""
    if path:
        yield path
    named = values.items() if isinstance(values, dict) else ()
    for key, value in enumerate(values) if isinstance(values, list) else named:
        yield from leaves(value, (*path, key))


WRONG: list[Any] = [
    None,
    "x",
    -1,
    0,
    2**70,
    10**1000,
    1e300,
    1e-300,
    1.5,
    [],
    {},
    [[1]],
    True,
    10**9,
]


@pytest.mark.parametrize("kind", [arrays, proteins, text])
def test_every_entry_with_wrong_values(tmp_path: Path, kind: Any) -> None:
    """Is refused, or means something: what is loaded can be used."""
    kind(tmp_path)
    written = json.loads((tmp_path / "model" / "config.json").read_text())
    for number, path in enumerate(leaves(written)):
        for value in WRONG[number % 7 :: 7]:
            config = json.loads(json.dumps(written))
            inner = config
            for key in path[:-1]:
                inner = inner[key]
            if inner[path[-1]] == value:
                continue
            inner[path[-1]] = value
            rewrite(tmp_path, lambda _, config=config: json.dumps(config, indent=3))
            start = time.perf_counter()
            try:
                run = scud.load(tmp_path)
            except UserError:
                continue
            assert time.perf_counter() - start < 5, (path, value)
            assert run.modality.num_states == run.model.num_states, (path, value)


@pytest.mark.parametrize(
    ("part", "values"),
    [
        ("network", {"width": 10**9}),
        ("network", {"width": 20_000, "heads": 2}),
        ("network", {"layers": 1000}),
        ("network", {"layers": 10**6}),
        ("network", {"num_states": 10**9}),
        ("network", {"dims": [10**5, 10**5]}),
        ("network", {"dims": [4, 4]}),
        ("network", {"dims": [-1, 2]}),
        ("network", {"dims": "ab"}),
        ("network", {"dropout": "0"}),
        ("network", {"checkpointing": "no"}),
        ("network", {"kind": ["dit"]}),
        ("process", {"num_states": 10**5}),
        ("process", {"normalized": "no"}),
        ("process", {"bandwidth": True}),
        ("data", {"num_states": 6}),
        ("data", {"num_states": None}),
        ("data", {"dims": [2, 3]}),
        ("data", {"tensors": ["length_counts"]}),
        ("data", {"tensors": 5}),
        ("diffusion", {"gamma": "x"}),
        ("diffusion", {"gamma": 1e-300}),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, part: str, values: dict[str, Any]) -> None:
    arrays(tmp_path)
    update(tmp_path, lambda config: config[part].update(values))
    refused(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"alphabet": 5},
        {"alphabet": None},
        {"alphabet": ["A", "C"]},
        {"alphabet": "ACD"},
        {"alphabet": 1e300},
        {"tensors": []},
    ],
)
def test_data_of_sequences_that_are_wrong(tmp_path: Path, values: dict[str, Any]) -> None:
    proteins(tmp_path)
    update(tmp_path, lambda config: config["data"].update(values))
    refused(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        *({"length": length} for length in ("x", None, 10**9, 0, 1.5, True)),
        *({"tokens": tokens} for tokens in (None, 5, [1], {}, "characters")),
        *({"tokens": {"kind": "characters", "letters": letters}} for letters in ("ab", 256, None)),
    ],
)
def test_data_of_text_that_are_wrong(tmp_path: Path, values: dict[str, Any]) -> None:
    text(tmp_path)
    update(tmp_path, lambda config: config["data"].update(values))
    refused(tmp_path)


def test_a_flipped_bit_is_named_by_whatever_reads_the_model(tmp_path: Path) -> None:
    arrays(tmp_path)
    path = tmp_path / "model" / "model.safetensors"
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 20):
        damaged = bytearray(whole)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        assert "model must be complete, got damaged files" in refused(tmp_path)
        assert saved_step(tmp_path) is None
    path.write_bytes(whole)
    assert saved_step(tmp_path) == 3


def test_the_weights_alone_are_the_model(tmp_path: Path) -> None:
    arrays(tmp_path, digests={"train": "ab", "valid": "cd"})
    run = scud.load(tmp_path)
    assert run.digests == {"train": "ab", "valid": "cd"}
    copy = tmp_path / "model" / "config.json"
    for change in (copy.unlink, lambda: copy.write_text("{}"), lambda: copy.write_bytes(b"\xff")):
        change()
        with pytest.warns(UserWarning, match=r"config\.json is not what the weights beside it say"):
            again = scud.load(tmp_path)
        assert again.network.spec() == run.network.spec()
        assert saved_step(tmp_path) is None, "training writes both again"


def test_the_step_of_a_model(tmp_path: Path) -> None:
    assert saved_step(tmp_path) is None
    arrays(tmp_path, step=None)
    assert saved_step(tmp_path) is None
    arrays(tmp_path, step=0)
    assert saved_step(tmp_path) == 0
    strip(tmp_path)
    assert saved_step(tmp_path) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scud.load(tmp_path).digests == {}


def test_the_same_model_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        arrays(tmp_path / name)
    first, second = (
        (tmp_path / name / "model" / "model.safetensors").read_bytes() for name in "ab"
    )
    assert first == second


@pytest.mark.parametrize("old", [False, True], ids=["this version", "version 0.1.0"])
def test_a_kill_between_the_two_names_leaves_the_new_model_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    arrays(tmp_path, step=1)
    if old:
        strip(tmp_path)
    replace, renamed = Path.replace, []

    def killed(path: Path, target: Path) -> Path:
        renamed.append(Path(target).name)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        arrays(tmp_path, step=2)
    monkeypatch.undo()
    assert renamed == ["model.safetensors", "config.json"]
    assert saved_step(tmp_path) == 2
    assert scud.load(tmp_path).model.num_states == 5


def test_a_full_disk_leaves_the_model_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays(tmp_path, step=1)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(UserError, match="No space left on device"):
            arrays(tmp_path, step=2)
    assert saved_step(tmp_path) == 1
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_the_umask_says_who_may_read_a_model(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        arrays(tmp_path)
    finally:
        os.umask(before)
    for file in (tmp_path / "model").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_model_larger_than_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays(tmp_path)
    monkeypatch.setattr("scud.numerics.memory.memory", lambda: 1000)
    assert "model must fit into memory, which is 1,000 bytes" in refused(tmp_path)

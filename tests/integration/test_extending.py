"""What docs/extending.md shows is complete: each part from outside, and a command."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import scud as library
from scud.errors import UserError
from tests.integration.conftest import Command

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
CODE = "\n\n".join(re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))


@pytest.fixture
def extending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The code of the page as a module, in a folder where Python finds it."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "extending.py").write_text(CODE, encoding="utf-8")
    information = folder / "mine-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[scud.commands]\ncount = extending\n")
    monkeypatch.syspath_prepend(str(folder))
    module = __import__("extending")
    yield module
    del sys.modules["extending"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    random = np.random.default_rng(0)
    rows = [
        "abc"[a] + "," + "abc"[(a + b) % 3] + "," + "abc"[b]
        for a, b in random.integers(0, 3, (60, 2))
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


QUICK = [
    "--training.steps=2",
    "--training.validate-every=2",
    "--training.validation-repeats=1",
    "--training.batch-size=8",
]


def test_by_the_command_line(
    scud: Command, extending: ModuleType, table: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    kinds = [
        "--data.kind=extending:TableOptions",
        "--process.kind=extending:Ring",
        "--network.kind=extending:Wide",
    ]
    options = [f"--data.train={table}", "--process.pull=0.7", "--network.width=16", *QUICK]
    done = scud("train", *kinds, *options, "--out", run)
    assert done.status == 0, done.err
    assert "bits/dim" in done.last_line
    named = ["--process=extending:Ring", "--network=extending:Wide", "--modality=extending:Table"]
    assert (
        scud("sample", run, *named, "--num=5", "--sampler=extending:Redraw", "--steps=4").status
        == 0
    )
    assert len((run / "samples" / "samples.csv").read_text().splitlines()) == 5
    bound = scud("evaluate", run, *named, f"--data={table}", "--repeats=2")
    assert bound.status == 0, bound.err
    assert "bits/cell" in bound.last_line
    asked = ("evaluate", run, *named, "--samples", run / "samples" / "samples.csv")
    forgotten = scud(*asked)
    assert forgotten.status == 2
    assert "--data-kind extending:TableOptions to scud evaluate" in forgotten.err
    quality = scud(*asked, "--data-kind=extending:TableOptions")
    assert quality.status == 0, quality.err
    assert "5 rows" in quality.last_line
    again = scud("train", run / "config.yaml", *kinds, "--out", tmp_path / "again")
    assert again.status == 0, again.err
    ours, theirs = (
        library.load(folder, **classes(extending)) for folder in (run, tmp_path / "again")
    )
    assert all(
        a.equal(b)
        for a, b in zip(ours.network.parameters(), theirs.network.parameters(), strict=True)
    )
    assert isinstance(ours.model.process, extending.Ring)
    assert ours.model.process.pull == 0.7
    counted = scud("count", tmp_path / "labelled")
    assert counted.status == 2
    assert "must be a folder that exists" in counted.err


def classes(extending: ModuleType) -> dict[str, Any]:
    return {"process": extending.Ring, "network": extending.Wide, "modality": extending.Table}


def test_a_file_names_no_code(
    scud: Command, extending: ModuleType, table: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    kinds = ["--data.kind=extending:TableOptions", "--network.kind=extending:Wide"]
    assert scud("train", *kinds, f"--data.train={table}", *QUICK, "--out", run).status == 0
    del sys.modules["extending"]
    forgotten = scud("train", run / "config.yaml", "--out", tmp_path / "again")
    assert forgotten.status == 2
    assert "add --data.kind extending:TableOptions" in forgotten.err
    lacking = scud("sample", run)
    assert lacking.status == 2
    assert "network" in lacking.err
    assert "--network extending:Wide" in lacking.err
    assert "extending" not in sys.modules
    sys.modules["extending"] = extending


def test_in_python(extending: ModuleType, table: Path, tmp_path: Path) -> None:
    data = extending.TableOptions(train=table).read()
    model = library.SCUD(extending.Ring(3), p0=data.p0())
    network = extending.Wide(3, data.dims, width=16)
    seen = []
    run = library.fit(
        model,
        network,
        data,
        tmp_path / "run",
        objective=extending.hardest_half,
        callbacks=[seen.append],
        steps=2,
        batch_size=8,
        validate_every=2,
        validation_repeats=1,
        progress=False,
    )
    assert [row.step for row in seen] == [1, 2]
    loaded = library.load(tmp_path / "run", **classes(extending))
    x = library.sample(
        loaded, 4, sampler=extending.Redraw(steps=3), generator=torch.Generator().manual_seed(0)
    )
    y = library.sample(
        run, 4, sampler=extending.Redraw(steps=3), generator=torch.Generator().manual_seed(0)
    )
    assert x.equal(y)
    assert loaded.sample(2)[0][0] in "abc"
    with pytest.raises(
        UserError,
        match=r"network must be given, since this run's is a class of its own, extending:Wide",
    ):
        library.load(tmp_path / "run", process=extending.Ring, modality=extending.Table)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:Wide", "No module named 'nowhere'"),
        ("extending:Missing", "no attribute 'Missing'"),
        ("extending:hardest_half", "which is a function"),
        ("torch.nn:Linear", r"spec\(\)"),
    ],
)
@pytest.mark.usefixtures("extending")
def test_a_class_that_cannot_be_used(
    scud: Command, name: str, message: str, tmp_path: Path
) -> None:
    refused = scud("train", "digits", f"--network.kind={name}", "--out", tmp_path / "run")
    assert refused.status == 2
    assert "network.kind must name a class" in refused.err
    assert re.search(message, refused.err)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("extending")
def test_commands_of_other_packages(scud: Command, tiny: list[str], tmp_path: Path) -> None:
    assert "count" in scud("--help").out
    assert (
        scud("train", "images", *tiny, "--training.steps=1", "--out", tmp_path / "run").status == 0
    )
    counted = scud("count", tmp_path / "run")
    weights = library.load(tmp_path / "run").network.parameters()
    assert counted.last_line == str(sum(weight.numel() for weight in weights))


@pytest.mark.parametrize("line", re.findall(r"^scud .*$", PAGE, flags=re.MULTILINE))
@pytest.mark.usefixtures("extending")
def test_commands_shown_parse(
    line: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is understood up to its work, which is cut off here."""
    from scud import experiment, runs
    from scud.cli import main

    class ReachedError(Exception):
        pass

    def reached(*_: object, **__: object) -> None:
        raise ReachedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiment, "train", reached)
    monkeypatch.setattr(runs, "load", reached)
    assert table.name in line or "table.csv" not in line
    with pytest.raises(ReachedError):
        main(shlex.split(line)[1:])


def test_a_run_with_own_classes_is_started_from_and_replaced(
    scud: Command, extending: ModuleType, table: Path, tmp_path: Path
) -> None:
    kinds = [
        "--data.kind=extending:TableOptions",
        "--process.kind=extending:Ring",
        "--network.kind=extending:Wide",
    ]
    options = [f"--data.train={table}", *QUICK]
    first, second = tmp_path / "first", tmp_path / "second"
    assert scud("train", *kinds, *options, "--out", first).status == 0
    began = scud("train", *kinds, *options, "--init-from", first, "--out", second)
    assert began.status == 0, began.err
    plain = [kinds[0], kinds[2], "--process.kind=uniform"]
    replaced = scud("train", *plain, *options, "--init-from", second, "--out", first, "--overwrite")
    assert replaced.status == 0, replaced.err
    assert isinstance(
        library.load(first, **classes(extending) | {"process": None}).network, extending.Wide
    )

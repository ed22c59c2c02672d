"""The benchmarks run, in miniature, and measure what they say."""

import dataclasses
import gzip
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import sklearn.datasets
import torch
from benchmarks import (
    compiled,
    data_at_scale,
    digits_table,
    gamma_sweep,
    gpu,
    gradient_noise,
    images_table,
    many_states,
    proteins_table,
    runs,
    sampling_quality,
    text_table,
    timing,
)
from benchmarks.__main__ import main as tables_main
from benchmarks.report import Table, cell, write
from benchmarks.runs import Model, train_once

from scud.config import differences
from scud.data.images import quality as image_quality
from scud.diffusion import ClassicalOptions, MaskingOptions, SCUDOptions
from scud.errors import UserError
from scud.processes import UniformOptions
from scud.recipes import RECIPES
from tests.tools.memory import peak_of_forty_megabytes
from tests.unit.texts import ENTRIES, some_text

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
NOT_CORE = (
    "pydantic",
    "pytorch_lightning",
    "tyro",
    "matplotlib",
    "yaml",
    "rich",
    "sklearn",
    "Bio",
    "PIL",
    "safetensors",
)


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run Python in the repository's root, on one thread."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


digits = cache(sklearn.datasets.load_digits)


@pytest.fixture
def script(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the main function of a script of benchmarks in this process; what it printed.

    The digits are read once for all, and the classifier that judges them is not trained to the end.
    """
    monkeypatch.setattr(sklearn.datasets, "load_digits", digits)
    trained = partial(image_quality.train_classifier, steps=60)
    monkeypatch.setattr(sampling_quality, "train_classifier", trained)

    def run(main: Callable[[], None], *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["benchmarks", *map(str, arguments)])
        capfd.readouterr()
        main()
        return capfd.readouterr().out

    return run


def numbers(table: dict[str, list[dict[str, object]]], column: str) -> list[float]:
    return [float(str(row[column])) for row in table["rows"]]


def test_every_table_in_miniature(script: Callable[..., str], tmp_path: Path) -> None:
    script(tables_main, "--quick", "--threads", 1, "--out", tmp_path)
    report = json.loads((tmp_path / "bench.json").read_text())
    assert {"processor", "torch", "Python", "date", "threads", "seed"} <= report["machine"].keys()
    tables = report["tables"]
    assert list(tables) == [
        "step",
        "memory",
        "sampling",
        "overhead",
        "growth",
        "data",
        "proteins",
        "graph",
        "many-states",
        "many-states-parts",
        "peers",
    ]
    markdown = (tmp_path / "bench.md").read_text()
    assert all(f"## {name}" in markdown for name in tables)
    assert all(table["rows"] for name, table in tables.items() if name != "peers"), (
        "peers need not be installed"
    )
    for name in ("step", "sampling"):
        assert len(tables[name]["rows"]) == 6, "two numbers of states, three models"
        base, full, ratio = (
            numbers(tables[name], key) for key in ("network alone, s", "step, s", "step / alone")
        )
        assert np.allclose(np.divide(full, base), ratio)
    assert min(numbers(tables["growth"], "seconds")) > 0
    costs = {str(row["what"]): float(row["value"]) for row in tables["graph"]["rows"]}
    assert costs.keys() >= {"nearest neighbours, s", "information curve, s", "tables, MB"}
    assert 0 < costs["tables, MB"] < 600**2 * 8 / 1e6, "less than one dense matrix"
    base, full, ratio = (
        numbers(tables["many-states"], key) for key in ("masking, s", "step, s", "step / masking")
    )
    assert [row["model"] for row in tables["many-states"]["rows"]] == list(
        many_states.Scale.quick().models
    )
    assert np.allclose(np.divide(full, base), ratio)


def test_data_at_scale_in_miniature(script: Callable[..., str], tmp_path: Path) -> None:
    printed = script(data_at_scale.main, "--quick", "--folder", tmp_path, "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [tmp_path / "out"], "simulated files are gone"
    tables = json.loads((tmp_path / "out" / "data-at-scale.json").read_text())["tables"]
    kinds = list(data_at_scale.KINDS)
    assert [row["data"] for row in tables["data at scale"]["rows"]] == kinds
    for column in ("start-up, s", "median, ms", "mean, ms"):
        assert min(numbers(tables["data at scale"], column)) > 0
    assert len(tables["thread"]["rows"]) == len(kinds) * len(data_at_scale.STEPS)
    without, threaded, ratio = (
        numbers(tables["thread"], name)
        for name in ("without, batches/s", "with, batches/s", "with / without")
    )
    assert np.allclose(np.divide(threaded, without), ratio)
    assert "| sequences | 3,000 |" in printed


@pytest.mark.parametrize("kind", data_at_scale.KINDS)
def test_simulated_data_are_read_as_data_are(tmp_path: Path, kind: str) -> None:
    """Stores pass their checksums, and are not made again; batches are of the size that is said."""
    scale = data_at_scale.Scale.quick()
    made = data_at_scale.KINDS[kind]
    job = data_at_scale.begin(made, made.make(tmp_path, scale), 3)
    assert len(job.train) == made.count(scale) - (20 if kind == "text" else 0), "5% are held out"
    shapes = [portion.batch.x0.shape for portion in data_at_scale.Stream(job, 0)]
    if kind == "sequences":
        assert all(0.8 * 4096 < shape.numel() <= 4096 for shape in shapes)
    else:
        assert set(shapes) == {(64, 3, 32, 32) if kind == "images" else (32, 128)}


@pytest.mark.long
def test_the_gamma_sweep_in_miniature(script: Callable[..., str], tmp_path: Path) -> None:
    """Two steps of training; a second call trains nothing and prints the same table."""
    options = ("--seeds", 0, "--gammas", 0.5, "--train-steps", 2, "--repeats", 1, "--workers", 1)
    first, again = (script(gamma_sweep.main, "--folder", tmp_path, *options) for _ in range(2))
    rows = [line for line in first.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0] for row in rows] == [
        "| SCUD, gamma = 0.5",
        "| classical",
        "| masking",
    ]
    assert again == first
    assert (tmp_path / "gamma.png").is_file()
    assert (tmp_path / "scud-gaussian-gamma0.5-0" / "finished").is_file()


@pytest.mark.parametrize("row", images_table.ROWS)
def test_rows_of_images_differ_in_model_and_seed_alone(row: str, tmp_path: Path) -> None:
    table = images_table.Table(tmp_path / "x.npz", 17, tmp_path, 40, 1, 0, 1)
    recipe = RECIPES["fashion_mnist"]()
    config = images_table.configuration(table, row, 3)
    given = {"seed", "data.train", "data.num_states", "training.steps", "training.validate_every"}
    changed = set(differences(config, recipe))
    assert {
        name for name in changed if name.partition(".")[0] not in ("process", "diffusion")
    } == given
    assert (config.seed, config.data.num_states, config.training.steps) == (3, 17, 40)
    model, noise = {
        "SCUD, Gaussian": (SCUDOptions(), recipe.process),
        "SCUD, uniform": (SCUDOptions(), UniformOptions()),
        "masking": (MaskingOptions(), None),
        "classical, Gaussian": (ClassicalOptions(), recipe.process),
    }[row]
    assert (config.diffusion, config.process) == (model, noise)


def test_the_table_of_images_in_miniature(script: Callable[..., str], tmp_path: Path) -> None:
    """Two steps of training; what is in the table is not done again."""
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x_train=x[:30], x_valid=x[30:])
    options = (
        "--levels",
        5,
        "--steps",
        2,
        "--seeds",
        0,
        "--rows",
        "masking",
        "--samples",
        2,
        "--workers",
        1,
    )
    command = (images_table.main, tmp_path / "images.npz", *options, "--out", tmp_path / "out")
    first, again = script(*command), script(*command)
    assert "masking, 0," in first
    (row,) = runs.read_rows(tmp_path / "out" / "rows.csv", "model", "seed").values()
    assert math.log2(5) - 0.5 < float(row["bits"]) < math.log2(5) + 2
    assert (tmp_path / "out" / "masking-0.png").is_file()
    assert f"| masking | {float(row['bits']):.3f} |" in again
    assert "masking, 0," not in again
    with pytest.raises(UserError, match=r"must hold rows made with .* 3 steps"):
        script(*command, "--steps", 3)


def write_texts(folder: Path) -> None:
    """A few lines under the names that the tables of text expect, and a vocabulary with lists of neighbours."""
    for name, words in (("text27_train", 300), ("text27_valid", 200), ("kjv", 3000)):
        content = some_text(words).replace(".", "").replace("\n", " \n" if name == "kjv" else " ")
        (folder / f"{name}.txt.gz").write_bytes(gzip.compress(content.encode()))
    size = len(ENTRIES)
    index = (np.arange(size)[:, None] + np.arange(1, 11)) % size
    np.savez(
        folder / "bert30522_knn.npz",
        vocab=np.array("\n".join(ENTRIES)),
        knn_idx=index,
        knn_cos=np.full((size, 10), 0.5),
    )


@pytest.mark.parametrize("table", [pytest.param("characters", marks=pytest.mark.long), "words"])
def test_the_tables_of_text_in_miniature(
    script: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Two steps of training of a row; what is in the table is not done again."""
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(text_table, "SHOWN", 2)
    monkeypatch.setitem(
        text_table.ROWS, table, {"SCUD, graph": text_table.ROWS[table]["SCUD, graph"]}
    )
    write_texts(tmp_path)
    options = ("--steps", 2, "--seeds", 0, "--workers", 1, "--out", tmp_path / "out")
    first, again = (script(text_table.main, table, tmp_path, *options) for _ in range(2))
    assert "SCUD, graph,0," in (tmp_path / "out" / "rows.csv").read_text().replace('"', "")
    (row,) = runs.read_rows(tmp_path / "out" / "rows.csv", "model", "seed").values()
    figure, low, high = (float(row[name]) for name in ("figure", "low", "high"))
    assert 1 < low < figure < high
    assert float(row["bits_per_character"]) == figure or table == "words"
    drawn = (tmp_path / "out" / "scud-neighbour_graph-0.txt").read_text()
    assert drawn.count("\n----------\n") == 1
    assert f"| SCUD, graph | {figure:.3f} |" in again
    assert first.endswith(again[again.index("| model") :])


def test_sampling_quality_and_gradient_noise_in_miniature(
    script: Callable[..., str], tmp_path: Path
) -> None:
    """On a run on digits that was trained for two steps."""
    train_once(digits_table.configuration(Model("masking"), 0, 2), tmp_path / "masking-0")
    options = (
        "--calls",
        1,
        2,
        "--num",
        60,
        "--grids",
        "information",
        "power-2",
        "--workers",
        1,
        "--out",
        tmp_path / "out",
    )
    drawn = script(sampling_quality.main, tmp_path / "masking-0", *options)
    rows = runs.read_rows(tmp_path / "out" / "rows.csv", "grid", "calls")
    assert set(rows) == {
        (grid, calls) for grid in ("information", "power-2") for calls in ("1", "2")
    }
    floor = float(drawn.split("floor ")[1].split()[0])
    assert all(float(row["distance"]) > 2 * floor for row in rows.values()), (
        "untrained: far worse than training images"
    )
    names = ("quality-information", "quality-power-2", "grids-masking-0")
    assert all((tmp_path / "out" / f"{name}.png").is_file() for name in names)
    measured = script(gradient_noise.main, tmp_path / "masking-0", "--examples", 2)
    table = [line.split(" | ") for line in measured.split("| shares")[1].splitlines()[2:]]
    assert len(table) == 6
    for _, gradient, _, loss in table:
        assert float(gradient) >= 1
        assert float(loss.rstrip(" |")) >= 1, "the least possible is the least"


def test_gpu_script_in_miniature_with_the_core_alone(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x_train=x[:40], x_test=x[40:])
    # Nothing is compiled, and operations of one model are counted: the rest would take longer than all else.
    code = f"""
import itertools, runpy, sys, torch
sys.modules.update(dict.fromkeys({NOT_CORE}))
torch.compile = lambda network, **_: network
from benchmarks import starts
rows = starts.starts_rows
starts.starts_rows = lambda *given, **options: itertools.islice(rows(*given, **options), 1)
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""
    options = ("--data", tmp_path / "images.npz", "--out", tmp_path, "--device", "cpu", "--reduced")
    done = python("-c", code, *options)
    assert done.returncode == 0, done.stderr
    tables = json.loads((tmp_path / "gpu.json").read_text())["tables"]
    assert list(tables) == [
        "check",
        "step",
        "starts",
        "memory",
        "sampling",
        "training",
        "evaluation",
        "compiled",
    ]
    assert len(tables["check"]["rows"]) == 6, "two numbers of states, three models"
    assert tables["training"]["rows"]
    (row,) = tables["starts"]["rows"]
    assert row["training step"] > row["training, network alone"] > 100
    assert row["sampling step"] > row["sampling, network alone"] > 50
    assert row["waits"] == row["its waits"] == 0, "there is no device to wait for"
    (score,) = tables["evaluation"]["rows"]
    assert 7 < score["bits/dim"] < 12, (
        "pixels are uniform: eight bits, and a little for what was not learnt"
    )
    samples = np.load(tmp_path / "samples.npy")
    assert samples.shape == (4, 1, 8, 8)
    assert samples.dtype == np.uint8


def test_compiled_steps_in_miniature() -> None:
    torch.compiler.reset()
    network, whole = compiled.rows("masking", 2, quick=True)
    assert (network["compiled"], whole["compiled"]) == ("the network", "all behind the noise")
    assert float(str(whole["step / without"])) > 0


def test_draws_of_another_law_are_found() -> None:
    law = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    states = torch.multinomial(
        law, gpu.DRAWS, replacement=True, generator=torch.Generator().manual_seed(0)
    )
    assert gpu.largest_deviation(states, law) < gpu.TOLERANCES["noise, z"]
    assert (
        gpu.largest_deviation(states, torch.tensor([0.21, 0.29, 0.5], dtype=torch.float64))
        > gpu.TOLERANCES["noise, z"]
    )


def test_gpu_check_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """One number in a thousand off is noticed."""
    plan = dataclasses.replace(gpu.Plan().reduced(), checked=(17,))
    assert gpu.check_table(plan, CPU)[1] == []
    true = gpu.numbers

    def off(*arguments: object) -> dict[str, torch.Tensor]:
        found = true(*arguments)  # type: ignore[arg-type]
        return (
            found if arguments[-1] == torch.float64 else {**found, "bound": found["bound"] * 1.001}
        )

    monkeypatch.setattr(gpu, "numbers", off)
    wrong = gpu.check_table(plan, CPU)[1]
    assert len(wrong) == 3
    assert all("bound" in line for line in wrong)


def test_mistakes_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "training.npz", x_train=np.zeros((4, 8, 8), dtype=np.uint8))
    for main, options in (
        (tables_main, ["--pairs", "1"]),
        (gpu.main, ["--data", str(tmp_path / "no.npz"), "--out", str(tmp_path)]),
        (
            gpu.main,
            [
                "--data",
                str(tmp_path / "training.npz"),
                "--out",
                str(tmp_path),
                "--device=cpu",
                "--reduced",
            ],
        ),
        (proteins_table.main, ["globins", str(tmp_path), "--set", "seed.x=1"]),
    ):
        monkeypatch.setattr(sys, "argv", ["benchmarks", *options])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 2
        assert "must" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("average", "expected"), [(statistics.median, (2, 6, 3)), (statistics.mean, (3, 8, 8 / 3))]
)
def test_compare_alternates_and_takes_the_ratio_of_averages(
    monkeypatch: pytest.MonkeyPatch,
    average: Callable[[Sequence[float]], float],
    expected: tuple[float, ...],
) -> None:
    times = {"base": iter([1.0, 2.0, 6.0]), "full": iter([2.0, 6.0, 16.0])}
    order: list[str] = []

    def measured(work: timing.Work, _: torch.device, __: int) -> float:
        return next(times[str(work())])

    def named(name: str) -> timing.Work:
        def work() -> str:
            order.append(name)
            return name

        return work

    monkeypatch.setattr(timing, "seconds", measured)
    found = timing.compare(named("base"), named("full"), CPU, 3, 1, average)
    assert order == ["base", "full", "base", "full", "full", "base", "base", "full"], (
        "the first two warm up"
    )
    assert (found.base, found.full, found.ratio) == pytest.approx(expected)
    assert math.isclose(found.error, float(np.std([2, 3, 16 / 6], ddof=1)) / math.sqrt(3))


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="peak memory is known on Linux alone"
)
def test_peak_memory_is_that_of_the_work() -> None:
    """In a process of its own, as the tables measure it: one that has run other work may hold the memory already."""
    with timing.fresh_process() as call:
        assert 38e6 < call(peak_of_forty_megabytes) < 50e6


def test_report_keeps_what_is_not_known_out_of_json(tmp_path: Path) -> None:
    write(
        tmp_path,
        "report",
        {"seed": 0},
        [Table("name", "Text.", [{"x": math.nan, "y": 12.3456, "z": None}])],
    )
    assert json.loads((tmp_path / "report.json").read_text())["tables"]["name"]["rows"] == [
        {"x": None, "y": 12.3456, "z": None}
    ]
    assert "| n/a | 12.35 |  |" in (tmp_path / "report.md").read_text()
    assert cell(0.012345) == "0.0123"

"""Every option that --help lists has an effect: on data, model, network, batches or training.

What can be seen is looked at from the cheapest on, until something differs: two steps of
training are the last resort.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import scud
from scud import experiment, front
from scud.cli import main
from scud.config import KINDS, Config, changed
from scud.data import DATA
from scud.networks import dit
from scud.recipes import RECIPES
from scud.seeds import seeded
from scud.training import metrics
from scud.training.files import RunFolder
from scud.training.job import Job
from scud.training.module import DiffusionTraining
from scud.training.options import options_for
from scud.training.stream import Stream
from tests.unit.sequences import random_fasta
from tests.unit.texts import some_text, write_vocabulary

NETWORKS: dict[str, dict[str, Any]] = {
    "unet": {"width": 8, "blocks": 1, "levels": 1},
    "bytenet": {"width": 8, "layers": 2, "hidden": 4},
    "dit": {"width": 8, "layers": 1, "heads": 1},
}

TRAINING = {
    "steps": 2,
    "warmup": 0,
    "validate_every": 2,
    "validation_repeats": 1,
    "label_dropout": None,
    "decay": "constant",
}


@dataclass(frozen=True)
class Case:
    """An option, and another value of it.

    Attributes:
        value: the other value; a text FILE:name is a file of the folder of data.
        given: options that both have, by name; None leaves one of the usual options out.
        data: which kind of data is read.
    """

    value: Any
    given: dict[str, Any] = field(default_factory=dict)
    data: str = "images"


BLOSUM = {"process.kind": "blosum62"}
GAUSSIAN = {"process.kind": "gaussian", "process.bandwidth": 0.3}
GRAPH = {"process.kind": "neighbour_graph", "process.nearest": 3}
LABELLED = {"network.labels": True}


def of_images(kind: str, **options: Any) -> dict[str, Case]:
    """Options of data of images, or of text or arrays, that have files for all splits."""
    return {f"data.{kind}.{name}": Case(value, data=kind) for name, value in options.items()}


CASES = {
    "seed": Case(1),
    "init_from": Case("RUN"),
    **of_images(
        "images",
        train="FILE:other.npz",
        hub="nobody/nothing",
        valid="FILE:other.npz",
        test="FILE:other.npz",
        valid_share=0.5,
        num_states=7,
        flips=True,
    ),
    "data.images.labels": Case("FILE:names.csv", {"data.train": "FILE:pictures"}),
    **of_images(
        "sequences",
        train="FILE:other.fasta",
        valid="FILE:other.fasta",
        test="FILE:other.fasta",
        valid_share=0.5,
        alphabet="ACDEFGHIKLMNPQRSTVWYZ",
        min_length=20,
        max_length=20,
        labels="FILE:bins.tsv",
        label_field="bin",
    ),
    "data.sequences.long": Case("drop", {"data.max_length": 20}, "sequences"),
    **of_images(
        "text",
        train="FILE:other.txt",
        hub="nobody/nothing",
        valid="FILE:other.txt",
        test="FILE:other.txt",
        valid_share=0.5,
        alphabet=" .abcehnstuxyz",
        length=12,
    ),
    "data.text.tokens": Case(
        "FILE:vocab.txt", {"data.tokens": "bytes", "data.alphabet": None}, "text"
    ),
    **of_images(
        "arrays",
        train="FILE:other.npy",
        valid="FILE:other.npy",
        test="FILE:other.npy",
        valid_share=0.5,
        num_states=9,
    ),
    "process.gaussian.bandwidth": Case(0.6, GAUSSIAN),
    "process.gaussian.normalized": Case(True, GAUSSIAN),
    "process.blosum62.normalized": Case(False, BLOSUM, "sequences"),
    "process.blosum62.matrix": Case("BLOSUM45", BLOSUM, "sequences"),
    "process.blosum62.frequencies": Case("training", BLOSUM, "sequences"),
    "process.blosum62.sharpness": Case(0.5, BLOSUM, "sequences"),
    "process.dense.generator": Case(
        "FILE:slow.npy", {"process.kind": "dense", "process.generator": "FILE:fast.npy"}
    ),
    "process.neighbour_graph.bandwidth": Case(
        1.0, {**GRAPH, "process.neighbours": "FILE:letters.npy"}, "text"
    ),
    "process.neighbour_graph.neighbours": Case("FILE:letters.npy", GRAPH, "text"),
    "process.neighbour_graph.nearest": Case(4, GRAPH, "text"),
    "process.neighbour_graph.marginal_rate": Case(0.5, GRAPH, "text"),
    "diffusion.scud.gamma": Case(0.5),
    "diffusion.scud.t_max": Case(0.9),
    "diffusion.masking.t_max": Case(0.9, {"diffusion.kind": "masking"}),
    "diffusion.classical.t_max": Case(0.9, {"diffusion.kind": "classical"}),
    "network.unet.width": Case(16),
    "network.unet.blocks": Case(2),
    "network.unet.levels": Case(2),
    "network.unet.dropout": Case(0.5),
    "network.unet.head": Case("mixed", {"network.head": "categorical"}),
    "network.unet.labels": Case(True),
    "network.unet.preset": Case("0.6M"),
    "network.bytenet.width": Case(16, data="sequences"),
    "network.bytenet.layers": Case(1, data="sequences"),
    "network.bytenet.hidden": Case(8, data="sequences"),
    "network.bytenet.dropout": Case(0.5, data="sequences"),
    "network.bytenet.labels": Case(True, {"data.label_field": "bin"}, "sequences"),
    "network.bytenet.preset": Case("1M", data="sequences"),
    "network.dit.width": Case(16, data="text"),
    "network.dit.layers": Case(2, data="text"),
    "network.dit.heads": Case(2, data="text"),
    "network.dit.dropout": Case(0.5, data="text"),
    "network.dit.checkpointing": Case(True, data="text"),
    "network.dit.labels": Case(True, {"network.kind": "dit"}),
    "network.dit.preset": Case("tiny", data="text"),
    "objective.reconstruction.share": Case(0.2, {"objective.kind": "reconstruction"}),
    "training.steps": Case(1),
    "training.precision": Case("bfloat16"),
    "training.compile": Case(True),
    "training.accumulate": Case(2),
    "training.learning_rate": Case(0.1),
    "training.warmup": Case(5),
    "training.decay": Case("cosine"),
    "training.weight_decay": Case(0.5),
    "training.clip": Case(1e-3),
    "training.ema_decay": Case(0.1),
    "training.label_dropout": Case(0.9, LABELLED),
    "training.validate_every": Case(1),
    "training.validation_examples": Case(2),
    "training.validation_repeats": Case(2),
    "training.batch_size": Case(6),
    "training.batch_tokens": Case(200, data="sequences"),
    "training.infill_share": Case(1.0, data="text"),
    "training.infill_share of sequences": Case(1.0, data="sequences"),
}

HARDWARE = {"threads", "training.devices", "training.num_nodes", "training.strategy"}
"""Where a run computes, which is tested by itself: numbers need not depend on it."""

KINDS_OF = {
    "process": {
        "uniform": "images",
        "gaussian": "images",
        "blosum62": "sequences",
        "neighbour_graph": "text",
    },
    "schedule": {"mutual_information": "images", "linear": "images", "cosine": "images"},
    "diffusion": {"scud": "images", "masking": "images", "classical": "images"},
    "network": {"unet": "images", "dit": "images", "bytenet": "text"},
    "objective": {"bound": "images", "reconstruction": "images"},
}
"""The kinds of each section, with data that they suit: each is told from the one before it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind of data."""
    from PIL import Image

    path = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(0)
    for name in ("images", "other"):
        x = random.integers(0, 256, (24, 4, 4)).astype(np.uint8)
        np.savez(path / f"{name}.npz", x_train=x, y_train=np.arange(24) % 3)
    (path / "pictures").mkdir()
    for number in range(8):
        picture = random.integers(0, 256, (4, 4)).astype(np.uint8)
        Image.fromarray(picture).save(path / "pictures" / f"{number}.png")
    (path / "names.csv").write_text(
        "file,class\n" + "".join(f"{n}.png,c{n % 2}\n" for n in range(8))
    )
    for seed, name in enumerate(("sequences", "other")):
        random_fasta(path / f"{name}.fasta", 30, 8, 30, seed=seed)
    records = (path / "sequences.fasta").read_text().split(">")[1:]
    headers = [record.replace("\n", f" bin={n % 2}\n", 1) for n, record in enumerate(records)]
    (path / "sequences.fasta").write_text("".join(f">{record}" for record in headers))
    (path / "bins.tsv").write_text("name\tbin\n" + "".join(f"p{n}\t{n % 2}\n" for n in range(30)))
    (path / "text.txt").write_text(some_text(120))
    (path / "other.txt").write_text(some_text(120, seed=1))
    for name in ("arrays", "other"):
        np.save(path / f"{name}.npy", random.integers(0, 5, (24, 2, 3)))
    rates = random.random((5, 5))
    for name, speed in (("slow", 0.5), ("fast", 1.0)):
        np.save(
            path / f"{name}.npy",
            speed * (rates - np.diag(rates.sum(1))) * np.linspace(1, 1.5, 5)[:, None],
        )
    np.save(path / "letters.npy", random.normal(size=(11, 3)))
    write_vocabulary(path)
    return path


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(folder / "cache"))


def usual(data: str) -> dict[str, Any]:
    """Options of a small run on a kind of data."""
    files = {
        "images": "images.npz",
        "sequences": "sequences.fasta",
        "text": "text.txt",
        "arrays": "arrays.npy",
    }
    more: dict[str, dict[str, Any]] = {
        "images": {"data.num_states": 5, "process.kind": "uniform", "network.kind": "unet"},
        "sequences": {
            "process.kind": "uniform",
            "network.kind": "bytenet",
            "training.batch_tokens": 60,
        },
        "text": {"data.tokens": "characters", "data.alphabet": " .abcehnstu", "data.length": 8},
        "arrays": {},
    }
    batch = {} if data == "sequences" else {"training.batch_size": 4}
    train = {f"training.{name}": value for name, value in TRAINING.items()}
    return {
        "data.train": f"FILE:{files[data]}",
        "data.valid_share": 0.2,
        **more[data],
        **train,
        **batch,
    }


def config_of(data: str, folder: Path, values: dict[str, Any]) -> Config:
    """The configuration of a small run with these values."""
    together = {**usual(data), **values}
    config = RECIPES["proteins" if data == "sequences" else data]()
    network = together.get("network.kind", config.network.kind)
    small = {f"network.{name}": value for name, value in NETWORKS[network].items()}
    if "objective.kind" not in together:
        together["objective.kind"] = "bound"
    if together.get("diffusion.kind") == "masking":
        del together["process.kind"]
    if "network.preset" in together:
        small = {}
    if "data.hub" in together:
        del together["data.train"]
    for name, value in together.items():
        if isinstance(value, str) and value.startswith("FILE:"):
            together[name] = str(folder / value.removeprefix("FILE:"))
    return changed(config, {**small, **together})


Seen = Iterator[tuple[str, Any]]


def seen(config: Config, folder: Path) -> Seen:
    """What a run is made of and what comes of it, cheap things first; each with its name."""
    try:
        prepared = experiment.prepare(config)
    except HubError as asked:
        yield "data", str(asked)
        return
    data, model, network = prepared.data, prepared.model, prepared.network
    yield "report", [data.report, data.label_names, data.num_states]
    yield (
        "splits",
        {name: (len(part), part.batch(torch.arange(2)).x0) for name, part in data.splits.items()},
    )
    yield "p0", model.p0
    times = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    yield (
        "model",
        [type(model).__name__, getattr(model, "prior_nats", None), model.schedule.tau(times)],
    )
    process = getattr(model, "process", None)
    yield "process", None if process is None else process.generator()
    x0 = data.split("train").batch(torch.arange(2)).x0
    yield "noise", model.noise(x0, torch.tensor([0.5, 0.5], dtype=torch.float64), seeded(0, 1))
    job = front.job_of(model, network, data, config.training, config.objective.build(), config.seed)
    if config.init_from is not None:
        experiment.start_from(config.init_from, prepared, job)
    yield "weights", network.state_dict()
    portions = list(Stream(job, 0))
    yield "batches", [(part.batch.x0, part.batch.known, part.batch.label) for part in portions]
    yield "validation", len(job.valid)
    yield from trained(job, data, folder)


def trained(job: Job, data: scud.Data, folder: Path) -> Seen:
    """What comes of training."""
    compiled: list[bool] = []
    built = DiffusionTraining.__init__

    def record(module: DiffusionTraining, *arguments: Any) -> None:
        built(module, *arguments)
        compiled.append(module.network._compiled_call_impl is not None)

    recomputed: list[int] = []
    checkpoint = dit.checkpoint

    def again(*arguments: Any, **options: Any) -> Any:
        recomputed.append(1)
        return checkpoint(*arguments, **options)

    out = RunFolder(folder / "run")
    out.path.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiffusionTraining, "__init__", record)
        patch.setattr(dit, "checkpoint", again)
        patch.setattr(torch, "compile", lambda call, **_: call)
        run = front.train_job(job, data, out, device=torch.device("cpu"), progress=False)
    yield "compiled", compiled
    yield "recomputed", len(recomputed)
    rows = [
        (
            row.step,
            row.train_bits_per_dim,
            row.valid_bits_per_dim,
            row.learning_rate,
            row.gradient_norm,
        )
        for row in metrics.read(out.metrics)
    ]
    yield "metrics", rows
    yield "average", run.network.state_dict()


class HubError(Exception):
    """The hub is asked for a data set."""


def same(one: Any, other: Any) -> bool:
    """Whether two things seen are equal."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if hasattr(one, "x_t") and hasattr(other, "x_t"):
        return same((one.x_t, one.s), (other.x_t, other.s))
    return bool(type(one) is type(other) and one == other)


def difference(one: Config, other: Config, folder: Path) -> str | None:
    """The name of the first thing seen in which two configurations differ."""
    pairs = zip(seen(one, folder / "one"), seen(other, folder / "other"), strict=False)
    for (first_name, first), (second_name, second) in pairs:
        if first_name != second_name or not same(first, second):
            return second_name
    return None


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is not asked: that it would be is what is seen."""
    from scud.data.images import load as images
    from scud.data.text import load as text

    def ask(name: str) -> None:
        raise HubError(name)

    monkeypatch.setattr(images, "read_hub", ask)
    monkeypatch.setattr(text, "hub_tables", ask)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("name", CASES)
def test_an_option_has_an_effect(name: str, folder: Path, tmp_path: Path) -> None:
    case = CASES[name]
    parts = name.split(" ")[0].split(".")
    option = ".".join([parts[0], parts[-1]]) if len(parts) > 1 else name
    given = dict(case.given)
    value = case.value
    if value == "RUN":
        value = tmp_path / "start"
        other = experiment.prepare(config_of(case.data, folder, {"seed": 5}))
        scud.save(value, other.model, other.network, other.data)
    base = config_of(case.data, folder, given)
    with_it = config_of(case.data, folder, {**given, option: value})
    assert scud.config.differences(base, with_it), "the value is another one"
    if len(parts) == 3 and parts[0] != "data":
        assert getattr(with_it, parts[0]).kind == parts[1]
    assert difference(base, with_it, tmp_path) is not None


@pytest.mark.parametrize("data", ["images", "sequences", "text", "arrays"])
def test_the_same_options_show_no_difference(data: str, folder: Path, tmp_path: Path) -> None:
    config = config_of(data, folder, {})
    assert difference(config, config, tmp_path) is None


@pytest.mark.parametrize(
    ("section", "one", "other"),
    [
        (section, one, other)
        for section, kinds in KINDS_OF.items()
        for one, other in zip(kinds, list(kinds)[1:], strict=False)
    ],
)
def test_a_kind_has_an_effect(
    section: str, one: str, other: str, folder: Path, tmp_path: Path
) -> None:
    data = KINDS_OF[section][other]
    first = "uniform" if section == "process" else "dit" if other == "bytenet" else one
    graph = {"process.nearest": 3} if other == "neighbour_graph" else {}
    base, with_it = (
        config_of(data, folder, {f"{section}.kind": kind, **more})
        for kind, more in ((first, {}), (other, graph))
    )
    assert difference(base, with_it, tmp_path) is not None


def listed() -> set[str]:
    """Every option that --help lists for some kinds, as the table names it."""
    names = {"seed", "init_from", "threads"}
    for section, kinds in KINDS.items():
        for kind, options in kinds.items():
            names |= {
                f"{section}.{kind}.{part.name}" for part in fields(options) if part.name != "kind"
            }
            names |= {f"{section}.{kind}.preset"} if hasattr(options, "presets") else set()
    for kind in DATA.values():
        names |= {f"training.{part.name}" for part in fields(options_for(kind.modality))}
    return names


def test_the_table_has_every_option() -> None:
    assert {name.split(" ")[0] for name in CASES} | HARDWARE == listed()
    for section, kinds in KINDS_OF.items():
        assert {*kinds, "dense"} == {*KINDS[section], "dense"}


@pytest.mark.parametrize("recipe", ["digits", "images", "proteins", "text", "arrays"])
def test_help_lists_nothing_else(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What --help shows beside kinds is in the table, and is what the kinds of the recipe have."""
    with pytest.raises(SystemExit):
        main(["train", recipe, "--help"])
    shown = re.findall(
        r"^[│ ]*--([a-z]+\.[a-z-]+|seed|init-from|threads) ", capsys.readouterr().out, re.MULTILINE
    )
    assert len(shown) > 20
    config = RECIPES[recipe]()
    assert {"seed", "init-from", "threads"} <= set(shown)
    tabled = {name.split(" ")[0] for name in CASES} | HARDWARE
    for name in shown:
        section, _, option = name.replace("-", "_").partition(".")
        kind = getattr(getattr(config, section), "kind", "")
        parts = [section, kind, option] if section in KINDS else [section, option]
        assert option == "kind" or ".".join(part for part in parts if part) in tabled

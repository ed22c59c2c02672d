"""The front door: fit with tensors, a plain network, an objective and watchers of one's own."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor, nn

import scud
from scud.data import Data
from scud.diffusion.objectives import Bound, Draw, Reconstruction
from scud.errors import UserError
from scud.networks import DiT
from scud.training import checkpoint
from scud.training.metrics import Metrics
from tests.unit.front import (
    DATA,
    DIMS,
    LABELLED,
    MODELS,
    SHORT,
    B,
    Plain,
    fit,
    fit_told,
    network,
    rows,
    same,
    states,
)


@pytest.mark.parametrize("kind", MODELS)
def test_a_few_steps(tmp_path: Path, kind: str) -> None:
    """The folder holds what is needed to look at, resume and load the run."""
    run = fit(tmp_path / "run", kind)
    assert isinstance(run, scud.Run)
    assert not run.network.training
    assert not any(value.requires_grad for value in run.network.parameters())
    assert (run.folder, run.label_names, run.modality) == (tmp_path / "run", (), DATA.modality)
    files = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*.*")}
    assert files >= {
        *("fit.json", "metrics.csv", "checkpoints/last.ckpt", "checkpoints/best.ckpt"),
        *("model/config.json", "model/model.safetensors"),
    }
    header, *steps = rows(tmp_path / "run")
    assert header == [
        "step",
        "train_bits_per_dim",
        "valid_bits_per_dim",
        "learning_rate",
        "gradient_norm",
        "valid_bits_per_dim_error",
    ]
    assert [row[0] for row in steps] == list("123456")
    assert [bool(row[2]) for row in steps] == [False, False, True, False, False, True]
    loaded = scud.load(tmp_path / "run", network=Plain)
    assert same(run, loaded)
    assert loaded.modality.dims == DIMS


def test_training_learns(tmp_path: Path) -> None:
    """The law of single positions is all that this network can learn."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        far = Plain()
    nn.init.normal_(far.out.bias, std=3.0, generator=torch.Generator().manual_seed(0))
    model = scud.Masking(B, p0=DATA.p0())
    before = scud.evaluate((model, far), DATA.split("valid"))
    options = {"steps": 150, "learning_rate": 0.05, "warmup": 5, "batch_size": 30, "ema_decay": 0.9}
    run = scud.fit(
        model,
        far,
        DATA,
        tmp_path / "run",
        device="cpu",
        progress=False,
        weight_decay=0.0,
        **options,
    )
    after = scud.evaluate(run, DATA.split("valid"))
    assert after.bits_per_dim < before.bits_per_dim - 0.2
    law = torch.tensor([0.5, 0.25, 0.125, 0.075, 0.05]).double()
    entropy = -float((law * law.log2()).sum())
    assert after.bits_per_dim == pytest.approx(entropy, abs=0.25)


def test_runs_are_a_function_of_the_seed(tmp_path: Path) -> None:
    one, again, other = (
        fit(tmp_path / str(place), seed=seed) for place, seed in enumerate([0, 0, 1])
    )
    assert same(one, again)
    assert rows(tmp_path / "0") == rows(tmp_path / "1") != rows(tmp_path / "2")
    assert not same(one, other)


class CutShortError(Exception):
    """Stands for whatever cuts a run short."""


def stop_at(step: int) -> Any:
    def stop(row: Metrics) -> None:
        if row.step == step:
            raise CutShortError

    return stop


@pytest.mark.parametrize("kind", MODELS)
def test_a_resumed_run_goes_on_bit_for_bit(tmp_path: Path, kind: str) -> None:
    whole = fit(tmp_path / "whole", kind)
    with pytest.raises(CutShortError):
        fit(tmp_path / "cut", kind, callbacks=[stop_at(5)])
    resumed = fit(tmp_path / "cut", kind, resume=True)
    assert same(whole, resumed)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_a_run_cut_short_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole")
    with pytest.raises(CutShortError):
        fit(tmp_path / "cut", callbacks=[stop_at(1)])
    assert same(whole, fit(tmp_path / "cut", resume=True))


def test_a_run_that_lost_its_checkpoint_is_not_resumed(tmp_path: Path) -> None:
    run = fit(tmp_path)
    (tmp_path / "checkpoints" / "last.ckpt").unlink()
    with pytest.raises(UserError, match=r"checkpoint must exist, got .*last\.ckpt"):
        fit(tmp_path, resume=True)
    assert same(run, scud.load(tmp_path, network=Plain))


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    run = fit(tmp_path)
    before = rows(tmp_path)
    assert same(run, fit(tmp_path, resume=True))
    assert rows(tmp_path) == before


def test_training_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    torch.manual_seed(4)
    state = torch.get_rng_state()
    fit(tmp_path)
    assert torch.get_rng_state().equal(state)


def test_overwriting_replaces_a_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    fit(folder)
    (folder / "notes.txt").write_text("mine")
    again = fit(folder, overwrite=True, steps=2, seed=3)
    assert len(rows(folder)) == 3
    assert same(again, fit(tmp_path / "other", steps=2, seed=3))
    assert json.loads((folder / "fit.json").read_text())["seed"] == 3
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    run = fit(tmp_path / "run")
    before = rows(tmp_path / "run")
    with pytest.raises(UserError, match="not hold a run already"):
        fit(tmp_path / "run")
    with pytest.raises(UserError, match="not be given together"):
        fit(tmp_path / "run", resume=True, overwrite=True)
    for options in ({"steps": 7}, {"seed": 1}, {"objective": Reconstruction()}):
        with pytest.raises(
            UserError, match=r"a resumed run must keep its options, got another \w+"
        ):
            fit(tmp_path / "run", resume=True, **options)
    assert rows(tmp_path / "run") == before
    assert same(run, scud.load(tmp_path / "run", network=Plain))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("mine")
    for options in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(UserError, match=r"be empty or hold a run, got .* with other files"):
            fit(tmp_path / "own", **options)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="hold a run to resume"):
        fit(tmp_path / "nowhere", resume=True)
    for damaged in ("{", "[3]", "null"):
        (tmp_path / "run" / "fit.json").write_text(damaged)
        with pytest.raises(UserError, match=r"fit\.json must (be JSON|hold an object of JSON)"):
            fit(tmp_path / "run", resume=True)


def test_other_data_do_not_continue_a_run(tmp_path: Path) -> None:
    fit(tmp_path)
    other = Data.of(states(60, 7), states(20, 8), num_states=B)
    with pytest.raises(UserError, match="data must be those that the run was trained on"):
        scud.fit(
            MODELS["masking"](other.p0()),
            network(),
            other,
            tmp_path,
            resume=True,
            device="cpu",
            **SHORT,
        )


class Notes(Logger):
    """A logger that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int | None, dict[str, float]]] = []

    @property
    def name(self) -> str:
        return "notes"

    @property
    def version(self) -> int:
        return 0

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """There are none."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.rows.append((step, dict(metrics)))


class Counter(pl.Callback):
    """One of Lightning's callbacks."""

    def __init__(self) -> None:
        self.batches = 0

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.batches += 1


def test_callbacks_and_loggers_get_the_metrics_of_every_step(tmp_path: Path) -> None:
    seen, logger, counter = list[Metrics](), Notes(), Counter()
    fit(tmp_path, callbacks=[seen.append, counter], loggers=[logger], accumulate=2)
    assert [row.step for row in seen] == [1, 2, 3, 4, 5, 6]
    assert counter.batches == 12
    assert [step for step, _ in logger.rows] == [1, 2, 3, 4, 5, 6]
    for row, (_, values) in zip(seen, logger.rows, strict=True):
        assert values["train_bits_per_dim"] == row.train_bits_per_dim
        assert values.get("valid_bits_per_dim") == row.valid_bits_per_dim
        assert (values["learning_rate"], values["gradient_norm"]) == (
            row.learning_rate,
            row.gradient_norm,
        )
        assert "step" not in values
    with (tmp_path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        written = [float(row["train_bits_per_dim"]) for row in csv.DictReader(file)]
    assert written == [row.train_bits_per_dim for row in seen]


def halved(_: scud.Diffusion, draw: Draw) -> Tensor:
    """Half of the bound."""
    return draw.diffusion / 2


def test_an_objective_of_ones_own(tmp_path: Path) -> None:
    """Half of the bound has half of its gradient; metrics show the bound itself."""
    bound, half = (fit(tmp_path / name, objective=objective, steps=1) for name, objective in
                   (("bound", Bound()), ("half", halved)))  # fmt: skip
    one, other = rows(tmp_path / "bound")[1], rows(tmp_path / "half")[1]
    assert one[1] == other[1]
    assert float(other[4]) == pytest.approx(float(one[4]) / 2, rel=1e-5)
    assert json.loads((tmp_path / "half" / "fit.json").read_text())["objective"] == "halved"
    assert json.loads((tmp_path / "bound" / "fit.json").read_text())["objective"] == {
        "kind": "bound"
    }
    assert isinstance(bound, scud.Run)
    assert isinstance(half, scud.Run)
    with pytest.raises(
        UserError, match="a resumed run must keep its options, got another objective"
    ):
        fit(tmp_path / "half", steps=1, resume=True)


def test_an_objective_that_averages_is_refused(tmp_path: Path) -> None:
    rule = r"objective must return nats per example, of shape \[8\], got \[\]; sum over"
    with pytest.raises(UserError, match=rule):
        fit(tmp_path, objective=lambda _, draw: draw.diffusion.mean())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"step": 5},
            "step must be an option of training on arrays, got none; .* has steps, precision",
        ),
        ({"batch_tokens": 5}, "batch_tokens must be an option of training on arrays"),
        (
            {"infill_share": 0.5, "flips": True},
            "infill_share, flips must be an option of training on",
        ),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"ema_decay": 1.0}, r"ema_decay must lie in \[0, 1\)"),
        (
            {"precision": "float16"},
            "precision must be one of bfloat16, bfloat16-true, float32, got 'float16'",
        ),
        ({"accumulate": 3}, r"batch_size must be divisible by .* \(3\), got 10"),
        (
            {"label_dropout": 0.1},
            "label_dropout must be left out for a network that reads no labels",
        ),
        ({"device": "tpu"}, "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
    ],
)
def test_options_that_will_not_do_are_told_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        fit(tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["steps", "batch_size", "warmup", "validate_every"])
@pytest.mark.parametrize("value", ["6", 6.5, None, True])
def test_counts_are_whole_numbers(tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(TypeError, match=rf"{name} must be a( whole)? number, got"):
        fit(tmp_path / "run", **{name: value})
    assert not (tmp_path / "run").exists()


class NoSpec(Plain):
    """A network that cannot be saved."""

    spec = None  # type: ignore[assignment]


def test_parts_that_do_not_fit_are_told_before_anything_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    many = scud.Masking(7, p0=torch.full((7,), 1 / 7).double())
    with pytest.raises(
        UserError, match="model must have the 5 states of the data, got 7; build the"
    ):
        scud.fit(many, Plain(7), DATA, folder, device="cpu")
    model = MODELS["masking"](DATA.p0())
    with pytest.raises(UserError, match=r"network must have a spec\(\)"):
        scud.fit(model, NoSpec(), DATA, folder, device="cpu")
    labelled = DiT(B, width=16, layers=1, heads=2, dims=DIMS, num_labels=3)
    for data, count in ((LABELLED, 2), (DATA, 0)):
        with pytest.raises(UserError, match=f"network must read the {count} labels of the data"):
            scud.fit(model, labelled, data, folder, device="cpu")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("names", "label", "found"),
    [
        (["odd", "even"], torch.arange(60) % 2, "another order, odd, even"),
        (["even", "rare"], torch.arange(60) % 2, "rare, which it does not know and no odd"),
        (["even", "odd"], torch.arange(60) % 3 % 2, "other numbers of examples of 2 of 2 labels"),
    ],
)
def test_other_labels_do_not_continue_a_run(
    tmp_path: Path, names: list[str], label: Tensor, found: str
) -> None:
    fit_told(tmp_path)
    saved = checkpoint.read(tmp_path / "checkpoints" / "last.ckpt")
    assert (saved.labels, saved.label_counts) == (["even", "odd"], [30, 30])
    other = Data.of(
        states(60, 0), states(20, 1), num_states=B, label=label, label_names=names, name="other"
    )
    message = f"labels must be those that the run was trained on, got {found}; restore the table"
    with pytest.raises(UserError, match=message):
        fit_told(tmp_path, other, resume=True)


def test_a_finished_run_can_be_resumed_again_with_the_same_network(tmp_path: Path) -> None:
    """Its weights stay trainable."""
    model, net = MODELS["masking"](DATA.p0()), network()
    runs = [
        scud.fit(
            model, net, DATA, tmp_path / "run", device="cpu", progress=False, resume=again, **SHORT
        )
        for again in (False, True, True)
    ]
    assert all(weight.requires_grad for weight in net.parameters())
    assert same(runs[0], runs[2])

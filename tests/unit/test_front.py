"""The front door: fit, evaluate and sample with tensors and a plain network."""

import csv
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers.logger import Logger
from torch import Tensor, nn

import scud
from scud.data import Data, Examples
from scud.diffusion.objectives import Bound, Draw, Reconstruction
from scud.errors import UserError
from scud.networks import DiT
from scud.processes import Uniform
from scud.samplers import Ancestral
from scud.schedules import Linear
from scud.training import checkpoint
from scud.training.metrics import Metrics
from scud.typing import Batch, Conditioning, Given

B, DIMS = 5, (3, 2)


class Plain(nn.Module):
    """An embedding and a layer; knows nothing of its neighbours."""

    def __init__(self, num_states: int = B, width: int = 8) -> None:
        super().__init__()
        self.num_states, self.width = num_states, width
        self.embed = nn.Embedding(num_states + 1, width)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(width, num_states)

    def forward(self, x_t: Tensor, _: Conditioning) -> Tensor:
        logits: Tensor = self.out(self.dropout(self.embed(x_t)))
        return logits

    def spec(self) -> dict[str, int]:
        return {"num_states": self.num_states, "width": self.width}


def states(count: int, seed: int) -> Tensor:
    """Low states are likelier."""
    law = torch.tensor([0.5, 0.25, 0.125, 0.075, 0.05])
    drawn = torch.multinomial(
        law, count * 6, replacement=True, generator=torch.Generator().manual_seed(seed)
    )
    return drawn.reshape(count, *DIMS)


DATA = Data.of(states(60, 0), states(20, 1), num_states=B, test=states(20, 2))
LABELLED = Data.of(
    states(60, 0),
    states(20, 1),
    num_states=B,
    label=torch.arange(60) % 2,
    valid_label=torch.arange(20) % 2,
    label_names=["even", "odd"],
)

MODELS = {
    "scud": lambda p0: scud.SCUD(Uniform(B), Linear(), p0=p0),
    "masking": lambda p0: scud.Masking(B, p0=p0),
    "classical": lambda p0: scud.Classical(Uniform(B), Linear(), p0=p0),
}

SHORT = {"steps": 6, "batch_size": 10, "warmup": 2, "validate_every": 3, "validation_repeats": 1}


def network(seed: int = 0) -> Plain:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Plain()


def fit(folder: Path, kind: str = "masking", **options: Any) -> scud.Run:
    """A run of a few steps."""
    chosen = {**SHORT, "device": "cpu", "progress": False, **options}
    return scud.fit(MODELS[kind](DATA.p0()), network(), DATA, folder, **chosen)


def weights(run: scud.Run) -> dict[str, Tensor]:
    return run.network.state_dict()


def same(one: scud.Run, other: scud.Run) -> bool:
    theirs = weights(other)
    return all(value.equal(theirs[name]) for name, value in weights(one).items())


def rows(folder: Path) -> list[list[str]]:
    """What metrics.csv holds, but for the seconds."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [row[:-1] for row in csv.reader(file)]


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
        with pytest.raises(UserError, match=r"folder must hold a run of scud.fit, got .*fit\.json"):
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
        ({"precision": "float16"}, "precision must be one of bfloat16, float32, got 'float16'"),
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


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> scud.Run:
    return fit(tmp_path_factory.mktemp("front") / "run")


def fit_told(folder: Path, data: Data = LABELLED, **options: Any) -> scud.Run:
    """A run whose network reads labels."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DiT(B, width=16, layers=1, heads=2, dims=DIMS, num_labels=2)
    model = scud.SCUD(Uniform(B), Linear(), p0=data.p0())
    chosen = {**SHORT, "device": "cpu", "progress": False, **options}
    return scud.fit(model, net, data, folder, **chosen)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> scud.Run:
    return fit_told(tmp_path_factory.mktemp("labels") / "run")


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


def test_evaluating_a_run_or_a_model_and_its_network(run: scud.Run) -> None:
    """A split, or states, are the same examples."""
    split = DATA.split("test")
    assert isinstance(split, Examples)
    found = scud.evaluate(run, split, repeats=4)
    assert (found.examples, found.repeats, found.positions) == (20, 4, 120)
    pair = scud.evaluate((run.model, run.network), split.x, repeats=4)
    assert pair.total == found.total == scud.evaluate(run, states(20, 2), repeats=4).total
    assert pair.headline == found.headline
    assert scud.evaluate(run, split, repeats=4, seed=1).total != found.total
    shares = list[float]()
    scud.evaluate(run, split, repeats=4, batch_size=5, progress=shares.append)
    assert len(shares) == 16
    assert shares[-1] == 1


def test_an_evaluation_prints_itself_and_has_intervals(run: scud.Run) -> None:
    found = scud.evaluate(run, DATA.split("test"), repeats=8)
    bits, error = found.bits_per_dim, found.bits_per_dim_error
    first, second = str(found).splitlines()
    assert first == f"{bits:.3f} ± {error:.3f} bits/dim, of 20 examples by 8 draws each"
    assert second.startswith("bits per dim: diffusion ")
    low, high = found.interval("bits/dim")
    assert (low, high) == pytest.approx((bits - 1.96 * error, bits + 1.96 * error))
    nats = found.interval("nats")
    assert nats == pytest.approx((low * math.log(2), high * math.log(2)))
    assert found.interval("perplexity") == pytest.approx([math.exp(end) for end in nats])
    with pytest.raises(
        UserError, match=r"unit must be one of nats, perplexity, bits/dim, got 'bits'"
    ):
        found.interval("bits")


def test_a_bound_on_some_positions_given_the_others(run: scud.Run) -> None:
    def first_row(batch: Batch, _: torch.Generator) -> Tensor:
        known = torch.zeros_like(batch.x0, dtype=torch.bool)
        known[:, 0] = True
        return known

    found = scud.evaluate(run, DATA.split("test"), repeats=4, known=first_row)
    assert found.positions == 20 * 4


def test_labels_may_be_withheld_from_an_evaluation(told: scud.Run) -> None:
    with torch.no_grad():
        for parameter in told.network.parameters():
            parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(0))
    split = LABELLED.split("valid")
    with_labels = scud.evaluate(told, split, repeats=2)
    without = scud.evaluate(told, split, repeats=2, labels=False)
    assert with_labels.total != without.total
    assert without.total == scud.evaluate(told, states(20, 1), repeats=2).total


@pytest.mark.parametrize(
    ("examples", "options", "error", "message"),
    [
        (torch.full((3, *DIMS), B), {}, UserError, r"must hold states in 0\.\.4, got 5"),
        (
            torch.zeros(0, *DIMS).long(),
            {},
            UserError,
            "examples must hold at least one example, got 0",
        ),
        (torch.zeros(3, *DIMS), {}, TypeError, "must hold integer states, got dtype torch.float32"),
        (states(3, 0).numpy(), {}, TypeError, "got ndarray; convert with torch.as_tensor"),
        (states(3, 0).tolist(), {}, TypeError, "got list; convert with torch.as_tensor"),
        (DATA, {}, TypeError, "examples must be a split of data, .* got Data"),
        (None, {}, TypeError, "examples must be a split of data, .* got NoneType"),
        (torch.tensor(3), {}, UserError, r"examples must be states \[N, \*dims\], got \[\]"),
        (
            torch.zeros(3, 4).long(),
            {},
            UserError,
            r"examples must have the shape \(number, 3, 2\) of a run on arrays, got \[3, 4\]",
        ),
        (states(3, 0), {"batch_size": 0}, UserError, "batch_size must be at least 1, got 0"),
        (states(3, 0), {"batch_tokens": -1}, UserError, "batch_tokens must be at least 1, got -1"),
        (states(3, 0), {"repeats": 1.5}, TypeError, "repeats must be a whole number, got 1.5"),
        (states(3, 0), {"seed": -1}, UserError, "seed must lie in"),
        (states(3, 0), {"seed": 2**63}, UserError, "seed must lie in"),
        (states(3, 0), {"seed": "a"}, TypeError, "seed must be a whole number, got 'a'"),
        (states(3, 0), {"repeats": 0}, UserError, "repeats must be at least 1, got 0"),
    ],
)
def test_examples_that_cannot_be_evaluated(
    run: scud.Run, examples: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        scud.evaluate(run, examples, **options)


def test_samples_are_states_as_many_as_asked_for(run: scud.Run) -> None:
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(0)

    sampler = Ancestral(steps=3)
    drawn = scud.sample(run, 4, sampler=sampler, generator=generator())
    assert drawn.shape == (4, *DIMS)
    assert drawn.dtype == torch.int64
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < B
    pair = (run.model, run.network)
    assert scud.sample(pair, (4, *DIMS), sampler=sampler, generator=generator()).equal(drawn)
    assert torch.stack(run.draw(4, sampler=sampler, generator=generator()).states).equal(drawn)
    assert scud.sample(run, 2).shape == (2, *DIMS)
    assert scud.sample(pair, (1, 7)).shape == (1, 7), (
        "a network of single positions takes any shape"
    )


def test_whole_numbers_of_numpy_say_how_many(run: scud.Run) -> None:
    two = np.int64(2)
    for shape in (two, (two, *DIMS)):
        assert scud.sample(run, shape, sampler=Ancestral(steps=1)).shape == (2, *DIMS)


def test_given_positions_are_kept(run: scud.Run) -> None:
    x0 = states(4, 3)
    known = torch.zeros(4, *DIMS, dtype=torch.bool)
    known[:, 1] = True
    drawn = scud.sample(run, 4, Given(x0, known), sampler=Ancestral(steps=4))
    assert drawn[known].equal(x0[known])


def test_labels_are_given_to_networks_that_read_them(told: scud.Run) -> None:
    heard = list[Tensor | None]()

    def note(_: nn.Module, arguments: tuple[Tensor, Conditioning]) -> None:
        heard.append(arguments[1].label)

    handle = told.network.register_forward_pre_hook(note)
    label = told.label("odd", 3)
    scud.sample(told, 3, Given(label=label), sampler=Ancestral(steps=1))
    told.draw(3, label="odd", sampler=Ancestral(steps=1))
    handle.remove()
    assert len(heard) == 2
    assert all(found is not None and found.equal(label) for found in heard)


def test_what_cannot_be_sampled(run: scud.Run, told: scud.Run) -> None:
    label = torch.zeros(2, dtype=torch.long)
    with pytest.raises(
        UserError, match=r"given.label must be left out for a network that reads no labels"
    ):
        scud.sample(run, 2, Given(label=label))
    with pytest.raises(UserError, match="label must be left out for a model that reads no labels"):
        run.sample(2, label="odd")
    with pytest.raises(UserError, match="'neither'"):
        told.sample(2, label="neither")
    with pytest.raises(UserError, match="have one row for each of 3 examples"):
        scud.sample(told, 3, Given(label=label))
    with pytest.raises(
        UserError, match=r"shape must be \(batch, \*dims\) where examples differ in shape, got 3"
    ):
        scud.sample((run.model, run.network), 3)
    with pytest.raises(UserError, match="be given together, got no known; give both, or neither"):
        scud.sample(run, 2, Given(states(2, 0)))
    with pytest.raises(UserError, match=r"given.known must be bool of shape \[2, 3, 2\]"):
        scud.sample(run, 2, Given(states(1, 0), torch.ones(1, *DIMS, dtype=torch.bool)))
    with pytest.raises(UserError, match=r"grid must run from the model's t_max, 0.999, to 0"):
        scud.sample(run, 2, sampler=Ancestral(grid=torch.tensor([0.5, 0.0])))
    with pytest.raises(UserError, match=r"give a run, or a pair \(model, network\), got Plain"):
        scud.sample(run.network, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "options", "error", "message"),
    [
        ((2, 7), {}, UserError, r"shape must have the shape \(number, 3, 2\) .*, got \[2, 7\]"),
        ((), {}, UserError, r"shape must be \(batch, \*dims\), got \[\]"),
        ((2,), {}, UserError, r"shape must be \(batch, \*dims\), got \[2\]"),
        ((0, *DIMS), {}, UserError, "shape must be at least 1, got 0"),
        (0, {}, UserError, "shape must be at least 1, got 0"),
        (-1, {}, UserError, "shape must be at least 1, got -1"),
        ((2, 1.5), {}, TypeError, "shape must be a whole number, got 1.5"),
        ("two", {}, TypeError, "shape must be a tuple of whole numbers, got str"),
        (2, {"given": states(2, 0)}, TypeError, "given must be a Given, got Tensor; write it as"),
        (2, {"given": Given(label=[0, 1])}, TypeError, "given.label must be a tensor, got list"),
        (np.array([2, 6]), {}, TypeError, "shape must be a tuple of whole numbers, got ndarray"),
        (2, {"sampler": Ancestral}, TypeError, "sampler must be a sampler, got <class"),
        (2, {"generator": 3}, TypeError, "generator must be a torch.Generator, got 3"),
    ],
)
def test_arguments_of_sample_that_are_something_else(
    run: scud.Run, shape: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        scud.sample(run, shape, **options)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_integers_are_states(run: scud.Run, dtype: torch.dtype) -> None:
    x = states(20, 2)
    label = torch.arange(20) % 2
    data = Data.of(x.to(dtype), x.to(dtype), label=label.to(dtype))
    assert data.split("train").batch(torch.arange(20)).x0.equal(x)
    assert scud.evaluate(run, x.to(dtype), repeats=1) == scud.evaluate(run, x, repeats=1)
    with pytest.raises(UserError, match="must hold states in"):
        scud.evaluate(run, torch.full((3, *DIMS), B, dtype=dtype))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"train": states(4, 0).numpy()}, TypeError, "train must be a tensor of integers, got nda"),
        ({"valid": [[1, 2]]}, TypeError, "valid must be a tensor of integers, got list; convert"),
        ({"label": [0, 1, 0, 1]}, TypeError, "labels of train must be a tensor of integers, got l"),
        ({"num_states": "5"}, TypeError, "num_states must be a number, got '5'"),
        ({"num_states": 5.5}, TypeError, "num_states must be a whole number, got 5.5"),
        ({"label_names": ["a"]}, UserError, "label_names must be left out where there are no la"),
        ({"label": 0, "label_names": ["a", "a"]}, UserError, "label_names must be different"),
        ({"label": 0, "label_names": ["a", ""]}, UserError, "label_names must be different"),
        ({"label": 0, "label_names": [1, 2]}, TypeError, "label_names must be texts"),
        ({"label": 0, "label_names": "ab"}, TypeError, "label_names must be a list of texts"),
    ],
)
def test_tensors_that_are_no_data(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    if options.get("label") == 0:
        options = options | {"label": torch.arange(4) % 2}
    given = {"train": states(4, 0), "valid": states(4, 1), **options}
    with pytest.raises(error, match=message):
        Data.of(**given)


def test_parts_are_told_from_one_another(run: scud.Run) -> None:
    with pytest.raises(UserError, match=r"must be a diffusion and its network, in this order"):
        scud.sample((run.network, run.model), (2, *DIMS))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="network must be a network, got int"):
        scud.sample((run.model, 3), (2, *DIMS))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"give a run, or a pair \(model, network\), got list"):
        scud.evaluate([1, 2], states(2, 0))  # type: ignore[arg-type]


PACKAGES = {
    "pydantic": "pydantic",
    "tyro": "tyro",
    "rich": "rich",
    "scikit-learn": "sklearn",
    "biopython": "Bio",
    "matplotlib": "matplotlib",
    "pillow": "PIL",
}
"""What commands, files and single kinds of data need, and what it is imported as."""

OF_LIGHTNING = {
    "pytorch-lightning": "pytorch_lightning",
    "torchmetrics": "torchmetrics",
    "pyyaml": "yaml",
}
"""What training needs beside."""

BLOCK = """
import sys

PACKAGES = GIVEN_PACKAGES
BLOCKED = set(PACKAGES.values())

class Blocker:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        blocked = name.partition(".")[0] in BLOCKED
        return None if blocked else self.finder.find_spec(name, path, target)

    def find_distributions(self, *arguments):
        found = getattr(self.finder, "find_distributions", lambda *_: ())(*arguments)
        return [each for each in found if each.metadata["Name"].lower() not in PACKAGES]

    def invalidate_caches(self):
        getattr(self.finder, "invalidate_caches", lambda: None)()

sys.meta_path[:] = [Blocker(finder) for finder in sys.meta_path]
for name in BLOCKED:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise AssertionError(f"{name} is found")

import torch
import scud

x = torch.arange(60).reshape(20, 3) % 5
data = scud.Data.of(train=x, valid=x, num_states=5)
"""
"""The start of a program in which some packages are not found."""

TRAIN = """
model = scud.SCUD(scud.processes.Uniform(5), scud.schedules.Linear(), p0=data.p0())
network = scud.networks.DiT(5, width=16, layers=1, heads=2, dims=data.dims)
options = {"steps": 6, "batch_size": 10, "validate_every": 3, "validation_repeats": 1}
run = scud.fit(model, network, data, FOLDER, device="cpu", **options)
"""

USE = """
print(scud.evaluate(run, data.split("valid"), repeats=2))
print(tuple(scud.sample(run, 3, sampler=scud.samplers.Ancestral(steps=2)).shape))
print(len(run.sample(2, sampler=scud.samplers.Ancestral(steps=2))))
"""


def program(text: str, packages: dict[str, str], folder: Path) -> list[str]:
    """What a program prints where these packages are not found."""
    text = (BLOCK + text).replace("GIVEN_PACKAGES", repr(packages))
    done = subprocess.run(
        [sys.executable, "-c", text.replace("FOLDER", repr(str(folder)))],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_all_of_it_works_without_what_commands_and_files_need(tmp_path: Path) -> None:
    """And all but training without Lightning, which brings PyYAML."""
    trained = program(TRAIN + USE, PACKAGES, tmp_path)
    said = [line.partition(" bits/dim")[0] for line in trained]
    assert any(line.startswith("training 6/6 ") for line in said), "lines in place of a bar"
    used = program("run = scud.load(FOLDER)" + USE, PACKAGES | OF_LIGHTNING, tmp_path)
    for lines in (trained, used):
        assert "bits/dim, of 20 examples by 2 draws each" in lines[-4]
        assert lines[-2:] == ["(3, 3)", "2"]
    assert used[-4] == trained[-4]


class Wrong(Plain):
    """Its logits lack a state."""

    def forward(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        return super().forward(x_t, conditioning)[..., 1:]


def plainly_wrong(model: object, draw: Draw) -> float:  # noqa: ARG001
    return 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must lie in"),
        ({"seed": 2**63}, "seed must lie in"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"objective": 3}, "objective must be a callable"),
        ({"objective": Bound}, "objective must be a callable that is no class"),
        ({"objective": plainly_wrong}, "objective must return nats per example"),
        ({"objective": lambda _, draw: draw.diffusion.detach()}, "the loss must depend"),
        ({"objective": lambda _, draw: draw.nothing}, "make a draw, got AttributeError"),
        ({"callbacks": [3]}, "callbacks must be callable"),
        ({"callbacks": [pl.Callback]}, "callbacks must be callable"),
        ({"callbacks": print}, "callbacks must be a list"),
        ({"loggers": [3]}, "loggers must have log_metrics"),
        ({"network": Wrong()}, r"denoiser must return logits of shape \[1, 3, 2, 5\]"),
        ({"network": Plain().requires_grad_(False)}, "network must have a parameter"),
        ({"network": lambda x, _: x}, "network must be a torch.nn.Module"),
        ({"model": None}, "model must be a Diffusion"),
    ],
)
def test_a_mistake_costs_no_run(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    run = tmp_path / "run"
    model = scud.SCUD(Uniform(B), p0=DATA.p0())
    quick: dict[str, Any] = {"steps": 1, "batch_size": 10, "validation_repeats": 1}
    quick |= {"data": DATA, "folder": run, "progress": False, "device": "cpu"}
    scud.fit(model, Plain(), **quick)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    asked = {"model": model, "network": Plain(), "overwrite": True, **quick, **options}
    state = torch.get_rng_state()
    with pytest.raises((UserError, TypeError), match=message):
        scud.fit(**asked)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert torch.get_rng_state().equal(state)


def test_trying_a_draw_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    class Counting(Plain):
        def __init__(self, num_states: int = B, width: int = 8) -> None:
            super().__init__(num_states, width)
            self.calls = 0

        def forward(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
            self.calls += 1
            return super().forward(x_t, conditioning)

    network = Counting().train()
    network.dropout.eval()
    with pytest.raises(UserError, match="spare"):
        scud.fit(
            scud.SCUD(Uniform(B), p0=DATA.p0()),
            network,
            DATA,
            spare(tmp_path),
            batch_size=10,
            device="cpu",
        )
    assert network.calls == 0
    assert network.training
    assert not network.dropout.training
    assert all(weight.grad is None for weight in network.parameters())


def spare(folder: Path) -> Path:
    """A folder of somebody else's."""
    path = folder / "spare"
    path.mkdir()
    (path / "note.txt").write_text("mine")
    return path


def test_states_of_a_run_on_text_are_evaluated() -> None:
    """Of states alone it is not known what they were read from."""
    text = scud.data.Text(scud.data.find_tokenizer("bytes"), 6)
    p0 = torch.full((text.num_states,), 1 / text.num_states, dtype=torch.float64)
    model = scud.Masking(text.num_states, p0=p0)
    run = scud.Run(model, Plain(text.num_states), text, (), None)
    result = scud.evaluate(run, torch.zeros(3, 6, dtype=torch.int64), repeats=1)
    assert result.examples == 3
    assert result.headline.startswith("perplexity per byte")


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

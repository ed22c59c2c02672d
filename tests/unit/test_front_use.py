"""The front door: evaluate and sample with a run, or a model and its network."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import scud
from scud.data import Data, Examples
from scud.errors import UserError
from scud.samplers import Ancestral
from scud.typing import Batch, Conditioning, Given
from tests.unit.front import DATA, DIMS, LABELLED, B, Plain, fit, fit_told, states


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> scud.Run:
    return fit(tmp_path_factory.mktemp("front") / "run")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> scud.Run:
    return fit_told(tmp_path_factory.mktemp("labels") / "run")


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
    twice = [run.draw(4, sampler=sampler, generator=generator()).states for _ in range(2)]
    assert torch.stack(list(twice[0])).equal(torch.stack(list(twice[1])))
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


def test_states_of_a_run_on_text_are_evaluated() -> None:
    """Of states alone it is not known what they were read from."""
    text = scud.data.Text(scud.data.find_tokenizer("bytes"), 6)
    p0 = torch.full((text.num_states,), 1 / text.num_states, dtype=torch.float64)
    model = scud.Masking(text.num_states, p0=p0)
    run = scud.Run(model, Plain(text.num_states), text, (), None)
    result = scud.evaluate(run, torch.zeros(3, 6, dtype=torch.int64), repeats=1)
    assert result.examples == 3
    assert result.headline.startswith("perplexity per byte")

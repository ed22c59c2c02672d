"""Arrays of categories: what is read, what is refused, and how samples compare."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from scud.data import Data, Examples, load_arrays
from scud.data.arrays.quality import array_quality, variation
from scud.errors import UserError


def save(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "some.npz", **arrays)
    return folder / "some.npz"


def states(data: Data, split: str) -> NDArray[Any]:
    examples = data.split(split)
    assert isinstance(examples, Examples)
    return examples.x.numpy()


def random_states(*shape: int, most: int = 9) -> NDArray[np.int64]:
    return np.random.default_rng(sum(shape)).integers(0, most, shape)


# Reading


@pytest.mark.parametrize("dims", [(4,), (2, 3), (2, 1, 3, 2)])
@pytest.mark.parametrize("most", [2, 200, 1000])
def test_arrays_of_any_shape_are_read_back(
    tmp_path: Path, dims: tuple[int, ...], most: int
) -> None:
    arrays = {name: random_states(8, *dims, most=most) for name in ("x_train", "x_valid", "x_test")}
    arrays["x_train"].flat[0] = most - 1
    data = load_arrays(save(tmp_path, **arrays))
    assert (data.name, data.modality.kind, data.dims) == ("some", "arrays", dims)
    assert data.num_states == most
    for split in ("train", "valid", "test"):
        np.testing.assert_array_equal(states(data, split), arrays[f"x_{split}"])
    assert states(data, "train").dtype == (np.uint8 if most < 257 else np.int16)
    assert data.report[1:] == ("train: 8 arrays", "valid: 8 arrays", "test: 8 arrays")


def test_files_of_one_array_each(tmp_path: Path) -> None:
    train, valid = random_states(6, 3), random_states(4, 3)
    np.save(tmp_path / "a.npy", train)
    np.save(tmp_path / "b.npy", valid.astype(np.uint16))
    files = {"valid": tmp_path / "b.npy", "test": None}
    data = load_arrays(tmp_path / "a.npy", 12, files=files)
    assert (data.num_states, list(data.splits)) == (12, ["train", "valid"])
    np.testing.assert_array_equal(states(data, "train"), train)
    np.testing.assert_array_equal(states(data, "valid"), valid)


def test_files_take_the_place_of_splits(tmp_path: Path) -> None:
    first, second = random_states(6, 3), random_states(4, 3)
    path = save(tmp_path, x_train=first, x_valid=first, x_test=first)
    (tmp_path / "other").mkdir()
    other = save(tmp_path / "other", x_train=first, x_valid=second)
    data = load_arrays(path, 9, files={"valid": other, "test": other})
    np.testing.assert_array_equal(states(data, "valid"), second)
    np.testing.assert_array_equal(states(data, "test"), first)


@pytest.mark.parametrize(("count", "share", "expected"), [(2, 0.01, 1), (2, 0.99, 1), (40, 0.1, 4)])
def test_a_share_is_held_out(tmp_path: Path, count: int, share: float, expected: int) -> None:
    x = np.arange(count)[:, None]
    path = save(tmp_path, x_train=x, y_train=x[:, 0])
    data = load_arrays(path, None, share)
    train, valid = states(data, "train"), states(data, "valid")
    assert (len(train), len(valid)) == (count - expected, expected)
    assert sorted([*train[:, 0], *valid[:, 0]]) == list(range(count))
    label = data.split("valid").batch(torch.arange(expected)).label
    assert label is not None
    assert [int(data.label_names[place]) for place in label] == valid[:, 0].tolist()
    assert data.report[-1].endswith(", held out of those for training")


def test_labels_may_be_texts(tmp_path: Path) -> None:
    x = random_states(3, 2)
    path = save(tmp_path, x_train=x, x_valid=x, y_train=np.array(["b", "a", "b"]))
    data = load_arrays(path, 9)
    assert data.label_names == ("a", "b")
    label = data.split("train").batch(torch.arange(3)).label
    assert label is not None
    assert label.tolist() == [1, 0, 1]
    assert data.split("valid").batch(torch.arange(3)).label is None


X = random_states(4, 5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, "hold an array x_train, got .* with x; write it with np.save"),
        ({"x_train": X / 2}, "x_train in .* hold integers, .*got float64; number the categories"),
        ({"x_train": X > 2}, "x_train in .* got bool"),
        ({"x_train": X.astype(str)}, "x_train in .* got <U"),
        ({"x_train": X - 1}, "x_train in .* hold integers from 0 on, got -1; number"),
        ({"x_train": X[0]}, r"x_train in .* have shape \[N, \*dims\], got \[5\]; reshape it"),
        ({"x_train": X[:0]}, "x_train in .* hold at least one example"),
        ({"x_train": X[:, :0]}, "x_train in .* hold at least one example"),
        ({"x_train": X[:1]}, "train of .* two examples or more, got one"),
        ({"x_train": X, "x_valid": X[:, 1:]}, "split 'valid' .*give every split the same shape"),
        (
            {"x_train": X, "x_valid": X + 200},
            "split 'valid' must hold states in .*raise num_states",
        ),
        ({"x_train": X, "y_train": X}, r"y_train in .* have shape \[4\], got \[4, 5\]"),
        ({"x_train": X, "y_train": [0.5] * 4}, "y_train in .* hold integers or texts, got float64"),
        ({"x_train": X, "y_valid": [1]}, "y_valid .*; add x_valid to the file"),
        ({"x_train": X.astype(object)}, "without pickled objects"),
    ],
)
def test_a_wrong_array_is_named(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_arrays(save(tmp_path, **arrays))


def test_a_wrong_file_or_option_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, x_train=X)
    (tmp_path / "a.txt").write_text("1 2 3")
    (tmp_path / "a.npy").write_text("1 2 3")
    for file, message in (
        (tmp_path / "no.npy", "name a file that exists"),
        (tmp_path / "a.txt", "end in .npy or .npz"),
        (tmp_path / "a.npy", r"undamaged \.npy file"),
    ):
        with pytest.raises(UserError, match=message):
            load_arrays(file)
        with pytest.raises(UserError, match=message):
            load_arrays(path, files={"valid": file})
    with pytest.raises(UserError, match=r"split 'train' must hold states in 0\.\.3, got"):
        load_arrays(path, 4)
    with pytest.raises(UserError, match="num_states must lie in"):
        load_arrays(path, 1)
    with pytest.raises(UserError, match="valid_share must lie in"):
        load_arrays(path, None, 1.0)


def test_states_that_would_wrap_round_are_refused(tmp_path: Path) -> None:
    """256 is 0 as a byte."""
    path = save(tmp_path, x_train=np.array([[0, 1], [1, 2]]), x_valid=np.array([[256, 0]]))
    with pytest.raises(UserError, match=r"split 'valid' must hold states in .*got 256"):
        load_arrays(path)


def test_more_states_than_the_memory_allows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"states must fit into one part .* number the categories"):
        load_arrays(save(tmp_path, x_train=np.array([[1 << 30], [0]])))


# Quality


@given(st.integers(1, 4), st.integers(1, 30), st.integers(1, 30), st.integers(0, 9))
def test_total_variation_is_half_of_the_sum_of_differences(
    most: int, count: int, others: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    p, q = random.integers(0, most, count), random.integers(0, most + 1, others)
    expected = sum(abs((p == x).mean() - (q == x).mean()) for x in range(most + 1)) / 2
    assert variation(iter([p]), iter([q])) == pytest.approx(expected)
    assert variation(iter([p, p]), iter([p, q])) == pytest.approx(expected / 2)
    assert variation(iter([]), iter([])) is None


def test_the_report_tells_good_samples_from_bad_and_copies_from_new_ones() -> None:
    """Neighbours of the data are equal half of the time; single positions alone do not show it."""
    generator = torch.Generator().manual_seed(0)

    def draw(count: int, *, dependent: bool) -> torch.Tensor:
        x = torch.randint(0, 5, (count, 2, 6), generator=generator)
        if dependent:
            same = torch.rand(count, 2, 3, generator=generator) < 0.5
            x[..., 1::2] = torch.where(same, x[..., ::2], x[..., 1::2])
        return x

    train, heldout = draw(2000, dependent=True), draw(500, dependent=True)
    real, wrong = draw(300, dependent=True), draw(300, dependent=False)
    good, bad = (array_quality(x, heldout, train, 5) for x in (real, wrong))
    assert good.samples.single == pytest.approx(bad.samples.single, abs=0.02)
    assert good.samples.pairs is not None
    assert bad.samples.pairs is not None
    assert good.training.pairs is not None
    assert good.samples.pairs < 1.1 * good.training.pairs < bad.samples.pairs - 0.02
    assert (good.samples.copied, good.samples.distinct, good.training.arrays) == (0, 1, 300)
    copies = array_quality(torch.cat([train[:3], train[:1], real[:4]]), heldout, train, 5)
    assert (copies.samples.copied, copies.samples.distinct) == (0.5, 7 / 8)
    rows = {row.measure: row[1:] for row in copies.rows()}
    assert rows["arrays"] == (8, 500, 8)
    assert rows["share equal to a training array"][2] is None
    single = torch.zeros(4, 3, 1, dtype=torch.int64)
    assert array_quality(single, single, single, 2).samples.pairs is None


def test_sets_that_do_not_fit_are_refused() -> None:
    x = torch.zeros(4, 3, dtype=torch.int64)
    with pytest.raises(
        UserError, match=r"samples must have the shape of the training arrays, \[3\]"
    ):
        array_quality(x[:, 1:], x, x, 2)
    with pytest.raises(UserError, match="samples must hold states in"):
        array_quality(x + 2, x, x, 2)

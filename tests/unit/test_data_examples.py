"""Examples, and data of tensors: batches, the marginal, labels, and what is refused."""

from typing import Any

import pytest
import torch

from scud.data import Arrays, Data, Examples
from scud.data import examples as data_examples
from scud.data.order import Shuffled
from scud.errors import UserError
from scud.typing import BatchSize


def source(train: Examples, valid: Examples) -> Data:
    return Data.of(train.x, valid.x, num_states=4, label=train.label, name="toy")


TRAIN = Examples(torch.tensor([[0, 1], [1, 1], [2, 1]], dtype=torch.uint8), torch.tensor([5, 6, 7]))
VALID = Examples(torch.tensor([[3, 3]], dtype=torch.uint8))


def test_a_batch_holds_the_indexed_examples_as_int64() -> None:
    batch = TRAIN.batch(torch.tensor([2, 0]))
    assert batch.x0.dtype == torch.int64
    assert batch.x0.tolist() == [[2, 1], [0, 1]]
    assert batch.label is not None
    assert batch.label.tolist() == [7, 5]
    assert batch.mask is None
    assert VALID.batch(torch.tensor([0])).label is None


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_states_and_labels_are_counted_slice_by_slice(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, threads: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(data_examples, "_SLICE", 7)
    monkeypatch.setattr(data_examples, "_ALONE", 4)
    monkeypatch.setattr(data_examples, "_PIECE", 30)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(100, (50, 3), generator=generator).sort(0).values.to(dtype)
    label = torch.randint(-1, 4, (50, 2), generator=generator)
    examples = Examples(x, label)
    assert examples.state_counts().equal(torch.bincount(x.flatten()))
    examples.state_counts().zero_()
    assert examples.state_counts().equal(torch.bincount(x.flatten())), "a copy was handed out"
    assert examples.label_counts().equal(torch.bincount(label[label >= 0]))
    assert len(Examples(x).label_counts()) == 0


def test_digests_of_large_examples_tell_every_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same on any number of threads; small examples keep the digest that they have had."""
    x = torch.arange(600, dtype=torch.uint8).reshape(50, 12)
    small = Examples(x).digest()
    assert small == "ed763297329ade4212fedd74cb6a5745"
    monkeypatch.setattr(data_examples, "_LARGE", 100)
    monkeypatch.setattr(data_examples, "_PIECE", 50)
    large = Examples(x).digest()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert small != large == Examples(x.clone()).digest()
    for row in (0, 25, 49):
        changed = x.clone()
        changed[row, 5] += 1
        assert Examples(changed).digest() != large
    assert Examples(x.reshape(50, 3, 4)).digest() != large


def test_the_length_is_the_number_of_examples() -> None:
    assert len(TRAIN) == 3


def test_the_marginal_is_add_one_counts_of_the_training_split() -> None:
    marginal = source(TRAIN, VALID).p0()
    assert marginal.dtype == torch.float64
    torch.testing.assert_close(marginal, torch.tensor([2, 5, 2, 1], dtype=torch.float64) / 10)


def test_a_split_is_found_by_name() -> None:
    data = source(TRAIN, VALID)
    assert data.split("valid").batch(torch.tensor([0])).x0.tolist() == [[3, 3]]
    assert (data.num_states, data.dims, data.state_names) == (4, (2,), ["0", "1", "2", "3"])


def test_an_unknown_split_names_those_that_exist() -> None:
    with pytest.raises(UserError, match="train, valid, got 'test'; choose one that toy has"):
        source(TRAIN, VALID).split("test")


def test_data_need_a_validation_split() -> None:
    with pytest.raises(UserError, match="got 'valid'"):
        Data("toy", {"train": TRAIN}, Arrays(4, (2,)))


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        (Examples(torch.zeros(1, 3, dtype=torch.uint8)), "give every split the same shape"),
        (Examples(torch.full((1, 2), 4, dtype=torch.uint8)), "raise num_states or clean the data"),
        (Examples(torch.zeros(0, 2, dtype=torch.uint8)), "pass data that is not empty"),
    ],
)
def test_data_refuse_a_split_that_does_not_fit(valid: Examples, message: str) -> None:
    with pytest.raises(UserError, match=f"split 'valid' .*{message}"):
        source(TRAIN, valid)


def test_a_part_of_the_examples() -> None:
    examples = Examples(torch.arange(10, dtype=torch.uint8).reshape(10, 1), torch.arange(10))
    part = examples.part(4)
    assert part.x[:, 0].tolist() == [0, 2, 5, 7]
    assert part.label is not None
    assert part.label.tolist() == [0, 2, 5, 7]
    assert examples.part(10) is examples


def test_batches_and_orders() -> None:
    examples = Examples(torch.arange(10, dtype=torch.uint8).reshape(10, 1))
    batches = examples.batches(BatchSize(4, 1))
    assert [index.tolist() for index in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    order = examples.order(BatchSize(4, 1), 3, 2)
    assert torch.equal(order.examples(7), Shuffled(10, 4, 3).examples(7))
    with pytest.raises(UserError, match=r"batch_size must be divisible .* \(3\), got 4; change"):
        examples.order(BatchSize(4, 1), 3, 3)


@pytest.mark.parametrize(
    ("num_states", "dtype"),
    [(2, torch.uint8), (256, torch.uint8), (257, torch.int16), (40_000, torch.int32)],
)
def test_states_are_kept_as_the_smallest_integers_that_hold_them(
    num_states: int, dtype: torch.dtype
) -> None:
    x = torch.tensor([[0, num_states - 1], [1, 0]])
    data = Data.of(x, x[:1], num_states=num_states)
    train = data.split("train")
    assert isinstance(train, Examples)
    assert train.x.dtype == dtype
    assert torch.equal(train.batch(torch.arange(2)).x0, x)
    assert train.state_counts().sum() == 4


def test_the_number_of_states_is_that_of_training_data_unless_it_is_given() -> None:
    x = torch.tensor([[0, 3]])
    assert Data.of(x, x).num_states == 4
    assert Data.of(x, x, num_states=9).num_states == 9
    with pytest.raises(UserError, match=r"split 'valid' must hold states in 0\.\.3, got 4; raise"):
        Data.of(x, x + 1)
    with pytest.raises(UserError, match="num_states must be at least 2"):
        Data.of(x * 0, x * 0, num_states=1)


def test_labels_of_tensors_are_names_in_order() -> None:
    x = torch.zeros(3, 2, dtype=torch.int64)
    x[0, 0] = 1
    data = Data.of(x, x, label=torch.tensor([10, -1, 9]), valid_label=torch.tensor([9, 9, 2]))
    assert data.label_names == ("2", "9", "10")
    assert data.split("train").batch(torch.arange(3)).label.tolist() == [2, -1, 1]
    assert data.split("valid").batch(torch.arange(3)).label.tolist() == [1, 1, 0]
    several = torch.tensor([[0, 1], [1, -1], [-1, -1]])
    data = Data.of(x, x, label=several, label_names=["a", "b"])
    assert data.label_names == ("a", "b")
    assert torch.equal(data.split("train").batch(torch.arange(3)).label, several)
    assert data.split("train").part(1).batch(torch.arange(1)).label.tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"label": torch.zeros(2, dtype=torch.int64)},
            r"labels of train must be \[N\].*got \[2\] for 3",
        ),
        ({"test_label": torch.zeros(3, dtype=torch.int64)}, "labels of test .*got no such split"),
        (
            {"label": torch.tensor([0, 1, 2]), "label_names": ["a", "b"]},
            r"lie in 0\.\.1, .*got 2; name",
        ),
        ({"label": torch.tensor([0, 1, -2]), "label_names": ["a", "b"]}, "got -2"),
    ],
)
def test_labels_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    x = torch.tensor([[0, 1], [1, 1], [0, 0]])
    with pytest.raises(UserError, match=message):
        Data.of(x, x, **options)


def test_what_is_no_integer_is_refused() -> None:
    x = torch.tensor([[0, 1]])
    with pytest.raises(
        TypeError, match=r"train must hold integer states, got dtype torch\.float32"
    ):
        Data.of(x.float(), x)
    with pytest.raises(TypeError, match="labels of train must be integers"):
        Data.of(x, x, label=torch.tensor([0.5]))
    with pytest.raises(UserError, match=r"train must be states \[N, \*dims\], got \[2\]"):
        Data.of(x[0], x)
    with pytest.raises(UserError, match=r"train must hold states in 0.*got -1"):
        Data.of(x - 1, x)


def test_data_say_what_they_are() -> None:
    x = torch.tensor([[0, 1], [1, 1], [0, 0]])
    data = Data.of(x, x[:1], label=torch.tensor([0, 1, 0]))
    assert repr(data) == "Data tensors: arrays of 2 states; train 3, valid 1; 2 labels"


# Digest


def test_the_digest_tells_data_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    x, label = torch.arange(24, dtype=torch.uint8).reshape(6, 4), torch.arange(6)
    swapped = x.clone()
    swapped[0, 0], swapped[0, 1] = x[0, 1], x[0, 0]
    others = [
        Examples(x),
        Examples(x, label),
        Examples(x, label.flip(0)),
        Examples(x.flip(0), label),
        Examples(swapped, label),
        Examples(x.reshape(6, 2, 2), label),
        Examples(x.short(), label),
        Examples(x[:5], label[:5]),
    ]
    digests = [examples.digest() for examples in others]
    assert len(set(digests)) == len(others)
    assert all(len(digest) == 32 for digest in digests)
    transposed = Examples(x.T.contiguous().T, label)
    monkeypatch.setattr("scud.data.examples._SLICE", 4)
    assert transposed.digest() == digests[1]
    x += 1
    assert others[1].digest() == digests[1], "computed once"

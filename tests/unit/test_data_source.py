"""Examples and sources: batches, the marginal, and what a source refuses."""

import pytest
import torch

from scud.data import Examples, Source
from scud.errors import UserError


def source(train: Examples, valid: Examples) -> Source:
    return Source(name="toy", num_states=4, dims=(2,), splits={"train": train, "valid": valid})


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


def test_the_length_is_the_number_of_examples() -> None:
    assert len(TRAIN) == 3


def test_the_marginal_is_add_one_counts_of_the_training_split() -> None:
    marginal = source(TRAIN, VALID).marginal()
    assert marginal.dtype == torch.float64
    torch.testing.assert_close(marginal, torch.tensor([2, 5, 2, 1], dtype=torch.float64) / 10)


def test_a_split_is_found_by_name() -> None:
    assert source(TRAIN, VALID).split("valid") is VALID


def test_an_unknown_split_names_those_that_exist() -> None:
    with pytest.raises(UserError, match="train, valid, got 'test'; choose one that toy has"):
        source(TRAIN, VALID).split("test")


def test_a_source_needs_a_validation_split() -> None:
    with pytest.raises(UserError, match="got 'valid'"):
        Source(name="toy", num_states=4, dims=(2,), splits={"train": TRAIN})


@pytest.mark.parametrize(
    ("valid", "message"),
    [
        (Examples(torch.zeros(1, 3, dtype=torch.uint8)), "give every split the same shape"),
        (Examples(torch.full((1, 2), 4, dtype=torch.uint8)), "raise num_states or clean the data"),
        (Examples(torch.zeros(0, 2, dtype=torch.uint8)), "pass data that is not empty"),
    ],
)
def test_a_source_refuses_a_split_that_does_not_fit(valid: Examples, message: str) -> None:
    with pytest.raises(UserError, match=f"split 'valid' .*{message}"):
        source(TRAIN, valid)


def test_a_part_of_the_examples() -> None:
    examples = Examples(torch.arange(10, dtype=torch.uint8).reshape(10, 1), torch.arange(10))
    part = examples.part(4)
    assert part.x[:, 0].tolist() == [0, 2, 5, 7]
    assert part.label is not None
    assert part.label.tolist() == [0, 2, 5, 7]
    assert examples.part(10) is examples

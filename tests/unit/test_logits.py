"""`LinearLogits` is the tensor features weightᵀ + bias in every operation that it has, gradients included."""

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scud.numerics import blockwise
from scud.numerics.logits import LinearLogits, all_finite

B, WIDTH = 7, 4


def both(*dims: int) -> tuple[LinearLogits, Tensor]:
    """Logits [*dims, B] that exist on demand, and the tensor that they stand for."""
    generator = torch.Generator().manual_seed(0)
    shapes = (*dims, WIDTH), (B, WIDTH), (B,)
    features, weight, bias = (
        torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
        for shape in shapes
    )
    return LinearLogits(features, weight, bias), features @ weight.T + bias


def test_it_is_used_as_the_tensor_is() -> None:
    logits, tensor = both(3, 5)
    assert logits.shape == tensor.shape == (3, 5, B)
    assert logits.dtype == tensor.dtype
    torch.testing.assert_close(logits.dense(), tensor)
    rows, same = logits.reshape(-1, B), tensor.reshape(-1, B)
    assert rows.shape == same.shape == (15, B)
    torch.testing.assert_close(rows.dense(), same)
    torch.testing.assert_close(rows.reshape(5, 3, B).dense(), same.reshape(5, 3, B))
    for index in (
        torch.tensor([14, 0, 3, 3]),
        torch.arange(15) % 2 == 0,
        torch.zeros(0, dtype=torch.long),
    ):
        torch.testing.assert_close(rows[index], same[index])


def test_the_states_stay_the_last_dimension() -> None:
    logits, _ = both(3, 5)
    with pytest.raises(AssertionError, match="states stay the last dimension"):
        logits.reshape(B, 15)


def test_gradients_reach_features_weight_and_bias() -> None:
    """Those of the tensor's rows; positions that were not asked for get none."""
    logits, tensor = both(3, 5)
    parts, index = (logits.features, logits.weight, logits.bias), torch.tensor([2, 9, 9])
    upstream = torch.randn(
        len(index), B, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    gradients = torch.autograd.grad(logits.reshape(-1, B)[index], parts, upstream)
    expected = torch.autograd.grad(tensor.reshape(-1, B)[index], parts, upstream)
    torch.testing.assert_close(gradients, expected)
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients)
    asked = gradients[0].reshape(-1, WIDTH).abs().amax(-1) > 0
    assert asked.nonzero().flatten().tolist() == [2, 9]


def test_detached_it_has_the_same_values_and_no_gradient() -> None:
    logits, tensor = both(3, 5)
    detached = logits.detach()
    assert tensor.requires_grad
    assert not detached.dense().requires_grad
    assert not detached.reshape(-1, B)[torch.tensor([0])].requires_grad
    torch.testing.assert_close(detached.dense(), tensor.detach())


def test_rows_are_computed_in_the_precision_of_the_features() -> None:
    logits, tensor = both(3, 5)
    halved = dataclasses.replace(logits, features=logits.features.to(torch.bfloat16))
    assert (
        halved.dtype
        == halved.dense().dtype
        == halved.reshape(-1, B)[torch.tensor([1])].dtype
        == torch.bfloat16
    )
    torch.testing.assert_close(halved.dense().double(), tensor, rtol=0.05, atol=0.05)


def test_finite() -> None:
    """A tensor may hold -inf beside finite entries; of parts, each has to be finite."""
    logits, tensor = both(3, 5)
    assert all_finite(logits)
    assert all_finite(tensor)
    barred = tensor.detach().clone()
    barred[0, 0, :-1] = -torch.inf
    assert all_finite(barred)
    barred[0, 0, -1] = -torch.inf
    assert not all_finite(barred), "a row without any possible state"
    for bad in (torch.nan, torch.inf):
        broken = tensor.detach().clone()
        broken[1, 2, 3] = bad
        assert not all_finite(broken)
        for name in ("features", "weight", "bias"):
            part = getattr(logits, name).detach().clone()
            part.view(-1)[-1] = bad
            assert not all_finite(dataclasses.replace(logits, **{name: part})), name


def test_a_loss_by_blocks_is_that_of_the_tensor_twice_over() -> None:
    """Rows in no block count 0, rows of unlike weights get unlike gradients, and a second backward pass is as the first."""
    logits, tensor = both(6)
    parts, blocks = (
        (logits.features, logits.weight, logits.bias),
        [torch.tensor([4, 1]), torch.tensor([3])],
    )
    target, upstream = (
        torch.tensor([0, 6, 1, 2, 3, 5]),
        torch.tensor([1.0, -2.0, 3.0, 0.5, 0.0, 1.0], dtype=torch.float64),
    )

    def loss(rows: Tensor, index: Tensor) -> Tensor:
        return F.cross_entropy(rows, target[index], reduction="none")

    values = blockwise(loss, logits, blocks)
    expected = loss(tensor, torch.arange(6)) * torch.tensor([0, 1, 0, 1, 1, 0])
    torch.testing.assert_close(values, expected)
    wanted = torch.autograd.grad(expected, parts, upstream)
    for _ in range(2):
        torch.testing.assert_close(
            torch.autograd.grad(values, parts, upstream, retain_graph=True), wanted
        )


def test_a_loss_by_blocks_of_features_in_bfloat16() -> None:
    """Values in float32, gradients in the types of the parts."""
    logits, _ = both(6)
    features = logits.features.detach().to(torch.bfloat16).requires_grad_()
    weight, bias = (part.detach().float().requires_grad_() for part in (logits.weight, logits.bias))

    def loss(rows: Tensor, index: Tensor) -> Tensor:
        return F.cross_entropy(rows.float(), index % B, reduction="none")

    values = blockwise(loss, LinearLogits(features, weight, bias), [torch.arange(6)])
    wide = features.detach().float().requires_grad_()
    exact = loss(wide @ weight.T + bias, torch.arange(6))
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, exact, rtol=0.05, atol=0.05)
    got = torch.autograd.grad(values.sum(), (features, weight, bias))
    assert [part.dtype for part in got] == [torch.bfloat16, torch.float32, torch.float32]
    wanted = torch.autograd.grad(exact.sum(), (wide, weight, bias))
    torch.testing.assert_close([part.float() for part in got], list(wanted), rtol=0.05, atol=0.05)


def test_a_loss_by_blocks_under_autocast() -> None:
    """Features in float32, rows in bfloat16."""
    logits, _ = both(6)
    parts = [
        part.detach().float().requires_grad_()
        for part in (logits.features, logits.weight, logits.bias)
    ]
    with torch.autocast("cpu", torch.bfloat16):
        values = blockwise(
            lambda rows, _: rows.float().square().sum(-1), LinearLogits(*parts), [torch.arange(6)]
        )
    got = torch.autograd.grad(values.sum(), parts)
    wanted = torch.autograd.grad((parts[0] @ parts[1].T + parts[2]).square().sum(), parts)
    assert [part.dtype for part in got] == [torch.float32] * 3
    torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.2)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_loss_by_blocks_without_gradients_makes_none(
    mode: Callable[[], AbstractContextManager[None]],
) -> None:
    logits, tensor = both(6)
    asked = []

    def loss(rows: Tensor, _: Tensor) -> Tensor:
        asked.append(rows.requires_grad)
        return rows.logsumexp(-1)

    with mode():
        values = blockwise(loss, logits, [torch.arange(6)])
    assert asked == [False]
    torch.testing.assert_close(values, tensor.detach().logsumexp(-1))

"""Tensors of one's own as splits of examples."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from scud.data.arrays.modality import Arrays, check_num_states
from scud.data.examples import Examples, check_examples, smallest_dtype
from scud.data.labels import number_labels
from scud.errors import as_signed, check_count, check_states, fail


def from_tensors(
    states: Mapping[str, Tensor | None],
    labels: Mapping[str, Tensor | None],
    num_states: int | None,
    label_names: Sequence[str] | None,
) -> tuple[dict[str, Examples], Arrays, tuple[str, ...]]:
    """Splits, modality and label names of tensors; see `scud.data.Data.of`.

    Args:
        states: of each split, [N, *dims]; None where there is no such split.
        labels: of each split, [N] or [N, most]; None where there are none.
        num_states: B, or None.
        label_names: what each label is called, or None.
    """
    states = _signed("", states)
    labels = _signed("labels of ", labels)
    train = states["train"]
    if train is None or train.ndim < 2:
        found = "nothing" if train is None else list(train.shape)
        raise fail("train", "be states [N, *dims]", found, "give one row for each example")
    check_states("train", train, 1 << 62)
    if num_states is None:
        num_states = max(int(train.max()) + 1, 2)
    check_count("num_states", num_states, 2, "give the number of categories")
    check_num_states(num_states)
    modality = Arrays(num_states, tuple(train.shape[1:]))
    present = {split: x.cpu() for split, x in states.items() if x is not None}
    check_examples({split: Examples(x) for split, x in present.items()}, num_states, modality.dims)
    given = {split: label for split, label in labels.items() if label is not None}
    for split, label in given.items():
        _check_label(split, label, present.get(split))
    if label_names is not None:
        label_names = _checked_names(label_names, given)
    names, given = _named(given, label_names)
    dtype = smallest_dtype(num_states)
    splits = {split: Examples(x.to(dtype), given.get(split)) for split, x in present.items()}
    return splits, modality, names


def _signed(prefix: str, tensors: Mapping[str, Tensor | None]) -> dict[str, Tensor | None]:
    """Tensors of each split, of a type that PyTorch computes with."""
    return {
        split: None if part is None else as_signed(f"{prefix}{split}", part)
        for split, part in tensors.items()
    }


def _checked_names(names: Sequence[str], labels: Mapping[str, Tensor]) -> list[str]:
    """Names of labels; raises where there are no labels, or for what cannot name them."""
    remedy = 'give a list of one name for each label, such as ["cat", "dog"]'
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise TypeError(f"label_names must be a list of texts, got {names!r}; {remedy}")
    listed = list(names)
    if not labels:
        raise fail("label_names", "be left out where there are no labels", listed, "give label=…")
    if not all(isinstance(name, str) for name in listed):
        raise TypeError(f"label_names must be texts, got {listed!r}; {remedy}")
    if "" in listed or len(set(listed)) < len(listed):
        raise fail("label_names", "be different, and none empty", listed, remedy)
    return listed


def _named(
    labels: dict[str, Tensor], label_names: Sequence[str] | None
) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Names of labels, and the labels by their places among these."""
    if label_names is None:
        flat = [label.flatten().numpy() for label in labels.values()]
        names, numbers = number_labels(flat)
        renumbered = {
            split: torch.from_numpy(number).reshape(label.shape)
            for (split, label), number in zip(labels.items(), numbers, strict=True)
            if number is not None
        }
        return names, renumbered
    names = tuple(label_names)
    for split, label in labels.items():
        low, high = int(label.min()), int(label.max())
        if low < -1 or high >= len(names):
            rule = f"lie in 0..{len(names) - 1}, the places of label_names, or be -1 for none"
            found = low if low < -1 else high
            raise fail(f"labels of {split}", rule, found, "name every label")
    return names, labels


def _check_label(split: str, label: Tensor, x: Tensor | None) -> None:
    """Raise unless labels are integers [N] or [N, most] of N examples."""
    if label.dtype.is_floating_point or label.dtype.is_complex or label.dtype == torch.bool:
        raise TypeError(
            f"labels of {split} must be integers, got dtype {label.dtype}; convert with .long()"
        )
    if x is None or label.ndim not in (1, 2) or len(label) != len(x) or label.numel() == 0:
        count = "no such split" if x is None else f"{list(label.shape)} for {len(x)} examples"
        remedy = "give one label, or one row of labels, for each example"
        raise fail(f"labels of {split}", "be [N] or [N, most]", count, remedy)

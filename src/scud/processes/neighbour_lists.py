"""Which states are near each other, for noise on a graph: from embeddings, from lists of neighbours, or from contexts.

- A file of an embedding of the states, [B, d] (`.npy`, `.npz`, `.safetensors`): the `nearest` other states by cosine, exact.
- An `.npz` file of lists: `knn_idx` [B, k] and `knn_cos` [B, k], nearest first, and perhaps `vocab`, the states' names by line.
- No file: states are near that have the same neighbours in the text. Each state is described by its positive pointwise mutual
  information with what stands to the left and to the right of it in training data, and compared by cosine.

A neighbour of cosine c has a rate in proportion to exp((c - 1) / bandwidth). Special tokens, such as [PAD], [unused0] or </s>,
have no meaning to be near: they have no neighbours, and are nobody's. So it is for states without contexts, which never occur.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scud.errors import fail
from scud.files import check_file
from scud.files.arrays import npy_array, npz_arrays, safetensors_arrays
from scud.files.strings import text_of
from scud.typing import DataView

SPECIAL = re.compile(r"\[[A-Za-z]+\d*\]|<\|?[^<>\s]+\|?>")
"""What names of special tokens look like."""

SLOWEST = 1e-30
"""The least rate beside the largest one of a state."""

ROWS = 1024
"""States compared with all others at once."""

FEW = 512
"""States up to which contexts tell enough of each."""

EXAMPLES = 1 << 14
"""Training examples at once, when contexts are counted."""

_SINGLE = ("embeddings", "embedding", "weight")
"""Names of the array in a file that has several."""


def load_neighbours(
    path: Path | None, data: DataView, nearest: int, bandwidth: float
) -> tuple[Tensor, Tensor]:
    """Neighbours [B, k] int64, -1 where there is none, and their rates [B, k] float64, for `scud.processes.NeighbourGraph`.

    Args:
        path: a file as above, or None for contexts.
        data: whose states they are.
        nearest: k, the most neighbours of a state.
        bandwidth: of the rates; > 0.

    Raises:
        UserError: the file is not as it should be or not about these states, or nearest is too large.
    """
    if nearest >= data.num_states:
        rule = f"be fewer than the {data.num_states} states"
        raise fail("process.nearest", rule, nearest, f"give at most {data.num_states - 1}")
    names = data.state_names
    special = torch.tensor([bool(SPECIAL.fullmatch(name)) for name in names], dtype=torch.bool)
    if path is None:
        vectors = contexts(data)
        special |= ~vectors.any(1)
        found, cosines = nearest_by_cosine(vectors, nearest, special)
    else:
        arrays = read_arrays(path)
        if "knn_idx" in arrays:
            found, cosines = listed(path, arrays, names, nearest)
        else:
            found, cosines = nearest_by_cosine(embedding(path, arrays, names), nearest, special)
    found = found.masked_fill(special.unsqueeze(1) | special[found.clamp_min(0)], -1)
    # Only the proportions of a row matter: its largest rate is 1, so that a narrow bandwidth leaves it some.
    cosines = cosines.double().clamp_max(1).masked_fill(found < 0, -1)
    return found, ((cosines - cosines.amax(1, keepdim=True)) / bandwidth).exp().clamp_min(SLOWEST)


def nearest_by_cosine(vectors: Tensor, nearest: int, excluded: Tensor) -> tuple[Tensor, Tensor]:
    """The `nearest` rows other than itself of largest cosine with each row, nearest first, and the cosines: [B, k] twice.

    Rows [B] that are excluded are nobody's neighbours. Where fewer than k are left, -1.

    Args:
        vectors: [B, d], none of them 0.
        nearest: k.
        excluded: [B] bool.
    """
    unit = torch.nn.functional.normalize(vectors.float())
    found, cosines = [], []
    for start in range(0, len(unit), ROWS):
        likeness = unit[start : start + ROWS] @ unit.T
        likeness[:, excluded] = -torch.inf
        likeness.diagonal(start).fill_(-torch.inf)
        best = likeness.topk(nearest, dim=1)
        found.append(best.indices.masked_fill(best.values == -torch.inf, -1))
        cosines.append(best.values)
    return torch.cat(found), torch.cat(cosines)


def contexts(data: DataView) -> Tensor:
    """Positive pointwise mutual information of every state with its left and its right neighbours in training data, [B, 2 B].

    Zeros for a state that never occurs.

    Raises:
        UserError: there are more states than contexts tell apart, or examples are not rows of one length.
    """
    size, train = data.num_states, data.split("train")
    if size > FEW or data.dims is None or len(data.dims) != 1:
        found = f"{size} states of {data.name}"
        remedy = "give embeddings or lists of neighbours by --process.neighbours FILE"
        raise fail(
            "process.neighbours",
            f"name a file unless the data are text of at most {FEW} states",
            found,
            remedy,
        )
    pairs = torch.zeros(size * size, dtype=torch.float64)
    for index in torch.split(torch.arange(len(train)), EXAMPLES):
        x = train.batch(index).x0
        pairs += torch.bincount((x[:, :-1] * size + x[:, 1:]).flatten(), minlength=size * size)
    joint = pairs.reshape(size, size) / pairs.sum().clamp_min(
        1
    )  # chunks of one state have no pairs
    expected = joint.sum(1, keepdim=True) * joint.sum(0)
    information = (joint / expected.clamp_min(1e-300)).clamp_min(1e-300).log().clamp_min(0)
    return torch.cat([information.T, information], 1)


def read_arrays(path: Path) -> Mapping[str, NDArray[np.generic]]:
    """The arrays of a file by name; that of a .npy file is called "embeddings".

    Raises:
        UserError: the file is missing, of another kind, or damaged.
    """
    argument, remedy = "process.neighbours", "write it with numpy.save, numpy.savez or safetensors"
    check_file(path, "an array", argument)
    if path.suffix == ".npy":
        return {"embeddings": npy_array(path, argument=argument, remedy=remedy)}
    if path.suffix == ".npz":
        return npz_arrays(path, argument=argument, remedy=remedy)[0]
    if path.suffix != ".safetensors":
        raise fail(argument, "end in .npy, .npz or .safetensors", path, remedy)
    return safetensors_arrays(path, argument=argument, remedy=remedy)


def embedding(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], names: Sequence[str]
) -> Tensor:
    """The embedding [B, d] in a file.

    Raises:
        UserError: there is no such array, it has other rows than there are states, or a row is 0 or not finite.
    """
    found = [name for name in _SINGLE if name in arrays] or [
        name for name in arrays if arrays[name].ndim == 2
    ]
    if len(found) != 1:
        rule = "hold one array [B, d], or one called embeddings"
        raise fail(
            str(path),
            rule,
            f"arrays {', '.join(arrays) or 'of no name'}",
            "write the embedding alone",
        )
    values = arrays[found[0]]
    if values.ndim != 2 or values.shape[0] != len(names) or values.dtype.kind not in "fiu":
        rule = f"hold one row of numbers for each of the {len(names)} states"
        remedy = "give the embedding of this vocabulary, special tokens included"
        raise fail(str(path), rule, f"{values.dtype} of shape {list(values.shape)}", remedy)
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # what is too large becomes infinity, of which more is said below
        vectors = torch.from_numpy(values.astype(np.float32))
    for wrong, what in (
        (~vectors.isfinite().all(1), "NaN or infinity"),
        (~vectors.any(1), "only zeros"),
    ):
        rows = [
            row for row in wrong.nonzero().flatten().tolist() if not SPECIAL.fullmatch(names[row])
        ]
        if rows:
            found_there = (
                f"{what} in row {rows[0]} ({names[rows[0]]}), and {len(rows) - 1} more such rows"
            )
            raise fail(
                str(path),
                "hold finite rows that are not 0",
                found_there,
                "repair or drop these states",
            )
    return vectors.nan_to_num(0, 0, 0)


def listed(
    path: Path, arrays: Mapping[str, NDArray[np.generic]], names: Sequence[str], nearest: int
) -> tuple[Tensor, Tensor]:
    """The first `nearest` neighbours and cosines of the lists in a file, [B, k] twice.

    Raises:
        UserError: lists that are missing, too short, of other states, or of another vocabulary.
    """
    if "knn_cos" not in arrays:
        raise fail(
            str(path),
            "hold knn_cos beside knn_idx",
            f"arrays {', '.join(arrays)}",
            "add the cosines",
        )
    index, cosines = arrays["knn_idx"], arrays["knn_cos"]
    if (
        index.shape != cosines.shape
        or index.ndim != 2
        or index.dtype.kind not in "iu"
        or cosines.dtype.kind != "f"
    ):
        found = f"{index.dtype} {list(index.shape)} and {cosines.dtype} {list(cosines.shape)}"
        raise fail(
            str(path),
            "hold knn_idx [B, k] of integers and knn_cos [B, k]",
            found,
            "write them in one shape",
        )
    if len(index) != len(names):
        remedy = "give the lists of this vocabulary"
        raise fail(
            str(path), f"hold neighbours of the {len(names)} states", f"of {len(index)}", remedy
        )
    if nearest > index.shape[1]:
        raise fail(
            "process.nearest",
            f"be at most the {index.shape[1]} neighbours in {path}",
            nearest,
            "lower it",
        )
    if "vocab" in arrays:
        vocabulary = text_of(
            arrays["vocab"], f"vocab in {path}", "write it again, one entry per line"
        )
        theirs = vocabulary.removesuffix("\n").split("\n")
        for state, (named, name) in enumerate(zip_longest(theirs, names, fillvalue="")):
            if named != name:
                found = f"{named!r} for {name!r} at state {state}"
                raise fail(
                    str(path),
                    "have the vocabulary of data.tokens",
                    found,
                    "give both of one vocabulary",
                )
    if not np.isfinite(cosines).all():
        row = int((~np.isfinite(cosines)).any(1).argmax())
        raise fail(str(path), "hold finite cosines", f"another in row {row}", "write it again")
    kept = index[:, :nearest].astype(np.int64), cosines[:, :nearest].astype(np.float64)
    foreign = (kept[0] < -1) | (kept[0] >= len(names))
    if foreign.any():
        found = f"{kept[0][foreign][0]} in row {int(foreign.any(1).argmax())}"
        remedy = "give the lists of this vocabulary"
        raise fail(str(path), f"hold states 0..{len(names) - 1}, or -1 for none", found, remedy)
    own = kept[0] == np.arange(len(names))[:, None]  # many lists begin with the state itself
    return torch.from_numpy(np.where(own, -1, kept[0])), torch.from_numpy(kept[1])

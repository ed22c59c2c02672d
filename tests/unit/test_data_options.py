"""Options of data: each kind has its own fields, which are checked when they are made."""

import ast
import inspect
from dataclasses import FrozenInstanceError, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from scud.data import (
    DATA,
    ArraysOptions,
    DataOptionsUnion,
    DigitsOptions,
    ImagesOptions,
    SequencesOptions,
    TextOptions,
)
from scud.data.images.augment import mirror_half
from scud.errors import UserError
from scud.options import Options


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))


def test_all_kinds_are_in_the_union_and_the_registry() -> None:
    assert set(DATA.values()) == set(DataOptionsUnion.__args__)
    for kind, options in DATA.items():
        assert options().kind == kind
        assert issubclass(options, Options)


@pytest.mark.parametrize("options", DATA.values())
def test_every_option_is_explained(options: Any) -> None:
    """The text below a field, which the command line shows."""
    tree = ast.parse(inspect.getsource(options)).body[0]
    body = cast(ast.ClassDef, tree).body
    explained = {
        cast(ast.Name, field.target).id
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
    assert explained == {field.name for field in fields(options)}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImagesOptions(num_states=1), r"num_states must lie in \[2, 256\]"),
        (lambda: ImagesOptions(num_states=257), r"num_states must lie in \[2, 256\]"),
        (lambda: ImagesOptions(valid_share=0.0), r"valid_share must lie in \(0, 1\)"),
        (lambda: ImagesOptions(hub="a/b", train=Path("x")), "not be given together"),
        (lambda: SequencesOptions(valid_share=1.0), "valid_share must lie in"),
        (lambda: SequencesOptions(alphabet="A"), "alphabet must be one of protein, dna, rna"),
        (lambda: SequencesOptions(min_length=0), "min_length must lie in"),
        (lambda: SequencesOptions(min_length=9, max_length=5), "min_length must lie in"),
        (lambda: SequencesOptions(long=cast(Any, "crop")), "long must be one of cut, drop"),
        (lambda: TextOptions(length=0), r"data\.length must lie in"),
        (lambda: TextOptions(length=1 << 21), r"data\.length must lie in"),
        (lambda: TextOptions(valid_share=float("nan")), "valid_share must lie in"),
        (lambda: TextOptions(alphabet="a"), "the alphabet of text must hold two or more"),
        (lambda: TextOptions(alphabet="ab", tokens="bytes"), "given for characters only"),
        (lambda: TextOptions(hub="a/b", train=Path("x")), "not be given together"),
        (lambda: ArraysOptions(num_states=1), "num_states must lie in"),
        (lambda: ArraysOptions(valid_share=1.0), "valid_share must lie in"),
    ],
)
def test_a_value_that_breaks_a_rule_is_refused_at_once(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (ImagesOptions(), "a file or folder of images"),
        (SequencesOptions(), "a FASTA file"),
        (TextOptions(), "a text file"),
        (ArraysOptions(), "a .npy or .npz file of integers"),
    ],
)
def test_data_without_a_file_say_what_to_add(options: Any, what: str) -> None:
    message = f"data.train must name {what}, got nothing; add --data.train FILE"
    with pytest.raises(UserError, match=message):
        options.read()


def test_paths_are_kept_in_full() -> None:
    assert ImagesOptions(train=Path("x.npz")).train == Path.cwd() / "x.npz"
    assert TextOptions(tokens="vocab.txt").tokens == str(Path.cwd() / "vocab.txt")
    assert TextOptions(tokens="bytes").tokens == "bytes"
    with pytest.raises(FrozenInstanceError):
        cast(Any, ImagesOptions()).train = None


def test_digits_are_read() -> None:
    data = DigitsOptions().read()
    assert (data.name, data.num_states, data.label_names) == ("digits", 17, tuple("0123456789"))


def test_images_use_files_for_validation_and_test(tmp_path: Path) -> None:
    """They take the place of splits that the training file has; of theirs, that of the name."""
    arrays = [np.full((2, 3, 3), level, np.uint8) for level in range(5)]
    arrays[0][0] = 9
    np.savez(tmp_path / "a.npz", x_train=arrays[0], x_valid=arrays[1], y_valid=[4, 4])
    np.savez(tmp_path / "b.npz", x_train=arrays[2], x_test=arrays[3], y_test=[7, 5])
    options = ImagesOptions(
        train=tmp_path / "a.npz", valid=tmp_path / "b.npz", test=tmp_path / "b.npz"
    )
    data = options.read()
    levels = {
        name: int(data.split(name).batch(torch.tensor([1])).x0[0, 0, 0, 0]) for name in data.splits
    }
    assert levels == {"train": 0, "valid": 2, "test": 3}
    assert data.label_names == ("5", "7")
    np.savez(tmp_path / "c.npz", x_train=arrays[2][:, 1:])
    with pytest.raises(UserError, match=r"split 'valid' .*give every split the same shape"):
        ImagesOptions(train=tmp_path / "a.npz", valid=tmp_path / "c.npz").read()


def test_flips_are_what_is_done_to_training_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_train=np.arange(80, dtype=np.uint8).reshape(5, 4, 4))
    assert ImagesOptions(train=tmp_path / "a.npz").read().augment is None
    assert ImagesOptions(train=tmp_path / "a.npz", flips=True).read().augment is mirror_half


def test_half_of_the_images_are_mirrored() -> None:
    """Over 400 the number is within 6 deviations of 200 (false alarm 2e-9)."""
    x = torch.randint(256, (400, 3, 2, 5), generator=torch.Generator().manual_seed(0))
    flipped = mirror_half(x, torch.Generator().manual_seed(1))
    same = (flipped == x).flatten(1).all(1)
    turned = (flipped == x.flip(-1)).flatten(1).all(1)
    assert bool((same ^ turned).all())
    assert abs(int(turned.sum()) - 200) < 60


def test_sequences_text_and_arrays_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.fasta").write_text("".join(f">p{i} bin={i}\nACDE{'F' * i}\n" for i in range(9)))
    sequences = SequencesOptions(
        train=tmp_path / "a.fasta", valid=tmp_path / "a.fasta", max_length=6, label_field="bin"
    ).read()
    assert (sequences.modality.kind, sequences.label_names) == ("sequences", tuple("012345678"))
    (tmp_path / "a.txt").write_text("abc" * 20)
    text = TextOptions(train=tmp_path / "a.txt", length=5, alphabet="abc").read()
    assert (text.num_states, text.dims) == (3, (5,))
    np.save(tmp_path / "a.npy", np.arange(12).reshape(6, 2))
    arrays = ArraysOptions(train=tmp_path / "a.npy", num_states=20).read()
    assert (arrays.num_states, arrays.dims) == (20, (2,))

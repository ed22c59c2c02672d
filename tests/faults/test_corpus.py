"""Inputs that once ended in something else than a valid result or a `UserError`, or that were taken for what they are not."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scud.config import read_config
from scud.data import ArraysOptions, ImagesOptions, SequencesOptions, TextOptions
from scud.processes.dense import DenseOptions
from scud.processes.neighbour_graph import NeighbourGraphOptions
from tests.faults import targets
from tests.faults.children import forked
from tests.faults.fuzz import outcome_of, put, run_batch, seed_files
from tests.faults.mutations import Files, npy

Change = Callable[[bytes], bytes]

BOMB = b"&a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 9)) for name in b"cdefgh"
)
"""A list of lists of lists, in few bytes."""


def put_in(*path: Any, value: Any) -> Change:
    """Put a value at a place in JSON; a name that is not there is added."""

    def change(content: bytes) -> bytes:
        tree = json.loads(content)
        part = tree
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value
        return json.dumps(tree).encode()

    return change


def without(*path: str) -> Change:
    def change(content: bytes) -> bytes:
        tree = json.loads(content)
        part = tree
        for name in path[:-1]:
            part = part[name]
        del part[path[-1]]
        return json.dumps(tree).encode()

    return change


def instead(content: bytes) -> Change:
    return lambda _: content


def line(name: str, value: bytes) -> Change:
    """Give an option of YAML another value."""

    def change(content: bytes) -> bytes:
        lines = content.split(b"\n")
        place = next(
            n for n, text in enumerate(lines) if text.strip().startswith(name.encode() + b":")
        )
        lines[place] = lines[place].partition(b":")[0] + b": " + value
        return b"\n".join(lines)

    return change


def in_checkpoint(*path: Any, value: Any) -> Change:
    """Put a value at a place in a checkpoint."""

    def change(content: bytes) -> bytes:
        tree = torch.load(io.BytesIO(content), weights_only=True)
        part = tree
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value
        file = io.BytesIO()
        torch.save(tree, file)
        return file.getvalue()

    return change


def flip(content: bytes) -> bytes:
    """Another bit in the middle of the weights."""
    changed = bytearray(content)
    changed[len(changed) * 3 // 4] ^= 64
    return bytes(changed)


def header(text: str) -> bytes:
    """A .npy file of this header and eight bytes."""
    encoded = text.encode()
    return b"\x93NUMPY\x01\0" + len(encoded).to_bytes(2, "little") + encoded + bytes(8)


HUGE = header("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }\n")
LESS = header("{'descr': '<f8', 'fortran_order': False, 'shape': (-2,), }\n")
OPEN = header("{'descr': '<f8', 'fortran_order': False, 'shape': (3, \n")


def archive(**arrays: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as members:
        for name, content in arrays.items():
            members.writestr(f"{name}.npy", content)
    return file.getvalue()


def binary_text() -> bytes:
    """A parquet file whose text is not UTF-8."""
    import pyarrow
    import pyarrow.parquet

    file = io.BytesIO()
    column = pyarrow.array([b"the cat", b"\xff\xfe sat"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"text": column}), file)
    return file.getvalue()


CASES: dict[str, dict[str, Change]] = {
    "tokenizer.json": {
        "a large id": put_in("model", "vocab", "cat", value=2_000_000_000),
        "the largest id": put_in("model", "vocab", "cat", value=2**32 - 1),
        "deep": instead(b"[" * 200_000),
    },
    "vocab.npz": {
        "letters that are none": instead(
            archive(vocab=npy(np.frombuffer(b"\xff\xff\xff\x7f" * 4, "<U4")[0:1].reshape(())))
        ),
        "more elements than there is memory": instead(archive(vocab=HUGE)),
    },
    "config.yaml": {
        "lists of lists as the seed": line("seed", BOMB),
        "no date": line("seed", b"2001-13-45"),
        "no truth": line("seed", b"!!bool zz"),
        "no number": line("seed", b"!!int abc"),
        "no real number": line("seed", b"!!float zz"),
        "no time": line("seed", b"!!timestamp zz"),
        "5,000 digits": line("seed", b"1" * 5000),
        "3,000 brackets": line("seed", b"[" * 3000 + b"]" * 3000),
        "1,500 maps": line("seed", b"{a: " * 1500 + b"1" + b"}" * 1500),
        "the home of nobody": line("train", b"'~nosuchuser/x'"),
        "a name twice": lambda content: content + b"\nseed: 3\n",
    },
    "model/config.json": {
        **{
            f"{name} {value}": put_in("network", name, value=value)
            for name, value in (
                ("width", 10**9),
                ("width", 2**70),
                ("width", -1),
                ("layers", 10**6),
                ("heads", 0),
                ("dims", [10**9, 8, 8]),
                ("dims", [-1, 8, 8]),
                ("num_states", 10**9),
            )
        },
        "data of 6,000,000 positions": put_in("data", "dims", value=[6_000_000]),
        "process of 10^9 states": put_in("process", "num_states", value=10**9),
        "process of 10^5 states": put_in("process", "num_states", value=10**5),
        "200,000 brackets": instead(b"[" * 200_000),
        "a list": instead(b"[]"),
    },
    "model/config.json of sequences": {
        **{
            f"alphabet {value!r}": put_in("data", "alphabet", value=value)
            for value in (5, None, ["A"], "AC")
        },
        "layers": put_in("network", "layers", value=10**6),
        "hidden": put_in("network", "hidden", value=10**6),
        "no alphabet": without("data", "alphabet"),
    },
    "model.safetensors": {"a bit": flip, "half": lambda content: content[: len(content) // 2]},
    "last.ckpt, resumed": {
        "a bit": flip,
        "the noise": in_checkpoint("process", value=3),
        "the marginal": in_checkpoint("p0", value=[1, 2]),
        "the step": in_checkpoint("step", value="two"),
        "the average": in_checkpoint("average", value=None),
        "the weights": in_checkpoint("network", value=[1]),
        "no groups of the optimiser": in_checkpoint("optimizer", value={"state": {}}),
        "the optimiser's state": in_checkpoint("optimizer", "state", value={0: {"step": "x"}}),
        "the best": in_checkpoint("best", value="x"),
    },
    "metrics.csv, resumed": {
        "no number": lambda content: content + b"7,x,,0.1,0.2,0.3\n",
        "not UTF-8": lambda content: content.replace(b"\n1,", b"\n\xff1,"),
    },
    "generator npy": {
        "more elements than there is memory": instead(HUGE),
        "half a header": instead(OPEN),
        "an archive cut short": instead(b"PK\x03\x04" + bytes(40)),
        "a size beyond all": instead(header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**70},), }}\n")),
    },
    "neighbours npz": {"more elements than there is memory": instead(archive(knn_idx=HUGE, knn_cos=HUGE))},
    "uniref folder": {
        "half a header": instead(archive(ells=OPEN)),
        "fewer than no records": instead(archive(ells=LESS)),
    },
    "text parquet": {"not UTF-8": lambda _: binary_text()},
    "image npz": {"more elements than there is memory": instead(archive(x_train=HUGE))},
    "arrays npz": {"more elements than there is memory": instead(archive(x_train=HUGE))},
    "arrays npy": {"half a header": instead(OPEN)},
    "samples.npz": {"more elements than there is memory": instead(archive(x=HUGE))},
}  # fmt: skip
"""What is done to the file of a target."""

CASES["configuration in the weights"] = CASES["model/config.json"]

MAY_BE_VALID = {"metrics.csv, resumed"}
"""Targets whose damaged parts may also be made again."""

CHANGED = {"uniref folder": "lengths_and_offsets.npz", "model/config.json": "model/config.json"}
"""The file that is meant, where a target has several."""


@cache
def seeds(name: str, folder: Path) -> Files:
    return seed_files(target_of(name), folder)


def target_of(name: str) -> targets.Target:
    return next(target for target in targets.TARGETS if target.name == name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus") / "input"


@pytest.mark.parametrize("name", CASES)
def test_what_once_failed_is_refused(folder: Path, name: str) -> None:
    target, files = target_of(name), seeds(name, folder)
    changed = CHANGED.get(name) or target.names(files)[0]
    inputs = [files | {changed: change(files[changed])} for change in CASES[name].values()]
    found = dict(run_batch(target, lambda number: inputs[number], range(len(inputs)), folder))
    outcomes = {what: found[number] for number, what in enumerate(CASES[name])}
    allowed = {"refused", "valid"} if name in MAY_BE_VALID else {"refused"}
    assert {what: outcome for what, outcome in outcomes.items() if outcome not in allowed} == {}


READERS: dict[str, Callable[[Path], object]] = {
    "arrays": lambda path: ArraysOptions(train=path).read(),
    "images": lambda path: ImagesOptions(train=path).read(),
    "sequences": lambda path: SequencesOptions(train=path).read(),
    "sequences' labels": lambda path: SequencesOptions(
        train=path.parent / "some.fasta", labels=path
    ).read(),
    "text": lambda path: TextOptions(train=path).read(),
    "tokens": lambda path: TextOptions(train=path.parent / "some.txt", tokens=str(path)).read(),
    "config": read_config,
    "generator": lambda path: DenseOptions(generator=path).build(targets.small_data(path.parent)),
    "neighbours": lambda path: NeighbourGraphOptions(neighbours=path, nearest=1).build(
        targets.small_data(path.parent)
    ),
}


ENDINGS = {
    "arrays": (".npy", ".npz"),
    "images": ("", ".npz"),
    "sequences": ("",),
    "sequences' labels": ("",),
    "text": ("", ".txt"),
    "tokens": (".json", ".txt", ".npz"),
    "config": (".yaml",),
    "generator": (".npy", ".npz"),
    "neighbours": (".npy", ".npz"),
}
"""How names end of what a reader reads."""


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["link to itself", "pipe", "device", "folder", "nothing"])
def test_what_is_no_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: str, kind: str
) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    targets.fasta(tmp_path)
    targets.text(tmp_path)
    for ending in ENDINGS[reader]:
        path = tmp_path / f"x{ending}"
        if kind == "link to itself":
            path.symlink_to(path)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "device":
            path.symlink_to("/dev/zero")
        elif kind == "folder":
            path.mkdir()
        ended = forked(lambda path=path: print(outcome_of(lambda: READERS[reader](path))), 10)
        assert (ended.late, ended.text.strip()) == (False, "refused"), ending


def damaged(content: bytes, how: str) -> bytes:
    middle = len(content) // 2
    return {
        "emptied": b"",
        "a bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "another list": b"[]",
    }[how]


@pytest.mark.parametrize("name", ["cache of sequences", "cache of text"])
def test_a_damaged_cache_never_gives_other_data(folder: Path, name: str) -> None:
    """It is refused, or what it held is read again from the file itself."""
    target, files = target_of(name), seeds(name, folder)
    reader = {"cache of sequences": sequences_read, "cache of text": text_read}[name]
    put(files, folder)
    whole = forked(lambda: print(reader(folder))).last_line
    wrong = {}
    for file in target.names(files):
        for how in ("emptied", "a bit", "another list"):
            content = damaged(files[file], how)
            if content == files[file]:
                continue
            put(files | {file: content}, folder)
            ended = forked(lambda: print(reader(folder)), 20)
            if ended.broke or (ended.status == 0 and ended.last_line != whole):
                wrong[f"{how}: {file}"] = ended.broke or "other data"
    assert wrong == {}


def sequences_read(folder: Path) -> str:
    targets.cached(folder)
    return everything(SequencesOptions(train=folder / "some.fasta", valid_share=0.3).read())


def text_read(folder: Path) -> str:
    targets.cached(folder)
    options = TextOptions(
        train=folder / "some.txt", alphabet=targets.LETTERS, length=targets.LENGTH
    )
    return everything(options.read())


def everything(data: Any) -> str:
    """All that data hold, as text on a line."""
    parts = [str(data.report)]
    for split in data.splits:
        examples = data.split(split)
        parts += [str(row) for row in examples.batch(torch.arange(len(examples))).x0.tolist()]
        parts.append(str(examples.state_counts().tolist()))
        parts.append(str(getattr(examples, "text", "")))
    return " ".join(parts)

"""What a folder holds, as far as it must be the same again: everything but how long it took."""

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

State = dict[str, str]
"""Of each file and folder below a folder: a digest of what it holds."""


def state_of(folder: Path) -> State:
    """What a folder holds; temporary files and locks too, which should not be there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = "folder" if path.is_dir() else _digest(path)
    return found


def differences(ours: State, reference: State) -> str:
    """The first of the files in which two folders differ; nothing where they are the same."""
    missing = sorted(reference.keys() - ours.keys())
    left = sorted(ours.keys() - reference.keys())
    changed = [name for name in ours.keys() & reference.keys() if ours[name] != reference[name]]
    parts = [
        f"{what} {', '.join(names[:4])}"
        for what, names in (("missing", missing), ("left over", left), ("other", sorted(changed)))
        if names
    ]
    return "; ".join(parts)


def _digest(path: Path) -> str:
    if path.name == "metrics.csv":
        return _hash(_without_seconds(path.read_text()).encode())
    if path.suffix == ".ckpt":
        return _checkpoint(path)
    return _hash(path.read_bytes())


def _without_seconds(text: str) -> str:
    header, *rows = list(csv.reader(io.StringIO(text))) or [[]]
    kept = [place for place, name in enumerate(header) if name != "seconds"]
    return "\n".join(",".join(row[place] for place in kept) for row in [header, *rows])


def _checkpoint(path: Path) -> str:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch raises for half a file
        return f"no checkpoint: {type(error).__name__}"
    digest = hashlib.blake2b(digest_size=16)
    _add(digest, {name: value for name, value in content.items() if name != "seconds"})
    return digest.hexdigest()


def _add(digest: Any, value: Any) -> None:
    """Add a value of dictionaries, lists, tensors and plain values to a digest."""
    if isinstance(value, Mapping):
        for name in sorted(value, key=str):
            digest.update(str(name).encode())
            _add(digest, value[name])
    elif isinstance(value, list | tuple):
        for item in value:
            _add(digest, item)
    elif isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{list(value.shape)}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    else:
        digest.update(repr(value).encode())


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()

"""Checkpoints of several processes of which each keeps a part of network, average and optimiser.

Every process writes what it keeps to a file of its own, all in a new folder beside last.ckpt, by torch.distributed.checkpoint in
the format of safetensors, which unlike its usual format cannot run code. The checkpoint file is written afterwards, and names the
folder and the digest of every file in it: whatever the moment of a kill, a checkpoint names a folder that is whole. Folders that
no checkpoint names are removed.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed

from scud.files import make_folder
from scud.files.digests import hashed
from scud.files.writing import not_written, sync_file, sync_folder

_FOLDER = re.compile(r"shards-\d+(-\d+)?")
_FILE = re.compile(r"shard-\d+-model-\d+-of-\d+\.safetensors")


class Parts(NamedTuple):
    """The tensors of a checkpoint, as `Checkpoint` has them: weights, their average, and what the optimiser keeps of each."""

    network: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    moments: Mapping[int, Mapping[str, Tensor]]


def local(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor: all of it, but of one that is shared out over processes."""
    part = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


def write(checkpoints: Path, step: int, parts: Parts) -> dict[str, Any]:
    """Write what each process keeps of tensors: all processes must call this together.

    Args:
        checkpoints: the folder of checkpoint files, in which a folder is made.
        step: of training, after which the folder is called.
        parts: tensors of the same names and shapes in all processes, shared out over them or the same everywhere.

    Returns:
        What a checkpoint file notes of it, which `read` takes.

    Raises:
        UserError: a file cannot be written.
    """
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    named = [_new_folder(checkpoints, step) if distributed.get_rank() == 0 else ""]
    distributed.broadcast_object_list(named)
    folder = checkpoints / named[0]
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        save(_flat(parts), storage_writer=writer)
    except CheckpointException as error:
        for cause, _ in error.failures.values():
            if isinstance(cause, OSError):
                raise not_written(folder, cause) from error
        raise
    mine = f"shard-{distributed.get_rank() + 1:05d}-*"
    found = dict[str, str]()
    try:
        for path in folder.glob(mine):
            sync_file(path)  # PyTorch may have left the last of it to its own buffer
            found[path.name] = hashed(path)
    except OSError as error:
        raise not_written(folder, error) from error
    files: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(files, found)
    sync_folder(folder)
    sync_folder(checkpoints)
    return {
        "folder": folder.name,
        "files": {name: digest for some in files for name, digest in some.items()},
    }


def is_note(value: object) -> bool:
    """Whether a value may be what `write` returned; paths to elsewhere are none."""
    if not isinstance(value, dict) or set(value) != {"folder", "files"}:
        return False
    folder, files = value["folder"], value["files"]
    if not isinstance(folder, str) or _FOLDER.fullmatch(folder) is None:
        return False
    return isinstance(files, dict) and all(
        isinstance(name, str) and _FILE.fullmatch(name) and isinstance(digest, str)
        for name, digest in files.items()
    )


def what_is_wrong(checkpoints: Path, note: Mapping[str, Any]) -> str | None:
    """What differs in a folder from what was written, or None."""
    folder = checkpoints / note["folder"]
    there = {path.name for path in folder.glob("*.safetensors")}
    for name in sorted(there | set(note["files"])):
        if name not in there:
            return f"{folder / name} is missing"
        if name not in note["files"]:
            return f"{folder / name} is none of its files"
        if hashed(folder / name) != note["files"][name]:
            return f"the checksum of {folder / name} differs"
    return None


def read(
    checkpoints: Path, note: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[int, dict[str, Tensor]]]:
    """Whole tensors of network, average and optimiser, on the CPU, of a folder in which nothing is wrong."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(checkpoints / note["folder"]))
    whole: dict[str, Tensor] = {
        name: torch.empty(about.size, dtype=about.properties.dtype)
        for name, about in reader.read_metadata().state_dict_metadata.items()
        if isinstance(about, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        load(whole, storage_reader=reader, no_dist=True)
    network, average = dict[str, Tensor](), dict[str, Tensor]()
    moments = dict[int, dict[str, Tensor]]()
    for key, tensor in whole.items():
        group, _, name = key.partition(".")
        if group == "moments":
            place, _, kind = name.partition(".")
            moments.setdefault(int(place), {})[kind] = tensor
        else:
            {"network": network, "average": average}[group][name] = tensor
    return network, average, moments


def remove_unnamed(checkpoints: Path, *files: Path) -> None:
    """Remove the folders that none of these checkpoint files names; none where a file cannot be read."""
    folders = list(_folders(checkpoints))
    if not folders:
        return
    named = set()
    for file in files:
        if file.exists():
            try:
                values = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            except Exception:  # PyTorch's reader raises whatever the damage leads it to
                return
            note = values.get("shards") if isinstance(values, dict) else None
            if note is not None and is_note(note):
                named.add(note["folder"])
    for folder in folders:
        if folder.name not in named:
            _remove(folder)


def remove_all(checkpoints: Path) -> None:
    """Remove the folders of all checkpoints."""
    for folder in _folders(checkpoints):
        _remove(folder)


def _new_folder(checkpoints: Path, step: int) -> str:
    """Make a folder that was not there, which a checkpoint of the same step may name that is there still."""
    number, name = 1, f"shards-{step}"
    while (checkpoints / name).exists():
        number += 1
        name = f"shards-{step}-{number}"
    make_folder(checkpoints / name)
    return name


def _folders(checkpoints: Path) -> Iterator[Path]:
    for path in checkpoints.glob("shards-*"):
        if _FOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            yield path


def _remove(folder: Path) -> None:
    """Remove a folder and the files in it that `write` makes, and nothing else."""
    for path in folder.iterdir():
        if _FILE.fullmatch(path.name):
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _flat(parts: Parts) -> dict[str, Tensor]:
    """Tensors by one name; those that share memory, as tied weights do, are copied, since a file would refuse them."""
    named = {f"network.{name}": part for name, part in parts.network.items()}
    named |= {f"average.{name}": part for name, part in parts.average.items()}
    for place, kept in parts.moments.items():
        named |= {f"moments.{place}.{kind}": part for kind, part in kept.items()}
    seen = set[int]()
    for name, part in named.items():
        memory = local(part).data_ptr()
        named[name] = part.clone() if memory in seen else part
        seen.add(memory)
    return named

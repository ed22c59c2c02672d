"""The files of a saved model: `model.safetensors`, which is the model, and `config.json`, a copy of a part of it for people.

The weights' file holds the text of the configuration too, so that one rename puts one model in place of another. Both are
written under temporary names; the weights are renamed first and the copy last. Who is killed in between leaves the new model,
whole, beside a copy of another one: a warning says so, and training, which compares the two, writes both again.

What the configuration says is compared with the header of the weights before anything is built.
"""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from scud import format_1, own
from scud.errors import UserError, fail, shown
from scud.files import is_file, is_folder, make_folder, parse_json, read_text, writing
from scud.files.tensors import UnsoundError, reading, write_into
from scud.numerics.memory import check_memory
from scud.specs import Spec

FORMAT = 2
"""Of `config.json`; raised when an older version would misread a file."""

PARTS = ("process", "schedule", "diffusion", "network", "data")
"""What a configuration says of a model."""

_KEYS = {"format", "labels", "digests", *PARTS}

_REMEDY = "write it again: `scud train ... --resume` does, from the run's checkpoint"


@dataclass(frozen=True)
class Saved:
    """What the files of a model hold.

    Attributes:
        config: the kind and arguments of each part, and what else is kept, in today's format.
        tensors: p0, those of the network, and those among the arguments of parts, as part.name.
        folder: of the files.
        checked: whether they have a checksum, which was compared; those of version 0.1.0 have none.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    folder: Path
    checked: bool

    def part(self, name: str) -> Spec:
        """The kind and arguments of a part, tensors among them."""
        plain = dict(self.config[name])
        return plain | {key: self.tensors[f"{name}.{key}"] for key in plain.pop("tensors")}

    @property
    def weights(self) -> dict[str, Tensor]:
        """Those of the network, by their names in it."""
        return {
            name.removeprefix("network."): value
            for name, value in self.tensors.items()
            if name.startswith("network.")
        }

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the class labels."""
        return tuple(self.config.get("labels", ()))

    @property
    def digests(self) -> dict[str, str]:
        """Those of the data."""
        return dict(self.config.get("digests", {}))


def write_model(
    folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor], step: int | None
) -> None:
    """Write the files of a model; after an error, as in `scud.files.writing`, the earlier or the new one is there, whole."""
    make_folder(folder)
    text = json.dumps(config, indent=2) + "\n"
    metadata = {"config": text} if step is None else {"config": text, "step": str(step)}
    with writing(folder / "config.json") as copy, writing(folder / "model.safetensors") as weights:
        copy.write(text.encode())
        copy.flush()  # a disk that is full by now says so before the weights get their name
        write_into(weights, tensors, metadata)


def saved_step(folder: Path) -> int | None:
    """The step of the model in a folder; None where one of its files is missing or damaged, or it says none."""
    file, copy = folder / "model.safetensors", folder / "config.json"
    try:
        if not is_file(file) or not is_file(copy):
            return None
        with reading(file) as weights:
            weights.check()
            metadata = weights.metadata
        if read_text(copy, "a configuration") != metadata.get("config"):
            return None
    except UserError:
        return None
    step = metadata.get("step", "")
    return int(step) if step.isdecimal() and len(step) < 19 else None


def read_model(run: Path) -> Saved:
    """What the files of a run's model hold, checked.

    Raises:
        UserError: the folder or a file in it is missing or damaged, its parts do not go together, or it was written by a later
            version.
    """
    if not is_folder(run, "run"):
        remedy = "check the spelling; `scud train` makes one"
        raise fail("run", "be a folder that exists", run, remedy)
    folder = run / "model"
    text, tensors, checked = _read(run, folder / "model.safetensors", folder / "config.json")
    config = _current(_parsed(text, folder), folder)
    _check_entries(config, tensors, folder)
    return Saved(config, tensors, folder, checked)


def _read(run: Path, file: Path, copy: Path) -> tuple[str, dict[str, Tensor], bool]:
    """The text of the configuration, the tensors, and whether a checksum was compared."""
    _check_there(run, file)
    try:
        with reading(file, "model") as weights:
            size = max((stored.end for stored in weights.tensors.values()), default=0)
            check_memory("model", size, file, "load it where there is more memory")
            tensors, text = weights.load(), weights.metadata.get("config")
            checked = weights.has_checksum
    except UnsoundError as error:
        raise damaged(file.parent, f"{file.name}: {error}") from error
    if text is not None:
        _compare_copy(copy, text)
        return text, tensors, checked
    _check_there(run, copy)  # version 0.1.0 wrote no metadata
    return _text_of(copy), tensors, checked


def _check_there(run: Path, file: Path) -> None:
    if not is_file(file, "run"):
        remedy = "train it until its first validation with `scud train`"
        raise fail("run", f"hold model/{file.name}", run, remedy)


def _text_of(copy: Path) -> str:
    try:
        return read_text(copy, "a configuration")
    except UserError as error:
        raise damaged(copy.parent, f"{copy.name}: {error.__cause__ or 'too large'}") from error


def _compare_copy(copy: Path, text: str) -> None:
    """Warn where the copy for people is not of these weights."""
    try:
        same = is_file(copy) and read_text(copy, "a configuration") == text
    except UserError:  # it cannot be read, and is not needed
        same = False
    if not same:
        said = "is not what the weights beside it say of themselves, which is used"
        remedy = "`scud train ... --resume` writes it again"
        warnings.warn(f"{copy} {said}; {remedy}", stacklevel=5)


def _parsed(text: str, folder: Path) -> dict[str, Any]:
    try:
        return parse_json(text, "config.json", _REMEDY)
    except UserError as error:
        what = error.__cause__ or "no object of JSON"
        raise damaged(folder, f"config.json: {what}") from error


def _current(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A configuration in today's format."""
    number, remedy = config.get("format"), "use the version that wrote it"
    if number == 1:
        try:
            config = format_1.upgraded_model(config)
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(folder, f"config.json: an entry is missing or wrong: {error}") from error
    elif number != FORMAT:
        found = f"{shown(number)} in {folder / 'config.json'}"
        raise fail("format", f"be {FORMAT} or 1, which this version reads", found, remedy)
    unknown = sorted(set(config) - _KEYS)
    if unknown:
        rule = f"have the keys {', '.join(sorted(_KEYS))}"
        raise fail("config.json", rule, f"also {', '.join(unknown)}", remedy)
    return config


def _check_entries(config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Raise `UserError` unless the entries are of their kinds, and of the tensors and states that there are."""
    p0 = tensors.get("p0")
    if p0 is None or p0.ndim != 1 or not p0.is_floating_point():
        raise damaged(folder, "there is no p0")
    asked = {"p0"}
    for name in PARTS:
        part = config.get(name)
        names: Any = part.get("tensors") if isinstance(part, dict) else None
        if not isinstance(part, dict) or not _are_texts(names):
            raise damaged(folder, f"the entry {name} of config.json is missing or wrong")
        asked |= {f"{name}.{key}" for key in names}
        kind = part.get("kind", "")
        if not isinstance(kind, str):
            raise damaged(folder, f"{name}.kind of config.json is no text")
        states = len(p0) if own.is_own(kind) else part.get("num_states", len(p0))
        if type(states) is not int or states != len(p0):
            what = f"{name}.num_states {shown(states)} beside a p0 of {len(p0)} states"
            raise damaged(folder, what)
    labels, digests = config.get("labels", []), config.get("digests", {})
    if not _are_texts(labels):
        raise damaged(folder, "labels is no list of different texts")
    if not isinstance(digests, dict) or not _are_texts(list(digests.values()), twice=True):
        raise damaged(folder, "digests is no object of texts")
    stored = {name for name in tensors if not name.startswith("network.")}
    if stored != asked:
        what = ", ".join(sorted(stored ^ asked))
        raise damaged(folder, f"config.json and the weights do not both have {shown(what)}")


def _are_texts(value: Any, *, twice: bool = False) -> bool:
    """Whether a value is a list of texts, none of them there twice unless that may be."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        return False
    return twice or len(set(value)) == len(value)


def damaged(folder: Path, what: str) -> UserError:
    """The error of a model whose files are not as they should be."""
    return fail("model", "be complete", f"damaged files in {folder} ({what})", _REMEDY)

"""Saved models, changed by hand: the configuration that the weights' file holds, and its copy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from scud.files.tensors import reading, write_tensors


def rewrite(run: Path, change: Callable[[str], str]) -> None:
    """Change the text of the configuration, in both files, as who wrote another one would have it."""
    weights, copy = run / "model" / "model.safetensors", run / "model" / "config.json"
    with reading(weights) as file:
        tensors, metadata = file.load(), dict(file.metadata)
    text = change(metadata["config"])
    del metadata["checksum"]
    write_tensors(weights, tensors, metadata | {"config": text})
    copy.write_text(text)


def update(run: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the values of the configuration, in place or by returning others."""

    def changed(text: str) -> str:
        values = json.loads(text)
        other = change(values)
        return json.dumps(values if other is None else other)

    rewrite(run, changed)


def strip(run: Path) -> None:
    """Leave the weights alone in their file, as version 0.1.0 wrote it: `config.json` is then the configuration."""
    weights = run / "model" / "model.safetensors"
    with reading(weights) as file:
        tensors = file.load()
    save_file(tensors, weights)

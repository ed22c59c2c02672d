"""What commands share that read and write text: files of states and of texts, and what positions are called."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scud.errors import fail
from scud.files import is_file, writing_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POSITIONS = {"char": "character", "byte": "byte", "token": "token"}
"""What a position is called, by the unit of a run's tokens."""

SEPARATOR = "-" * 10
"""A line between two texts of a file."""

SHOWN = 3
"""Texts printed."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal obeys rather than shows."""


def write_texts(path: Path, texts: Iterable[str], count: int) -> None:
    """Write so many texts one after another, `SEPARATOR` on a line of its own between two of them; print the first of them."""
    first = []
    with writing_text(path) as file:
        for number, text in enumerate(texts):
            file.write(f"\n{SEPARATOR}\n{text}" if number else text)
            if number < SHOWN:
                first.append(text)
        file.write("\n")
    if count > SHOWN:
        print(f"the first {SHOWN} of {count}:")
    print(f"\n{SEPARATOR}\n".join(CONTROL.sub("�", text) for text in first))


def read_states(path: Path) -> "NDArray[np.integer[Any]]":
    """The states [N, L] of an `.npz` file that `scud sample` wrote.

    Raises:
        UserError: no such file, or not one of integers [N, L] in an array x.
    """
    from scud.files.arrays import npz_arrays

    remedy = "give the samples.npz that scud sample wrote"
    if not is_file(path, "samples"):
        raise fail("samples", "name a file that exists", path, remedy)
    arrays, found = npz_arrays(path, ["x"], argument="samples", remedy=remedy)
    if "x" not in arrays:
        had = f"{path} with {', '.join(found) or 'no arrays'}"
        raise fail("samples", "be an undamaged .npz file with an array x", had, remedy)
    states = arrays["x"]
    if states.dtype.kind not in "iu" or states.ndim != 2:
        shape = f"{states.dtype} {list(states.shape)}"
        raise fail(f"x in {path}", "hold states of texts, integers [N, length]", shape, remedy)
    return states

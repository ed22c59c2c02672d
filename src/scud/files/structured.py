"""JSON that others may have written: one object without double names, numbers of no sense or a depth that exhausts the stack."""

import json
import math
from collections import Counter
from typing import Any

from scud.errors import UserError, fail

MOST_PARTS = 4_000_000
"""Values that a text may hold: each takes some hundred bytes of memory at most."""


def parse_json(text: str, argument: str, remedy: str) -> dict[str, Any]:
    """The object that a text of JSON holds.

    Args:
        text: the text.
        argument: what to call it in messages, such as the file's name.
        remedy: what to do where it is not as it should be.

    Raises:
        UserError: it has millions of parts, is no JSON, no object, nested too deeply, holds a name twice, NaN or
            infinity, or a number of thousands of digits.
    """
    parts = sum(map(text.count, ",[{"))
    if parts > MOST_PARTS:
        raise fail(argument, f"have at most {MOST_PARTS:,} parts", f"{parts:,}", remedy)
    try:
        value = json.loads(
            text, object_pairs_hook=_once, parse_constant=_refused, parse_float=_finite
        )
    except (ValueError, RecursionError) as error:
        raise fail(argument, "be JSON", str(error), remedy) from error
    if not isinstance(value, dict):
        raise fail(argument, "hold an object of JSON", type(value).__name__, remedy)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The names and values of an object, in which no name stands twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = counts.most_common(1)[0][0]
        raise UserError(f"the name {twice[:100]!r} stands twice in one object")
    return values


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        _refused(text[:100])
    return value


def _refused(name: str) -> Any:
    raise UserError(f"{name} is no number of JSON")

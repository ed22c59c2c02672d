"""YAML for configurations: groups of names and plain values, each of which means one thing.

Left out of YAML is what surprises or does harm: anchors and aliases, tags, names that stand twice, and readings of plain words as
something else (`yes` as true, 010 as 8, 1:30 as 90, dates). Size and depth are bounded, as the text may come from others.
"""

import re
from collections.abc import Iterable
from typing import Any, ClassVar

import yaml

from scud.errors import UserError, shown

MOST_BYTES = 1 << 18
"""Of a configuration, by far."""

MOST_PARTS = 20_000
"""Names, values and groups in one."""

DEEPEST = 20
"""Groups within groups."""

MOST_DIGITS = 300
"""Of a number."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Plain values as JSON has them, and `null`, `~` and nothing as none."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def parse_yaml(text: str) -> Any:
    """The value that a text of YAML holds.

    Raises:
        UserError: it is no YAML, or of what configurations do without; the message is a reason alone, with its line.
    """
    try:
        _check_events(yaml.parse(text, Loader=_Loader))
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _check_names(node)
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(_reason(error)) from error


def _check_events(events: Iterable[Any]) -> None:
    """Raise `UserError` for what configurations do without; nothing is built of it before."""
    depth = documents = 0
    for number, event in enumerate(events):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _wrong(event, f"the anchor or alias {shown(event.anchor)}: write the value out")
        if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) is not None:
            raise _wrong(event, f"the tag {shown(event.tag)}: write the value alone")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if number > MOST_PARTS:
            raise _wrong(event, f"what is beyond {MOST_PARTS:,} names and values")
        if depth > DEEPEST:
            raise _wrong(event, f"more than {DEEPEST} groups within another")
        if documents > 1:
            raise _wrong(event, "a second document")


def _check_names(node: Any) -> None:
    """Raise `UserError` unless every name is a text, and stands once in its group, and numbers are no longer than sense."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag.endswith((":int", ":float")) and len(node.value) > MOST_DIGITS:
            raise _wrong(node, f"a number of more than {MOST_DIGITS} digits")
        return
    names: set[str] = set()
    for part in node.value:
        if isinstance(node, yaml.MappingNode):
            name, part = part
            if not isinstance(name, yaml.ScalarNode) or not name.tag.endswith(":str"):
                raise _wrong(name, "a name that is no text")
            if name.value in names:
                raise _wrong(name, f"{shown(name.value)} twice in one group: drop one of them")
            names.add(name.value)
        _check_names(part)


def _wrong(where: Any, what: str) -> UserError:
    return UserError(f"line {where.start_mark.line + 1} has {what}")


def _reason(error: Exception) -> str:
    """What is wrong, in one line."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
    return shown(problem if mark is None else f"line {mark.line + 1}: {problem}")

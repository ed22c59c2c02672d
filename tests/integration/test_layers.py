"""Imports point one way, and nobody outside a room asks which kind of thing it holds."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KINDS = {"arrays", "digits", "images", "sequences", "text"}
MODALITIES = {"Arrays", "Images", "Sequences", "Text", "Modality"}
EXCUSED = ("data/", "recipes/", "format_1.py")


def test_import_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS


def branches(tree: ast.AST) -> list[int]:
    """Lines that compare something with the name of a kind of data, or ask whether something is one of the modalities."""
    lines = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare | ast.MatchValue):
            constants = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
            lines += [node.lineno] if constants & KINDS else []
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
            "isinstance",
            "issubclass",
        ):
            names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
            names |= {part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
            lines += [node.lineno] if names & MODALITIES else []
    return lines


def test_no_branch_on_the_kind_of_data() -> None:
    package = ROOT / "src" / "scud"
    asked = []
    for path in sorted(package.rglob("*.py")):
        name = path.relative_to(package).as_posix()
        if not name.startswith(EXCUSED):
            asked += [
                f"{name}:{line}" for line in branches(ast.parse(path.read_text(encoding="utf-8")))
            ]
    assert asked == []


def test_the_search_sees_a_branch() -> None:
    code = 'if run.kind == "text":\n    pass\nif isinstance(x, data.Images):\n    pass\nif kind in ("a", "images"):\n    pass'
    assert branches(ast.parse(code)) == [1, 3, 5]

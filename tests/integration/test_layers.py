"""Imports point one way: the contracts in pyproject.toml hold."""

from pathlib import Path

import pytest


def test_import_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

    monkeypatch.chdir(Path(__file__).parents[2])
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS

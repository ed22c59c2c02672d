"""What is tried in short, as tests; `tests.faults.crash` and `tests.faults.fuzz` do all of it."""

from collections.abc import Iterator

import pytest

from tests.tools.curves import blank


@pytest.fixture(autouse=True)
def blank_curves() -> Iterator[None]:
    """Drawing curves takes a quarter of a small run."""
    with blank():
        yield

"""Every test runs torch and numpy on one thread: the arrays are small, and threads that spin for each other cost more than
they give. And signals end a process as they do at a terminal, though `nohup` and shells in the background have them ignored."""

import os
import signal
from collections.abc import Iterator

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fixed-shapes", action="store_true", help="compute as on a GPU, with fixed shapes"
    )


@pytest.fixture(scope="session", autouse=True)
def path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Which path computes, for all tests (see `scud.numerics.devices`)."""
    from scud.numerics import fixed_shapes

    with fixed_shapes(request.config.getoption("--fixed-shapes")):
        yield

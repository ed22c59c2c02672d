"""Every test runs torch and numpy on one thread: the arrays are small, and threads that spin for each other cost more than
they give. And signals end a process as they do at a terminal, though `nohup` and shells in the background have them ignored."""

import gc
import os
import signal
from collections.abc import Iterator

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest

# Nothing that collecting makes is garbage: looking for some takes a quarter of its time.
gc.disable()

signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fixed-shapes", action="store_true", help="compute as on a GPU, with fixed shapes"
    )


def pytest_collection_finish() -> None:
    """Where tests run; a process that only deals them out has no need of torch."""
    import torch

    torch.set_num_threads(1)
    gc.freeze()
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws without a seed is the same whichever tests ran before it."""
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Which path computes, for all tests (see `scud.numerics.devices`)."""
    from scud.numerics import fixed_shapes

    with fixed_shapes(request.config.getoption("--fixed-shapes")):
        yield

"""Libraries keep what they make once in the cache, and commands need no home folder."""

import os
from pathlib import Path

import pytest

from scud.cli.endings import of_size, status_of, too_large
from scud.cli.places import NAMES, settle
from scud.errors import Interrupted, UserError
from scud.files.cache import default_cache


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_places_are_in_the_cache_unless_they_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    settle()
    assert os.environ["MPLCONFIGDIR"] == "mine"
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "cache" / "torch")


@pytest.mark.parametrize("below", [True, False], ids=["below a file", "no home"])
def test_without_a_cache_libraries_choose_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: bool
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    (tmp_path / "file").touch()
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "file" / "cache") if below else "")
    monkeypatch.setattr(Path, "home", homeless)
    settle()
    assert not set(NAMES) & set(os.environ)
    if not below:
        with pytest.raises(
            UserError, match="the cache must have a place, got no home folder; name"
        ):
            default_cache()


def test_what_is_too_large_is_told_by_the_numbers_that_were_asked_for() -> None:
    told = str(
        of_size(MemoryError("Unable to allocate 8 EiB"), ["run", "--num", "5", "--steps=9000"])
    )
    assert told.startswith("--steps 9000 must fit in the memory there is, got Unable to allocate")
    assert "the data and the model must fit" in str(of_size(MemoryError(), ["run", "--num"]))
    for error in (
        MemoryError(),
        RecursionError("maximum depth"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory"
        ),
        RuntimeError("CUDA out of memory. Tried to allocate 20 GiB"),
    ):
        assert too_large(error)
    assert not too_large(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_status_after_an_interrupt_is_that_of_its_signal() -> None:
    assert status_of(KeyboardInterrupt()) == 130
    assert status_of(Interrupted(15)) == 143

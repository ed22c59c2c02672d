"""A mapped file that is read here and there is the same array, and the system knows."""

import mmap
from pathlib import Path

import numpy as np
import pytest

from scud.files.maps import here_and_there

SMAPS = Path("/proc/self/smaps")


def test_it_is_the_array_of_the_file(tmp_path: Path) -> None:
    content = np.arange(10_000, dtype=np.int32)
    content.tofile(tmp_path / "a.bin")
    mapped = here_and_there(np.memmap(tmp_path / "a.bin", dtype=np.int32, mode="r"))
    assert type(mapped) is np.ndarray
    assert np.array_equal(mapped, content)


@pytest.mark.skipif(
    not (SMAPS.exists() and hasattr(mmap, "MADV_RANDOM")), reason="Linux says how a map is read"
)
def test_the_system_knows(tmp_path: Path) -> None:
    found = {}
    for name in ("plain", "advised"):
        np.save(tmp_path / f"{name}.npy", np.zeros(10_000))
        mapped = np.load(tmp_path / f"{name}.npy", mmap_mode="r")
        kept = here_and_there(mapped) if name == "advised" else mapped
        about = SMAPS.read_text().split(f"{name}.npy")[1]
        found[name] = "rr" in about.split("VmFlags:")[1].split("\n")[0].split()
        assert len(kept) == 10_000
    assert found == {"plain": False, "advised": True}

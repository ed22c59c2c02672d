"""Files as arrays, through memory maps."""

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray


def here_and_there(mapped: np.memmap[Any, Any]) -> NDArray[Any]:
    """A mapped file as a plain array that is read here and there, as batches are.

    Without being told so, a system reads 128 kB around each place: 30 times as much as a batch of sequences needs.
    """
    if isinstance(mapped.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
        mapped.base.madvise(mmap.MADV_RANDOM)
    return np.asarray(mapped)

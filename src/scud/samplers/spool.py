"""Examples on their way to a file: kept on disk as the smallest integers, so that memory does not grow with their number."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import overload

import numpy as np
import torch
from torch import Tensor

from scud.errors import fail
from scud.files.writing import not_written


class Spool(Sequence[Tensor]):
    """The states of examples, in a nameless file that ends with the process, however that ends.

    Args:
        folder: where to keep them, and where they are to be written in the end.
        num_states: B; a state may also be B, which stands for none.
    """

    def __init__(self, folder: Path, num_states: int) -> None:
        self.folder, self.num_states = folder, num_states
        self.shown: list[Tensor] = []
        self._dtype = np.min_scalar_type(num_states)
        self._like: Sequence[Tensor] = ()
        self._place = np.empty(0, dtype=np.int64)
        self._end = 0
        try:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `close` ends it
        except OSError as error:
            raise not_written(folder, error) from error

    def begin(self, like: Sequence[Tensor]) -> None:
        """Make room for examples of these shapes.

        Raises:
            UserError: the disk has not the room for them.
        """
        self._like, self._place = like, np.full(len(like), -1, dtype=np.int64)
        positions = sum(example.numel() for example in like)
        # One copy here, and about a byte per position in the file that is written in the end.
        needed = positions * (self._dtype.itemsize + 1)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            most = free * len(like) // needed
            rule = f"be at most {most:,} for the {free:,} bytes free in {self.folder}"
            raise fail("num", rule, f"{len(like):,}", "draw fewer, or choose a place with more")

    def close(self) -> None:
        """Let go of the file; nothing can be read after that."""
        self._file.close()

    def __len__(self) -> int:
        return len(self._like)

    def __setitem__(self, index: int, states: Tensor) -> None:
        if int(states.min()) < 0 or int(states.max()) > self.num_states:
            found = f"{int(states.min())}..{int(states.max())}"
            remedy = "correct the sampler"
            raise fail("the sampler", f"draw states in 0..{self.num_states - 1}", found, remedy)
        data = states.numpy().astype(self._dtype).tobytes()
        with self._room():
            self._file.seek(self._end)
            self._file.write(data)
        self._place[index] = self._end
        self._end += len(data)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        shape, place = self._like[index].shape, int(self._place[index])
        with self._room():  # what was not yet on the disk is written before anything is read
            self._file.seek(place)
            data = self._file.read(shape.numel() * self._dtype.itemsize)
        states = np.frombuffer(data, dtype=self._dtype).astype(np.int64)
        return torch.from_numpy(states).reshape(shape)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Say what a full disk means."""
        try:
            yield
        except OSError as error:
            raise not_written(self.folder, error, self._end) from error

    def drawn(self) -> list[int]:
        """Which examples have been drawn."""
        places: list[int] = np.flatnonzero(self._place >= 0).tolist()
        return places


class Some(Sequence[Tensor]):
    """Some examples of a spool, in order."""

    def __init__(self, spool: Spool, places: Sequence[int]) -> None:
        self.spool, self.places = spool, places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...

    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        if isinstance(index, slice):
            return [self.spool[place] for place in self.places[index]]
        return self.spool[self.places[index]]

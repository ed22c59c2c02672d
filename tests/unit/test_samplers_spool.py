"""Examples on their way to a file: the same as in memory, within the room that the disk has."""

import shutil
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from scud import Masking
from scud.errors import UserError
from scud.samplers import Ancestral, Some, Spool, draw
from scud.samplers.batched import MOST, check_number
from scud.typing import Conditioning

MODEL = Masking(300, p0=torch.full((300,), 1 / 300, dtype=torch.float64))


def even(x_t: Tensor, _: Conditioning) -> Tensor:
    return torch.zeros(*x_t.shape, 300)


def source() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def test_rows_of_any_length_come_back_in_order(tmp_path: Path) -> None:
    like = [torch.zeros(size, dtype=torch.int64) for size in (3, 9, 1, 9, 4)]
    spool = Spool(tmp_path, 300)
    arguments = (Ancestral(steps=3), MODEL, even, like)
    inside = draw(*arguments, positions=10, frames=2, spool=spool, generator=source())
    plain = draw(*arguments, positions=10, frames=2, generator=source())
    assert len(inside.states) == 5
    assert all(a.equal(b) for a, b in zip(inside.states, plain.states, strict=True))
    assert all(a.equal(b) for a, b in zip(inside.frames, plain.frames, strict=True))
    assert [len(row) for row in inside.states[1:4]] == [9, 1, 9]
    assert spool.drawn() == [0, 1, 2, 3, 4]
    some = Some(spool, [1, 4])
    assert [row.tolist() for row in some] == [plain.states[i].tolist() for i in (1, 4)]
    assert [row.tolist() for row in some[1:]] == [plain.states[4].tolist()]
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_what_the_disk_cannot_hold_is_refused_with_what_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=90))
    like = [torch.zeros(10, dtype=torch.int64)] * 4
    with (
        closing(Spool(tmp_path, 300)) as spool,
        pytest.raises(UserError, match="num must be at most 3 for the 90 bytes free"),
    ):
        draw(Ancestral(steps=1), MODEL, even, like, spool=spool)


@pytest.mark.parametrize("state", [-1, 301])
def test_a_sampler_that_draws_no_states_is_told(tmp_path: Path, state: int) -> None:
    with closing(Spool(tmp_path, 300)) as spool:
        spool.begin([torch.zeros(2, dtype=torch.int64)])
        with pytest.raises(UserError, match=r"the sampler must draw states in 0\.\.299"):
            spool[0] = torch.tensor([0, state])
        assert spool.drawn() == []


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="be written"):
        Spool(tmp_path / "none", 4)


def test_numbers_of_examples_that_one_call_can_draw() -> None:
    check_number(MOST)
    for wrong in (0, MOST + 1, 10**400):
        with pytest.raises(UserError, match="num must lie in"):
            check_number(wrong)

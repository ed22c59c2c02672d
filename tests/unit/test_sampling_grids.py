"""The grids of times that the benchmark of sampling compares: what each is even in, and that all can be walked."""

import pytest
import torch
from benchmarks.sampling_quality import GRIDS, different, times
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking
from scud.processes import Gaussian
from scud.samplers import Ancestral
from scud.samplers.base import check_grid
from scud.schedules import Cosine, MutualInformation

P0 = torch.linspace(1, 3, 17, dtype=torch.float64) / 34
PROCESS = Gaussian(17, 0.05)
MODELS: list[Diffusion] = [
    SCUD(PROCESS, MutualInformation(PROCESS, P0, 1.0), p0=P0),
    Classical(PROCESS, MutualInformation(PROCESS, P0, 0.0), p0=P0),
    Masking(17, p0=P0),
    Masking(17, Cosine(), p0=P0),
]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("calls", [1, 2, 7, 64, 512])
def test_every_grid_falls_from_t_max_to_0(model: Diffusion, grid: str, calls: int) -> None:
    made = times(model, grid, calls)
    assert made.shape == (calls + 1,)
    check_grid(made, model.t_max)


def even(values: Tensor) -> bool:
    return torch.allclose(values.diff(), values.diff().mean(), rtol=1e-3)


@pytest.mark.parametrize("model", MODELS)
def test_grids_are_even_in_what_they_say(model: Diffusion) -> None:
    assert torch.equal(times(model, "cosine", 32), Ancestral(steps=32).times(model))
    torch.testing.assert_close(
        times(model, "information", 32), Ancestral(grid="information", steps=32).times(model)
    )
    assert even(times(model, "t", 32))
    assert even(times(model, "root-t", 32).sqrt())
    assert even(model.schedule.tau(times(model, "events", 32)))
    logarithmic = times(model, "log-events", 32)[:-1]
    assert even(model.schedule.tau(logarithmic).log())
    torch.testing.assert_close(
        logarithmic[-1], times(model, "information", 32)[-2], rtol=1e-6, atol=0
    )


def test_powers_are_shares_of_information() -> None:
    """Where information falls linearly in t, its shares are those of t."""
    for model in MODELS[:3]:
        assert even(times(model, "information", 32))
        for exponent in (0.5, 1.5, 2.0):
            share = (1 - torch.arange(33, dtype=torch.float64) / 32) ** exponent
            torch.testing.assert_close(
                times(model, f"power-{exponent:g}", 32), model.t_max * share, rtol=1e-5, atol=0
            )


def test_grids_that_coincide_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    grids = ["information", "t", "power-2", "root-t", "power-0.5"]
    assert different(MODELS[:3], grids) == ["information", "power-2", "power-0.5"]
    assert "t is the same as information here" in capsys.readouterr().out
    assert different(MODELS, grids) == grids

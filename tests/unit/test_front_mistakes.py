"""The front door: a mistake in what fit is given costs no run."""

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

import scud
from scud.diffusion.objectives import Bound, Draw
from scud.errors import UserError
from scud.processes import Uniform
from scud.typing import Conditioning
from tests.unit.front import DATA, B, Plain


class Wrong(Plain):
    """Its logits lack a state."""

    def forward(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
        return super().forward(x_t, conditioning)[..., 1:]


def plainly_wrong(model: object, draw: Draw) -> float:  # noqa: ARG001
    return 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed must lie in"),
        ({"seed": 2**63}, "seed must lie in"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"objective": 3}, "objective must be a callable"),
        ({"objective": Bound}, "objective must be a callable that is no class"),
        ({"objective": plainly_wrong}, "objective must return nats per example"),
        ({"objective": lambda _, draw: draw.diffusion.detach()}, "the loss must depend"),
        ({"objective": lambda _, draw: draw.nothing}, "make a draw, got AttributeError"),
        ({"callbacks": [3]}, "callbacks must be callable"),
        ({"callbacks": [pl.Callback]}, "callbacks must be callable"),
        ({"callbacks": print}, "callbacks must be a list"),
        ({"loggers": [3]}, "loggers must have log_metrics"),
        ({"network": Wrong()}, r"denoiser must return logits of shape \[1, 3, 2, 5\]"),
        ({"network": Plain().requires_grad_(False)}, "network must have a parameter"),
        ({"network": lambda x, _: x}, "network must be a torch.nn.Module"),
        ({"model": None}, "model must be a Diffusion"),
    ],
)
def test_a_mistake_costs_no_run(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    run = tmp_path / "run"
    model = scud.SCUD(Uniform(B), p0=DATA.p0())
    quick: dict[str, Any] = {"steps": 1, "batch_size": 10, "validation_repeats": 1}
    quick |= {"data": DATA, "folder": run, "progress": False, "device": "cpu"}
    scud.fit(model, Plain(), **quick)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    asked = {"model": model, "network": Plain(), "overwrite": True, **quick, **options}
    state = torch.get_rng_state()
    with pytest.raises((UserError, TypeError), match=message):
        scud.fit(**asked)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert torch.get_rng_state().equal(state)


def test_trying_a_draw_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    class Counting(Plain):
        def __init__(self, num_states: int = B, width: int = 8) -> None:
            super().__init__(num_states, width)
            self.calls = 0

        def forward(self, x_t: Tensor, conditioning: Conditioning) -> Tensor:
            self.calls += 1
            return super().forward(x_t, conditioning)

    network = Counting().train()
    network.dropout.eval()
    with pytest.raises(UserError, match="spare"):
        scud.fit(
            scud.SCUD(Uniform(B), p0=DATA.p0()),
            network,
            DATA,
            spare(tmp_path),
            batch_size=10,
            device="cpu",
        )
    assert network.calls == 0
    assert network.training
    assert not network.dropout.training
    assert all(weight.grad is None for weight in network.parameters())


def spare(folder: Path) -> Path:
    """A folder of somebody else's."""
    path = folder / "spare"
    path.mkdir()
    (path / "note.txt").write_text("mine")
    return path

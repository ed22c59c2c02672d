"""Networks without labels are those of earlier versions: names, shapes, weights and outputs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from scud import SCUD
from scud.networks import NETWORKS, ByteNet, DiT, UNet
from scud.numerics.logits import LinearLogits
from scud.processes import Uniform
from scud.schedules import Linear
from scud.typing import Conditioning, Given
from tests.unit.test_networks import awake

RECORDED = Path(__file__).parent.parent / "fixtures" / "networks-0.1.0.json"
"""What `record` made of `CASES` in version 0.1.0."""

SMALL = {"width": 16, "layers": 2, "dropout": 0.1}
CASES: dict[str, tuple[type[nn.Module], dict[str, Any], tuple[int, ...]]] = {
    "unet": (
        UNet,
        {"dims": (2, 8, 4), "width": 16, "blocks": 1, "levels": 2, "dropout": 0.1, "head": "mixed"},
        (2, 8, 4),
    ),
    "bytenet": (ByteNet, {**SMALL, "hidden": None}, (9,)),
    "dit": (DiT, {**SMALL, "heads": 2, "checkpointing": False}, (9,)),
}


def new(kind: str, num_states: int = 5, **options: Any) -> nn.Module:
    """The network of a case, its weights drawn from seed 0."""
    build, sizes, _ = CASES[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build(num_states, **sizes, **options)


def noised(kind: str, num_states: int = 5) -> tuple[torch.Tensor, Conditioning]:
    """Three noised examples [3, *dims] of a case, one of them padded if they are rows."""
    dims, generator = CASES[kind][2], torch.Generator().manual_seed(0)
    p0 = torch.full((num_states,), 1 / num_states, dtype=torch.float64)
    model = SCUD(Uniform(num_states), Linear(), p0=p0)
    x0 = torch.randint(num_states, (3, *dims), generator=generator)
    noisy = model.noise(x0, torch.full((3,), 0.5, dtype=torch.float64), generator)
    mask = torch.arange(9) < torch.tensor([[9], [4], [6]]) if len(dims) == 1 else None
    return noisy.x_t, model.condition(noisy, Given(mask=mask))


@torch.no_grad()
def logits(network: nn.Module, x_t: torch.Tensor, conditioning: Conditioning) -> torch.Tensor:
    made = network(x_t, conditioning)
    return made.dense() if isinstance(made, LinearLogits) else made


def record(kind: str) -> dict[str, Any]:
    """What must stay as it is, in a form that JSON keeps."""
    network = new(kind)
    state = network.state_dict()
    first = {name: float(value.double().abs().sum()) for name, value in state.items()}
    shapes = {name: list(value.shape) for name, value in state.items()}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        CASES[kind][0](5, **CASES[kind][1])
        after = torch.rand(3).tolist()
    outputs = logits(awake(network), *noised(kind)).flatten()[:20].tolist()
    return {
        "spec": network.spec(),
        "shapes": shapes,
        "first": first,
        "after": after,
        "outputs": outputs,
    }


@pytest.mark.parametrize("kind", CASES)
def test_nothing_has_changed_since_the_first_version(kind: str) -> None:
    """Also the draws at construction: `after` are the next three numbers of the generator."""
    recorded: Mapping[str, Any] = json.loads(RECORDED.read_text())[kind]
    ours = record(kind)
    assert ours["spec"] == recorded["spec"]
    assert list(ours["shapes"]) == list(recorded["shapes"]), "names, in their order"
    assert ours["shapes"] == recorded["shapes"]
    assert ours["after"] == recorded["after"]
    assert ours["first"] == pytest.approx(recorded["first"], rel=1e-6)
    assert ours["outputs"] == pytest.approx(recorded["outputs"], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kind", CASES)
def test_labels_come_last_and_change_no_other_weight(kind: str) -> None:
    plain, labelled = new(kind), new(kind, num_labels=3)
    names = list(plain.state_dict())
    assert list(labelled.state_dict()) == [*names, "labels.weight", "labels.null"]
    for name, value in plain.state_dict().items():
        assert labelled.state_dict()[name].equal(value), name
    assert (plain.num_labels, labelled.num_labels) == (0, 3)
    assert "num_labels" not in plain.spec()
    assert labelled.spec()["num_labels"] == 3


@pytest.mark.parametrize("kind", CASES)
def test_a_spec_builds_the_network_again(kind: str) -> None:
    for options in ({}, {"num_labels": 3}):
        network = new(kind, **options)
        spec = network.spec()
        again = NETWORKS[spec.pop("kind")].network(**spec)
        again.load_state_dict(network.state_dict())
        assert again.spec() == network.spec()

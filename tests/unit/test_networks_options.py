"""Options of networks: checked as they are made, with the constructor's defaults, and built."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

from scud.errors import UserError
from scud.networks import (
    NETWORKS,
    ByteNetOptions,
    DiT,
    DiTOptions,
    NetworkOptions,
    UNetOptions,
    dit,
)
from scud.networks.options import SizedOptions
from scud.typing import ExampleSet, Shape

KINDS = list(NETWORKS)


@dataclass(frozen=True)
class View:
    """Data of 5 states, as a network sees them."""

    dims: Shape | None
    label_names: Sequence[str] = ()
    name: str = "toys"
    num_states: int = 5
    state_names: Sequence[str] = tuple("abcde")

    def p0(self) -> Tensor:
        return torch.arange(1, 6, dtype=torch.float64) / 15

    def split(self, name: str) -> ExampleSet:
        raise NotImplementedError(name)


FITTING = {
    "unet": View((1, 4, 4), ("cat", "dog")),
    "bytenet": View(None, ("cat", "dog")),
    "dit": View((9,), ("cat",)),
}


def test_the_union_and_the_registry_hold_the_same() -> None:
    assert set(get_args(NetworkOptions)) == set(NETWORKS.values())
    for kind, options in NETWORKS.items():
        assert options().kind == kind
        assert get_type_hints(options)["kind"] == Literal[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_the_constructors(kind: str) -> None:
    options = NETWORKS[kind]
    signature = inspect.signature(options.network).parameters
    for field in fields(options):
        if field.name not in ("kind", "labels"):
            assert field.default == signature[field.name].default, field.name
    sizes = set(signature) - {"num_states", "dims", "num_labels"}
    names = {field.name for field in fields(options)} - {"kind", "labels"}
    assert sizes == names, "all have an option"
    assert signature["num_labels"].default == 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_says_what_it_means(kind: str) -> None:
    source = inspect.getsource(NETWORKS[kind])
    for field in fields(NETWORKS[kind]):
        (line,) = [part for part in source.split("\n\n") if f"    {field.name}: " in part]
        assert line.split("\n")[1].strip().startswith('"""'), field.name


@pytest.mark.parametrize("kind", KINDS)
def test_presets_are_sizes_and_what_is_given_wins(kind: str) -> None:
    options = NETWORKS[kind]
    for name, sizes in options.presets.items():
        made = options.preset(name, dropout=0.3)
        assert {field: getattr(made, field) for field in sizes} == sizes
        assert made.dropout == 0.3
        assert options.preset(name, width=48).width == 48
    names = ", ".join(options.presets)
    with pytest.raises(UserError, match=f"preset must be one of {names} for \\w+, got huge"):
        options.preset("huge")
    with pytest.raises(UserError, match="dropout must lie in"):
        options.preset(name, dropout=1.0)


@pytest.mark.parametrize(
    ("options", "wrong", "message"),
    [
        (UNetOptions, {"width": 12}, "width must be a positive multiple of 8"),
        (UNetOptions, {"levels": 0}, "blocks and levels must be at least 1"),
        (UNetOptions, {"head": "gaussian"}, "head must be one of"),
        (UNetOptions, {"dropout": 1.0}, "dropout must lie in"),
        (ByteNetOptions, {"width": 0}, "width must be at least 1"),
        (ByteNetOptions, {"hidden": 0}, "hidden must be at least 1"),
        (ByteNetOptions, {"dropout": -0.1}, "dropout must lie in"),
        (DiTOptions, {"layers": 0}, "layers must be at least 1"),
        (DiTOptions, {"width": 60}, "width must be a multiple of twice the 4 heads"),
        (DiTOptions, {"dropout": 1.0}, "dropout must lie in"),
    ],
)
def test_a_bad_value_is_refused_as_options_are_made(
    options: type[SizedOptions], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        options(**wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_they_build_their_network(kind: str) -> None:
    options, data = NETWORKS[kind](width=16, labels=True), FITTING[kind]
    network = options.build(data)
    assert type(network) is options.network
    spec = network.spec()
    assert spec["num_states"] == 5
    assert spec["num_labels"] == network.num_labels == len(data.label_names)
    for field in fields(options):
        if field.name not in ("labels", "hidden"):
            assert spec[field.name] == getattr(options, field.name)
    assert NETWORKS[kind](width=16).build(data).num_labels == 0


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_data_do_not_have(kind: str) -> None:
    data = View(FITTING[kind].dims)
    with pytest.raises(
        UserError,
        match=r"network\.labels must be left out: .*got True for toys; use data with labels",
    ):
        NETWORKS[kind](labels=True).build(data)


@pytest.mark.parametrize("dims", [None, (9,), (4, 4), (1, 2, 4, 4)])
def test_a_unet_takes_images_alone(dims: Shape | None) -> None:
    with pytest.raises(UserError, match=r"dims must be \[channels, height, width\] for a U-Net"):
        UNetOptions().build(View(dims))
    with pytest.raises(UserError, match="levels must halve height and width evenly"):
        UNetOptions().build(View((1, 3, 4)))


@pytest.mark.parametrize("dims", [(4, 4), (1, 4, 4)])
def test_a_bytenet_takes_rows_alone(dims: Shape) -> None:
    with pytest.raises(UserError, match=r"dims must be \[length\] for a ByteNet"):
        ByteNetOptions().build(View(dims))


def test_a_dit_takes_any_shape_and_starts_at_p0() -> None:
    for dims in (None, (9,), (4, 4), (1, 2, 2)):
        data = View(dims)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = DiTOptions(width=16, layers=1).build(data)
        assert network.dims == (dims if dims is not None and len(dims) > 1 else None)
        torch.testing.assert_close(network.out.bias.double().softmax(0), data.p0())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        same = DiT(5, width=16, layers=1)
    same.start_at(View((9,)).p0())
    rows = DiTOptions(width=16, layers=1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ours = rows.build(View((9,))).state_dict()
    assert list(ours) == list(same.state_dict())
    assert all(ours[name].equal(value) for name, value in same.state_dict().items())


def test_the_papers_sizes() -> None:
    assert DiTOptions.preset("paper").width == dit.PRESETS["paper"]["width"] == 768

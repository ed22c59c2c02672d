"""Saving and loading: a model comes back from its two files as it was, whatever its parts; damage is named."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import scud
from scud.diffusion import SCUD, Classical, Diffusion, Masking
from scud.errors import UserError
from scud.networks import ByteNet, UNet
from scud.processes import Blosum62, Dense, Gaussian, Uniform
from scud.runs import build_model, build_network, build_process, load_weights, resolve_device
from scud.schedules import Cosine, Linear, MutualInformation
from scud.typing import Given

P0 = torch.tensor([1.0, 2, 3, 4, 5], dtype=torch.float64) / 15
RATES = torch.rand(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
GENERATOR = RATES - RATES.sum(1).diag()
GAUSSIAN = Gaussian(5, 0.3, normalized=True)

MODELS: dict[str, Diffusion] = {
    "scud": SCUD(GAUSSIAN, MutualInformation(GAUSSIAN, P0, 0.7), 0.7, p0=P0),
    "scud-dense": SCUD(Dense(GENERATOR), MutualInformation(Dense(GENERATOR), P0), p0=P0),
    "scud-uniform": SCUD(Uniform(5), Cosine(), 0.5, p0=P0, t_max=0.9),
    "masking": Masking(5, p0=P0, t_max=0.99),
    "masking-cosine": Masking(5, Cosine(), p0=P0),
    "classical": Classical(GAUSSIAN, MutualInformation(GAUSSIAN, P0, 0.0), p0=P0),
    "classical-dense": Classical(Dense(GENERATOR), Linear(), p0=P0),
}


def network(width: int = 8) -> UNet:
    """A small U-Net whose output depends on its input."""
    torch.manual_seed(0)
    net = UNet(5, (1, 4, 4), width=width, blocks=1, levels=1, dropout=0.5)
    for value in net.parameters():
        nn.init.normal_(value, std=0.2)
    return net


def draw(model: Diffusion, net: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad():
        x = model.sample(net, (3, 1, 4, 4), 4, generator=torch.Generator().manual_seed(1))
        elbo = model.elbo(net, x, generator=torch.Generator().manual_seed(2))
    return x, elbo.diffusion, elbo.prior


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(tmp_path: Path, name: str) -> None:
    model, net = MODELS[name], network().eval()
    scud.save(tmp_path, model, net)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    run = scud.load(tmp_path)
    assert not run.network.training
    assert run.model.p0.equal(model.p0)
    assert run.model.spec() == model.spec()
    for ours, theirs in zip(draw(run.model, run.network), draw(model, net), strict=True):
        assert ours.equal(theirs)
    x = run.sample(3, 4, generator=torch.Generator().manual_seed(1))
    assert x.equal(draw(model, net)[0])
    assert run.elbo(x, generator=torch.Generator().manual_seed(2)).diffusion.equal(
        draw(model, net)[1]
    )


def test_saving_again_replaces_both_files(tmp_path: Path) -> None:
    scud.save(tmp_path, MODELS["scud-dense"], network())
    scud.save(tmp_path, MODELS["masking"], network(16))
    run = scud.load(tmp_path)
    assert isinstance(run.model, Masking)
    assert run.config["network"]["width"] == 16
    assert run.dims == (1, 4, 4)


def test_known_positions_are_kept(tmp_path: Path) -> None:
    scud.save(tmp_path, MODELS["scud"], network())
    run = scud.load(tmp_path)
    known = torch.full((2, 1, 4, 4), 3)
    keep = torch.arange(16).reshape(1, 4, 4).expand(2, 1, 4, 4) < 8
    assert run.sample(2, 3, given=Given(known, keep))[keep].eq(3).all()


def test_a_network_without_a_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have a spec"):
        scud.save(tmp_path, MODELS["scud"], nn.Linear(1, 1))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ('"gaussian"', '"pink"'),
            "process.kind must be one of blosum62, dense, gaussian, neighbour_graph, uniform, got 'pink'",
        ),
        (
            ('"mutual_information"', '"sudden"'),
            "schedule.kind must be one of cosine, linear, mutual_information",
        ),
        (('"scud"', '"skud"'), "diffusion.kind must be one of"),
        (('"unet"', '"vnet"'), "network.kind must be one of bytenet, dit, unet"),
        (('"bandwidth"', '"breadth"'), "process must have the arguments of its kind"),
        (('"width": 8', '"width": 16'), "layer .* must have the shape"),
        (('"network"', '"netwerk"'), "damaged files"),
        (('"gamma": 0.7', '"gamma": 7.0'), r"gamma must lie in"),
    ],
)
def test_a_config_this_version_cannot_build_is_named(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    scud.save(tmp_path, MODELS["scud"], network())
    path = tmp_path / "model" / "config.json"
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(UserError, match=message):
        scud.load(tmp_path)


@pytest.mark.parametrize("text", ["{}", "[]", "3", "null", '{"process": 3}', "{", "\udcff"])
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    scud.save(tmp_path, MODELS["scud"], network())
    (tmp_path / "model" / "config.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UserError, match="damaged files"):
        scud.load(tmp_path)


def test_specs_that_are_incomplete() -> None:
    with pytest.raises(UserError, match="have a kind"):
        build_process({"num_states": 3})
    with pytest.raises(UserError, match="arguments of its kind"):
        build_network({"kind": "unet"})
    with pytest.raises(UserError, match=r"diffusion\.kind"):
        build_model(P0, {"kind": "auto"}, {"kind": "linear"}, {})


def test_weights_of_another_network() -> None:
    with pytest.raises(UserError, match=r"layer .*, got .* in elsewhere; give the network"):
        load_weights(network(), network(16).state_dict(), "elsewhere")


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda")
    for name in ("tpu", "meta", "", "cuda:x"):
        with pytest.raises(UserError, match="be auto, cpu, cuda or cuda:N"):
            resolve_device(name)
    with pytest.raises(UserError, match="use --device cpu"):
        resolve_device("cuda:99")


def test_a_model_of_proteins_keeps_its_noise_letters_and_lengths(tmp_path: Path) -> None:
    p0 = torch.arange(1, 21, dtype=torch.float64) / 210
    process = Blosum62(p0, sharpness=0.8, matrix="PAM70")
    model = SCUD(process, MutualInformation(process, p0), p0=p0)
    net = ByteNet(20, width=16, layers=2)
    counts = torch.tensor([0, 0, 3, 1])
    scud.save(tmp_path, model, net, {"alphabet": "ACDEFGHIKLMNPQRSTVWY", "length_counts": counts})
    run = scud.load(tmp_path)
    assert run.model.process.generator().equal(process.generator())
    assert run.alphabet.num_states == 20
    assert run.length_counts.equal(counts)
    assert run.longest == 3
    with pytest.raises(UserError, match=r"use run\.sample_sequences"):
        run.sample(2)
    assert len(run.sample_sequences(3, 2, lengths=(2, 2))) == 3


def test_a_model_of_images_has_no_letters(tmp_path: Path) -> None:
    scud.save(tmp_path, MODELS["masking"], network())
    with pytest.raises(UserError, match="run must model sequences"):
        _ = scud.load(tmp_path).alphabet

"""Saving and loading: a model comes back from its two files as it was, whatever its parts; damage is named."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import scud
from scud.building import build_modality, build_model, build_network, build_process
from scud.data import Arrays, Data, Images, Sequences, Text, find_alphabet, find_tokenizer
from scud.diffusion import SCUD, Classical, Diffusion, Masking
from scud.errors import UserError
from scud.networks import ByteNet, DiT, UNet
from scud.processes import Blosum62, Dense, Gaussian, Uniform
from scud.runs import resolve_device
from scud.samplers import Ancestral
from scud.schedules import Cosine, Linear, MutualInformation
from scud.training.checkpoint import load_weights
from scud.typing import Conditioning, Given
from tests.saved import rewrite, strip, update

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


IMAGES = Images(5, (1, 4, 4))


def network(width: int = 8, num_labels: int = 0) -> UNet:
    """A small U-Net whose output depends on its input."""
    torch.manual_seed(0)
    net = UNet(5, (1, 4, 4), width=width, blocks=1, levels=1, dropout=0.5, num_labels=num_labels)
    for value in net.parameters():
        nn.init.normal_(value, std=0.2)
    return net


def draw(model: Diffusion, net: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad():
        x = Ancestral(steps=4)(model, net, (3, 1, 4, 4), generator=torch.Generator().manual_seed(1))
        elbo = model.elbo(net, x, generator=torch.Generator().manual_seed(2))
    return x, elbo.diffusion, elbo.prior


@pytest.mark.parametrize("name", MODELS)
def test_round_trip(tmp_path: Path, name: str) -> None:
    model, net = MODELS[name], network().eval()
    scud.save(tmp_path, model, net, IMAGES)
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
    assert (run.folder, run.label_names, run.device) == (tmp_path, (), torch.device("cpu"))
    sampler = Ancestral(steps=4)
    x = torch.stack(run.draw(3, sampler=sampler, generator=torch.Generator().manual_seed(1)).states)
    again = scud.Run(model, net, IMAGES).draw(
        3, sampler=sampler, generator=torch.Generator().manual_seed(1)
    )
    assert x.equal(torch.stack(again.states))
    pixels = run.sample(3, sampler=sampler, generator=torch.Generator().manual_seed(1))
    assert [image.tolist() for image in pixels] == [
        image.tolist() for image in IMAGES.decode(list(x))
    ]
    first, expected, _ = draw(model, net)
    found = run.elbo(first, generator=torch.Generator().manual_seed(2))
    assert found.diffusion.equal(expected)


def test_saving_again_replaces_both_files(tmp_path: Path) -> None:
    scud.save(tmp_path, MODELS["scud-dense"], network(), IMAGES)
    scud.save(tmp_path, MODELS["masking"], network(16), IMAGES)
    run = scud.load(tmp_path)
    assert isinstance(run.model, Masking)
    assert isinstance(run.network, UNet)
    assert run.network.spec()["width"] == 16
    assert run.modality.dims == (1, 4, 4)


def test_known_positions_are_kept(tmp_path: Path) -> None:
    scud.save(tmp_path, MODELS["scud"], network(), IMAGES)
    run = scud.load(tmp_path)
    known = torch.full((2, 1, 4, 4), 3)
    keep = torch.arange(16).reshape(1, 4, 4).expand(2, 1, 4, 4) < 8
    drawn = scud.sample(run, 2, Given(known, keep), sampler=Ancestral(steps=3))
    assert drawn[keep].eq(3).all()


def test_names_are_those_of_the_labels_that_a_network_reads(tmp_path: Path) -> None:
    message = "label_names must be left out for a network that reads no labels, got .'a'."
    with pytest.raises(UserError, match=message):
        scud.save(tmp_path, MODELS["scud"], network(), IMAGES, ("a",))
    told = network(num_labels=2)
    for names in ((), ("a",), ("a", "b", "c")):
        with pytest.raises(UserError, match="label_names must name the 2 labels that the network"):
            scud.save(tmp_path, MODELS["scud"], told, IMAGES, names)
    assert not list(tmp_path.iterdir())
    scud.save(tmp_path, MODELS["scud"], told, IMAGES, ("a", "b"))
    assert scud.load(tmp_path).label_names == ("a", "b")


def test_a_network_without_a_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have a spec"):
        scud.save(tmp_path, MODELS["scud"], nn.Linear(1, 1), IMAGES)
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
        (
            ('"images"', '"films"'),
            "data.kind must be one of arrays, images, sequences, text, got 'films'",
        ),
        (('"num_states": 5,\n    "dims"', '"num_stats": 5,\n    "dims"'), "num_stat"),
        (('"labels"', '"levels"'), "config.json must have the keys .*, got also levels"),
        (
            ('"format": 2', '"format": 3'),
            "format must be 2 or 1, .* got 3 in .*; use the version that wrote it",
        ),
        (('"format": 2', '"version": 2'), "format must be 2 or 1, .* got None"),
        (
            ('"unet"', '"my.nets:Wide"'),
            r"network must be given, since .* my.nets:Wide, got none; .*network=Wide",
        ),
        (
            ('"gaussian"', '"my.noise:Pink"'),
            r"process must be given, .* --process my.noise:Pink to a command",
        ),
        (
            ('"images"', '"my.data:Films"'),
            r"modality must be given, .* scud.load\(folder, modality=Films\)",
        ),
        (('"bandwidth"', '"breadth"'), "process must have the arguments of its kind"),
        (('"width": 8', '"width": 16'), "layer .* must have the shape"),
        (
            ('"network"', '"netwerk"'),
            "config.json must have the keys .*, network, .*, got also netwerk",
        ),
        (('"gamma": 0.7', '"gamma": 7.0'), r"gamma must lie in"),
    ],
)
def test_a_config_this_version_cannot_build_is_named(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    scud.save(tmp_path, MODELS["scud"], network(), IMAGES)
    rewrite(tmp_path, lambda text: text.replace(*change))
    with pytest.raises(UserError, match=message):
        scud.load(tmp_path)


@pytest.mark.parametrize(
    "text", ['{"format": 2}', "[]", "3", "null", '{"format": 2, "process": 3}', "{", "\udcff"]
)
def test_a_config_that_is_none(tmp_path: Path, text: str) -> None:
    scud.save(tmp_path, MODELS["scud"], network(), IMAGES)
    strip(tmp_path)
    (tmp_path / "model" / "config.json").write_text(text, errors="surrogateescape")
    with pytest.raises(UserError, match="damaged files"):
        scud.load(tmp_path)


@pytest.mark.parametrize("part", ["process", "schedule", "diffusion", "network", "data"])
def test_a_config_without_a_part(tmp_path: Path, part: str) -> None:
    scud.save(tmp_path, MODELS["scud"], network(), IMAGES)
    update(tmp_path, lambda values: values.pop(part) and None)
    with pytest.raises(UserError, match=f"damaged files in .*{part}"):
        scud.load(tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"process": 3}'])
def test_a_config_without_a_format(tmp_path: Path, text: str) -> None:
    scud.save(tmp_path, MODELS["scud"], network(), IMAGES)
    rewrite(tmp_path, lambda _: text)
    with pytest.raises(
        UserError,
        match=r"format must be 2 or 1, which this version reads, got None in .*config\.json",
    ):
        scud.load(tmp_path)


def test_specs_that_are_incomplete() -> None:
    with pytest.raises(UserError, match="have a kind"):
        build_process({"num_states": 3})
    with pytest.raises(UserError, match="arguments of its kind"):
        build_network({"kind": "unet"})
    with pytest.raises(UserError, match=r"diffusion\.kind"):
        build_model(P0, {"kind": "auto"}, {"kind": "linear"}, {})
    with pytest.raises(UserError, match="data must have a kind"):
        build_modality({"num_states": 5})
    with pytest.raises(
        UserError,
        match=r"schedule\.kind must be linear or cosine for masking, got mutual_information",
    ):
        build_model(P0, {"kind": "masking"}, {"kind": "mutual_information"}, {})


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
    scud.save(tmp_path, model, net, Sequences(find_alphabet("protein"), counts))
    run = scud.load(tmp_path)
    assert isinstance(run.model, SCUD)
    assert isinstance(run.modality, Sequences)
    assert run.model.process.generator().equal(process.generator())
    assert run.modality.alphabet.letters == "ACDEFGHIKLMNPQRSTVWY"
    assert run.modality.num_states == 20
    assert run.modality.length_counts.equal(counts)
    assert run.modality.longest == 3
    with pytest.raises(UserError, match=r"run\.sample\(num\) draws examples of different length"):
        scud.sample(run, 2)
    drawn = run.sample(3, sampler=Ancestral(steps=2), length=(2, 2))
    assert [len(text) for text in drawn] == [2, 2, 2]
    assert set("".join(drawn)) <= set(run.modality.alphabet.letters)
    assert scud.sample(run, (3, 2), sampler=Ancestral(steps=2)).shape == (3, 2)


def test_a_model_of_text_keeps_its_tokens_and_length(tmp_path: Path) -> None:
    p0 = torch.full((27,), 1 / 27, dtype=torch.float64)
    text = Text(find_tokenizer("characters", None), 6)
    scud.save(tmp_path, Masking(27, p0=p0), DiT(27, width=16, layers=1, heads=2, dims=(6,)), text)
    run = scud.load(tmp_path)
    assert isinstance(run.modality, Text)
    assert run.modality.describe() == text.describe()
    assert (run.modality.dims, run.modality.unit, run.modality.state_names) == (
        (6,),
        "bits/char",
        text.state_names,
    )
    assert [len(drawn) for drawn in run.sample(2, sampler=Ancestral(steps=2))] == [6, 6]


def test_a_model_of_arrays_keeps_their_shape_and_the_names_of_labels(tmp_path: Path) -> None:
    x = torch.arange(24).reshape(4, 3, 2) % 5
    label = torch.tensor([0, 1, 1, 0])
    data = Data.of(x, x, num_states=5, label=label, valid_label=label, label_names=["odd", "even"])
    net = DiT(5, width=16, layers=1, heads=2, dims=(3, 2), num_labels=2)
    scud.save(tmp_path, Masking(5, p0=P0), net, data, data.label_names)
    run = scud.load(tmp_path)
    assert isinstance(run.modality, Arrays)
    assert (run.modality.num_states, run.modality.dims, run.label_names) == (
        5,
        (3, 2),
        ("odd", "even"),
    )
    assert run.label("even", 3).tolist() == [1, 1, 1]
    with pytest.raises(UserError, match=r"label must be .*odd.*even"):
        run.label("prime", 3)
    told: list[Tensor | None] = []

    def note(_: nn.Module, arguments: tuple[Tensor, Conditioning]) -> None:
        told.append(arguments[1].label)

    run.network.register_forward_pre_hook(note)
    (drawn,) = run.sample(1, label="even", sampler=Ancestral(steps=1))
    assert drawn.shape == (3, 2)
    assert told[0] is not None
    assert told[0].tolist() == [1]


def test_a_model_without_labels_refuses_them(tmp_path: Path) -> None:
    scud.save(tmp_path, MODELS["masking"], network(), IMAGES)
    run = scud.load(tmp_path)
    with pytest.raises(
        UserError, match=r"label must be left out for a model that reads no labels, got 'cat'"
    ):
        run.sample(1, label="cat")


def test_a_model_of_images_has_no_letters(tmp_path: Path) -> None:
    """What there is for sequences alone is refused."""
    scud.save(tmp_path, MODELS["masking"], network(), IMAGES)
    modality = scud.load(tmp_path).modality
    assert not hasattr(modality, "alphabet")
    with pytest.raises(UserError, match="run must model sequences, got images"):
        _ = modality.scoring
    with pytest.raises(UserError, match="run must model sequences or text, got images"):
        _ = modality.infilling
    with pytest.raises(
        UserError, match="length must be given for sequences and text only, got 3-4"
    ):
        scud.load(tmp_path).draw(2, length=(3, 4))
    with pytest.raises(UserError, match="num must be at least 1, got 0"):
        scud.load(tmp_path).draw(0)


class Wide(nn.Module):
    """A network of a user's own."""

    def __init__(self, num_states: int, width: int = 4) -> None:
        super().__init__()
        self.num_states, self.width = num_states, width
        self.embed = nn.Embedding(num_states + 1, width)
        self.out = nn.Linear(width, num_states)

    def forward(self, x_t: Tensor, _: Conditioning) -> Tensor:
        logits: Tensor = self.out(self.embed(x_t))
        return logits

    def spec(self) -> dict[str, int]:
        return {"num_states": self.num_states, "width": self.width}


class Slow(Uniform):
    """A process of a user's own."""


class Films(Images):
    """A kind of data of a user's own."""


def test_classes_of_ones_own_are_kept_by_name_and_must_be_given(tmp_path: Path) -> None:
    model = SCUD(Slow(5), Linear(), p0=P0, gamma=0.5)
    scud.save(tmp_path, model, Wide(5, 6), Films(5, (1, 4, 4)))
    text = (tmp_path / "model" / "config.json").read_text()
    for name in ("Wide", "Slow", "Films"):
        assert f'"{__name__}:{name}"' in text
    run = scud.load(tmp_path, network=Wide, process=Slow, modality=Films)
    assert isinstance(run.model, SCUD)
    assert (type(run.network), type(run.model.process), type(run.modality)) == (Wide, Slow, Films)
    assert len(run.sample(2, sampler=Ancestral(steps=2))) == 2
    with pytest.raises(
        UserError, match=r"process must be given, since this run's is a class of its own, .*:Slow"
    ):
        scud.load(tmp_path, network=Wide, modality=Films)
    scud.save(tmp_path, MODELS["masking"], network(), IMAGES)
    with pytest.raises(
        UserError,
        match=r"network must be left out, since this run's is the library's unet, got .*:Wide",
    ):
        scud.load(tmp_path, network=Wide)


@pytest.mark.parametrize("labels", [["a"], "ab", {"a": 1}, ["a", "a"], [1, 2], None])
def test_labels_that_do_not_fit_the_network_are_damage(tmp_path: Path, labels: object) -> None:
    scud.save(tmp_path, MODELS["masking"], network(), IMAGES)
    update(tmp_path, lambda config: config.update(labels=labels))
    with pytest.raises(UserError, match="model must be complete, got damaged files"):
        scud.load(tmp_path)


@pytest.mark.parametrize("width", [10**30, -8, 1e400, [[8]]])
def test_sizes_that_no_network_has_are_damage(tmp_path: Path, width: object) -> None:
    scud.save(tmp_path, MODELS["masking"], network(), IMAGES)
    update(tmp_path, lambda config: config["network"].update(width=width))
    with pytest.raises(UserError):
        scud.load(tmp_path)


def test_a_file_that_nests_too_deep_is_damage(tmp_path: Path) -> None:
    scud.save(tmp_path, MODELS["masking"], network(), IMAGES)
    rewrite(tmp_path, lambda _: "[" * 100_000)
    with pytest.raises(UserError, match="damaged files"):
        scud.load(tmp_path)

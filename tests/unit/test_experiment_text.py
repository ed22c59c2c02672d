"""What a configuration of text becomes: the network's and the process's arguments, and the unit of the losses."""

from pathlib import Path

import pytest
import torch

from scud.config import Config, changed, default_config, read_config, write_config
from scud.data import Data, TextOptions, load_text
from scud.data.text.tokenizers import Bytes
from scud.errors import UserError
from scud.experiment import prepare
from scud.networks import DiTOptions
from scud.processes import Blosum62Options, Gaussian, GaussianOptions, NeighbourGraphOptions
from scud.recipes import RECIPES
from scud.training.options import ByRows
from tests.unit.sequences import random_fasta
from tests.unit.texts import write_vocabulary


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Data:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("some text of bytes")
    return load_text(tmp_path / "a.txt", Bytes(), 4)


def test_the_network_has_its_preset_or_its_options(data: Data) -> None:
    shared = {"kind": "dit", "num_states": 256, "dropout": 0.1}
    small = DiTOptions.preset("tiny", checkpointing=True)
    spec = small.build(data).spec()
    assert spec == {**shared, "width": 128, "layers": 4, "heads": 4, "checkpointing": True}
    spec = DiTOptions(width=32, layers=2, heads=8).build(data).spec()
    assert spec == {**shared, "width": 32, "layers": 2, "heads": 8, "checkpointing": False}
    paper = DiTOptions.preset("paper", checkpointing=True)
    assert (paper.width, paper.layers, paper.heads, paper.checkpointing) == (768, 12, 12, True)


def test_the_bandwidth_of_gaussian_noise_is_the_paper_s_unless_it_is_given(data: Data) -> None:
    assert GaussianOptions().build(data).bandwidth == Gaussian(256).bandwidth == 0.05
    assert GaussianOptions(bandwidth=0.3).build(data).bandwidth == 0.3


def test_noise_of_amino_acids_is_refused(data: Data) -> None:
    with pytest.raises(
        UserError,
        match=r"process.kind must suit the data: blosum62 is for proteins, got a.* with states",
    ):
        Blosum62Options().build(data)


def unit(options: TextOptions, tmp_path: Path) -> str:
    path = tmp_path / "b.txt"
    path.write_text("the cat sat the cats sat " * 20)
    read = changed(default_config(options), {"data.train": path}).data.read()
    assert isinstance(read, Data)
    return read.modality.unit


def test_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    assert unit(TextOptions(length=4), tmp_path) == "bits/char"
    assert unit(TextOptions(length=4, tokens="bytes"), tmp_path) == "bits/byte"
    assert (
        unit(TextOptions(length=4, tokens=str(write_vocabulary(tmp_path))), tmp_path)
        == "perplexity"
    )
    assert RECIPES["digits"]().data.read().modality.unit == "bits/dim"
    proteins = changed(
        RECIPES["proteins"](), {"data.train": random_fasta(tmp_path / "a.fasta", 200, 5, 20)}
    )
    assert proteins.data.read().modality.unit == "perplexity"


def test_a_vocabulary_is_found_from_every_folder(tmp_path: Path) -> None:
    config = Config(data=TextOptions(tokens="vocab.txt"), training=ByRows())
    assert config.data.tokens == str(Path.cwd() / "vocab.txt")
    write_config(tmp_path / "config.yaml", config)
    assert read_config(tmp_path / "config.yaml") == config


def test_recipes_of_text() -> None:
    text8, lm1b = RECIPES["text8"](), RECIPES["lm1b"]()
    assert (text8.data.tokens, text8.data.length) == ("characters", 256)
    assert text8.network == DiTOptions.preset("paper")
    noise = lm1b.process
    assert isinstance(noise, NeighbourGraphOptions)
    assert (noise.kind, noise.nearest, noise.bandwidth, noise.marginal_rate) == (
        "neighbour_graph",
        10,
        0.3,
        0.2,
    )


def test_all_that_training_starts_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, a model of them, and a network whose first weights derive from the seed alone."""
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("the cat sat " * 40)
    options = {
        "data.train": tmp_path / "a.txt",
        "data.length": 4,
        "network": {"width": 16, "layers": 1, "heads": 2},
    }
    config = changed(RECIPES["text"](), options)
    first, again, other = prepare(config), prepare(config), prepare(changed(config, {"seed": 1}))
    assert first.data.modality.describe() == "text in the bytes of UTF-8"
    assert first.model.num_states == first.data.num_states == 256
    torch.testing.assert_close(first.model.p0, first.data.p0())
    weights, same, others = (part.network.state_dict() for part in (first, again, other))
    assert all(value.equal(same[name]) for name, value in weights.items())
    assert any(not value.equal(others[name]) for name, value in weights.items())

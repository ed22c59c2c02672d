"""What a configuration of text becomes: the network's and the process's arguments, and the unit of the losses."""

from pathlib import Path

import pytest

from scud.config import Config, DataConfig, NetworkConfig, ProcessConfig, read_config, write_config
from scud.data import Source, load_text
from scud.data.text.tokenizers import Bytes
from scud.experiment import network_spec, process_spec, unit
from scud.recipes import RECIPES


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text("some text of bytes")
    return load_text(tmp_path / "a.txt", Bytes(), 4)


def test_the_network_has_its_preset_or_its_options(source: Source) -> None:
    shared = {"kind": "dit", "num_states": 256, "dropout": 0.1}
    spec = network_spec(NetworkConfig(kind="dit", preset="paper", checkpointing=True), source)
    assert spec == {**shared, "width": 768, "layers": 12, "heads": 12, "checkpointing": True}
    spec = network_spec(NetworkConfig(kind="dit", width=32, layers=2, heads=8), source)
    assert spec == {**shared, "width": 32, "layers": 2, "heads": 8, "checkpointing": False}


def test_the_bandwidth_of_gaussian_noise_is_a_tenth_unless_it_is_given(source: Source) -> None:
    assert process_spec(ProcessConfig(kind="gaussian"), source)["bandwidth"] == 0.1
    assert process_spec(ProcessConfig(kind="gaussian", bandwidth=0.3), source)["bandwidth"] == 0.3


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (DataConfig(kind="text"), "bits/char"),
        (DataConfig(kind="text", tokens="bytes"), "bits/byte"),
        (DataConfig(kind="text", tokens="vocab.txt"), "perplexity"),
        (DataConfig(kind="sequences"), "perplexity"),
        (DataConfig(kind="images"), "bits/dim"),
    ],
)
def test_units(data: DataConfig, expected: str) -> None:
    assert unit(Config(data=data)) == expected


def test_a_vocabulary_is_found_from_every_folder(tmp_path: Path) -> None:
    config = Config(data=DataConfig(kind="text", tokens="vocab.txt"))
    assert config.data.tokens == str(Path.cwd() / "vocab.txt")
    write_config(tmp_path / "config.yaml", config)
    assert read_config(tmp_path / "config.yaml") == config


def test_recipes_of_text() -> None:
    text8, lm1b = RECIPES["text8"](), RECIPES["lm1b"]()
    assert (text8.data.tokens, text8.data.length, text8.network.preset) == (
        "characters",
        256,
        "paper",
    )
    noise = lm1b.process
    assert (noise.kind, noise.nearest, noise.bandwidth, noise.marginal_rate) == (
        "neighbour_graph",
        10,
        0.3,
        0.2,
    )

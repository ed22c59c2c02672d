"""What version 0.1.0 wrote, read as today's: the chosen kinds' options, a preset's sizes, and what has moved."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from scud import format_1
from scud.config import Config, read_config, read_data_options, write_config
from scud.data import DATA, MODALITIES, DigitsOptions, ImagesOptions, SequencesOptions, TextOptions
from scud.diffusion import ClassicalOptions, MaskingOptions, SCUDOptions
from scud.diffusion.objectives import Bound, Reconstruction
from scud.errors import UserError
from scud.networks import NETWORKS, ByteNetOptions, DiTOptions, UNetOptions
from scud.processes import (
    Blosum62Options,
    DenseOptions,
    GaussianOptions,
    NeighbourGraphOptions,
    UniformOptions,
)
from scud.schedules import MutualInformationOptions
from scud.training.options import ByExamples, ByPositions, ByRows

WRITTEN = """
seed: 3
init_from: null
data:
  kind: digits
  train: null
  hub: null
  valid: null
  test: null
  valid_share: 0.05
  alphabet: null
  tokens: characters
  length: 256
  min_length: 1
  max_length: 1024
  long: cut
  num_states: 256
process:
  kind: gaussian
  bandwidth: null
  normalized: false
  matrix: BLOSUM62
  frequencies: swissprot
  sharpness: 1.0
  neighbours: null
  nearest: 10
  marginal_rate: 0.2
  generator: null
schedule:
  kind: mutual_information
diffusion:
  kind: scud
  gamma: 1.0
  t_max: 0.999
network:
  kind: unet
  preset: null
  width: 32
  layers: 16
  heads: 4
  checkpointing: false
  hidden: null
  blocks: 2
  levels: 2
  dropout: 0.1
  head: mixed
training:
  steps: 2000
  batch_size: 64
  batch_tokens: 4096
  infill_share: 0.0
  reconstruction: 0.0
  flips: false
  precision: float32
  compile: false
  accumulate: 1
  learning_rate: 0.002
  warmup: 50
  decay: cosine
  weight_decay: 0.01
  clip: 1.0
  ema_decay: 0.995
  validate_every: 500
  validation_examples: 1000
  validation_repeats: 4
"""
"""The config.yaml of the digits recipe of version 0.1.0: every section, every option."""


def old(**changes: dict[str, Any]) -> dict[str, Any]:
    """The values of that file with other ones of some sections."""
    values: dict[str, Any] = yaml.safe_load(WRITTEN)
    for section, options in changes.items():
        assert options.keys() <= values[section].keys(), "version 0.1.0 had no such option"
        values[section] |= options
    return values


def read(folder: Path, **changes: dict[str, Any]) -> Config:
    """What is read from a file of version 0.1.0."""
    path = folder / "old.yaml"
    path.write_text(yaml.safe_dump(old(**changes), sort_keys=False))
    config = read_config(path)
    assert read_data_options(path) == config.data
    write_config(folder / "new.yaml", config)
    assert read_config(folder / "new.yaml") == config, "and it is written in today's format"
    return config


def test_a_whole_file(tmp_path: Path) -> None:
    assert read(tmp_path) == Config(
        seed=3,
        data=DigitsOptions(),
        process=GaussianOptions(bandwidth=0.1, normalized=False),
        schedule=MutualInformationOptions(),
        diffusion=SCUDOptions(gamma=1.0, t_max=0.999),
        network=UNetOptions(width=32, blocks=2, levels=2, dropout=0.1, head="mixed"),
        objective=Bound(),
        training=ByExamples(
            steps=2000,
            batch_size=64,
            learning_rate=0.002,
            warmup=50,
            weight_decay=0.01,
            ema_decay=0.995,
            validate_every=500,
        ),
    )


def test_the_run_to_start_from_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump(old() | {"init_from": "/runs/first"}))
    assert read_config(path).init_from == Path("/runs/first")


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        ({"kind": "gaussian"}, GaussianOptions(bandwidth=0.1)),
        (
            {"kind": "gaussian", "bandwidth": 0.25, "normalized": True},
            GaussianOptions(bandwidth=0.25, normalized=True),
        ),
        ({"kind": "uniform", "bandwidth": 0.25}, UniformOptions()),
        (
            {"kind": "neighbour_graph"},
            NeighbourGraphOptions(bandwidth=0.3, nearest=10, marginal_rate=0.2),
        ),
        (
            {
                "kind": "neighbour_graph",
                "bandwidth": 0.1,
                "neighbours": "/e.npz",
                "nearest": 3,
                "marginal_rate": 0.5,
            },
            NeighbourGraphOptions(
                bandwidth=0.1, neighbours=Path("/e.npz"), nearest=3, marginal_rate=0.5
            ),
        ),
        ({"kind": "blosum62"}, Blosum62Options(normalized=False)),
        (
            {
                "kind": "blosum62",
                "normalized": True,
                "matrix": "PAM70",
                "frequencies": "training",
                "sharpness": 0.8,
            },
            Blosum62Options(normalized=True, matrix="PAM70", frequencies="training", sharpness=0.8),
        ),
        ({"kind": "dense", "generator": "/rates.npy"}, DenseOptions(generator=Path("/rates.npy"))),
    ],
)
def test_noise(tmp_path: Path, process: dict[str, Any], expected: object) -> None:
    """A bandwidth of null was 0.1 of Gaussian noise and 0.3 of a graph; options of other kinds were ignored."""
    assert read(tmp_path, process=process).process == expected


@pytest.mark.parametrize(
    "process", [{"kind": "gaussian"}, {"kind": "dense", "generator": "/rates.npy"}]
)
def test_masking_had_a_process_that_was_ignored(tmp_path: Path, process: dict[str, Any]) -> None:
    config = read(
        tmp_path, process=process, diffusion={"kind": "masking", "gamma": 0.5, "t_max": 0.9}
    )
    assert config.process is None
    assert config.diffusion == MaskingOptions(t_max=0.9)


def test_models(tmp_path: Path) -> None:
    assert read(tmp_path, diffusion={"gamma": 0.5}).diffusion == SCUDOptions(gamma=0.5)
    assert (
        read(tmp_path, diffusion={"kind": "classical", "gamma": 0.5}).diffusion
        == ClassicalOptions()
    )


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (
            {"preset": "12M", "width": 8, "blocks": 7},
            UNetOptions(width=96, blocks=3, levels=3, head="mixed"),
        ),
        (
            {"preset": "paper", "dropout": 0.0},
            UNetOptions(width=128, blocks=32, levels=1, dropout=0.0, head="mixed"),
        ),
        ({"kind": "bytenet", "layers": 3}, ByteNetOptions(width=32, layers=3)),
        ({"kind": "bytenet", "hidden": 5}, ByteNetOptions(width=32, layers=16, hidden=5)),
        (
            {"kind": "bytenet", "preset": "1M", "layers": 3},
            ByteNetOptions(width=256, layers=6, hidden=128),
        ),
        (
            {"kind": "dit", "width": 64, "heads": 8, "checkpointing": True},
            DiTOptions(width=64, layers=16, heads=8, checkpointing=True),
        ),
        ({"kind": "dit", "preset": "tiny", "heads": 2}, DiTOptions(width=128, layers=4, heads=4)),
    ],
)
def test_a_preset_won_over_sizes(tmp_path: Path, network: dict[str, Any], expected: object) -> None:
    assert read(tmp_path, network=network).network == expected


def test_presets_still_stand_for_what_they_stood_for() -> None:
    for kind, presets in format_1.PRESETS.items():
        for name, sizes in presets.items():
            assert dict(NETWORKS[kind].presets[name]) == sizes


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_the_share_of_reconstruction_is_an_objective(tmp_path: Path, share: float) -> None:
    objective = read(tmp_path, training={"reconstruction": share}).objective
    assert objective == (Reconstruction(share=share) if share else Bound())


def test_flips_belong_to_the_data(tmp_path: Path) -> None:
    assert read(tmp_path, data={"kind": "images"}, training={"flips": True}).data == ImagesOptions(
        flips=True
    )
    assert read(tmp_path, data={"kind": "images"}).data == ImagesOptions(flips=False)


def test_images_had_no_files_of_other_splits(tmp_path: Path) -> None:
    """Those that were given were not read."""
    data = {
        "kind": "images",
        "train": "/x.npz",
        "valid": "/v.npz",
        "test": "/t.npz",
        "num_states": 17,
    }
    assert read(tmp_path, data=data).data == ImagesOptions(train=Path("/x.npz"), num_states=17)


def test_sequences_and_their_batches(tmp_path: Path) -> None:
    data = {
        "kind": "sequences",
        "train": "/a.fasta",
        "valid": "/b.fasta",
        "max_length": 99,
        "tokens": "bytes",
    }
    config = read(
        tmp_path, data=data, training={"batch_tokens": 512, "infill_share": 0.5, "batch_size": 3}
    )
    expected = SequencesOptions(
        train=Path("/a.fasta"), valid=Path("/b.fasta"), max_length=99, alphabet="protein"
    )
    assert config.data == expected, "an alphabet of null was that of proteins"
    assert isinstance(config.training, ByPositions)
    assert (config.training.batch_tokens, config.training.infill_share) == (512, 0.5)


@pytest.mark.parametrize("alphabet", ["dna", "HP"])
def test_sequences_of_other_letters(tmp_path: Path, alphabet: str) -> None:
    assert read(
        tmp_path, data={"kind": "sequences", "alphabet": alphabet}
    ).data == SequencesOptions(alphabet=alphabet)


def test_text_and_its_batches(tmp_path: Path) -> None:
    data = {"kind": "text", "hub": "text8", "tokens": "bytes", "length": 64, "max_length": 3}
    config = read(
        tmp_path, data=data, training={"batch_tokens": 512, "infill_share": 0.5, "batch_size": 3}
    )
    assert config.data == TextOptions(hub="text8", tokens="bytes", length=64)
    assert isinstance(config.training, ByRows)
    assert (config.training.batch_size, config.training.infill_share) == (3, 0.5)


def test_every_option_that_was_written_is_known() -> None:
    """The lists of names, by kind, are those of the file, and their options still exist."""
    values = old()
    sections = {
        "data": (format_1.DATA, DATA),
        "process": (format_1.PROCESSES, None),
        "diffusion": (format_1.DIFFUSIONS, None),
        "network": (format_1.NETWORKS, NETWORKS),
    }
    for section, (kinds, options) in sections.items():
        named = {name for names in kinds.values() for name in names}
        assert named | {"kind"} == values[section].keys() - {"preset"}
        for kind, names in kinds.items() if options is not None else ():
            assert set(names) <= set(options[kind].__dataclass_fields__)
    named = {name for names in format_1.TRAINING.values() for name in names}
    assert named | {"flips", "reconstruction"} == values["training"].keys()


def test_a_rule_that_is_broken_is_named_in_old_files_too(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"in .*old.yaml: diffusion.gamma must lie in \(0, 1\], got 2.0"
    ):
        read(tmp_path, diffusion={"gamma": 2.0})


@pytest.mark.parametrize(
    ("section", "options", "message"),
    [
        ("data", {"kind": "films"}, "data.kind must be one of digits, .*, got 'films'"),
        ("process", {"kind": "pink"}, "process.kind must be one of uniform, .*, got 'pink'"),
        ("diffusion", {"kind": "skud"}, "diffusion.kind must be one of scud, .*, got 'skud'"),
        ("network", {"kind": "vnet"}, "network.kind must be one of unet, .*, got 'vnet'"),
        ("network", {"kind": ["unet"]}, "network.kind must be one of unet"),
        (
            "network",
            {"preset": "tiny"},
            "network.preset must be one of 0.6M, .* for unet, got tiny",
        ),
        ("training", {"steps": "many"}, "training.steps: input should be a valid integer"),
    ],
)
def test_what_there_is_not_is_named_in_old_files_too(
    tmp_path: Path, section: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"in .*old.yaml: {message}"):
        read(tmp_path, **{section: options})


def test_only_whole_files_are_taken_for_old_ones() -> None:
    assert format_1.is_config(old())
    for section in ("data", "process", "diffusion", "network", "training"):
        partial = copy.deepcopy(old())
        del partial[section]
        assert not format_1.is_config(partial)
    assert not format_1.is_config({"process": None, "network": {}, "training": {}})


@pytest.mark.parametrize(
    ("data", "network", "expected"),
    [
        (
            None,
            {"kind": "unet", "num_states": 17, "dims": [1, 8, 8]},
            {"kind": "images", "num_states": 17, "dims": [1, 8, 8]},
        ),
        (
            {"alphabet": "HP", "tensors": ["length_counts"]},
            {"kind": "bytenet", "num_states": 2},
            {"kind": "sequences", "alphabet": "HP", "tensors": ["length_counts"]},
        ),
        (
            {"tokens": {"kind": "bytes"}, "length": 8, "tensors": []},
            {"kind": "dit", "num_states": 256},
            {"kind": "text", "tokens": {"kind": "bytes"}, "length": 8, "tensors": []},
        ),
    ],
)
def test_data_of_a_saved_model_have_a_kind(
    data: dict[str, Any] | None, network: dict[str, Any], expected: dict[str, Any]
) -> None:
    written = {
        "format": 1,
        "process": {},
        "schedule": {},
        "diffusion": {},
        "network": {**network, "tensors": []},
    }
    written |= {} if data is None else {"data": data}
    before = json.dumps(written)
    found = format_1.upgraded_model(written)
    assert json.dumps(written) == before, "what is given is left as it is"
    assert found["format"] == 2
    assert found["data"] == {"tensors": [], **expected}
    assert found["data"]["kind"] in MODALITIES
    assert {name: found[name] for name in written if name not in ("format", "data")} == {
        name: written[name] for name in written if name not in ("format", "data")
    }

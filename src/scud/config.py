"""Typed configuration: every option of a run, with its rule and its meaning.

A saved `config.yaml` reproduces the run. Options that the chosen kind does not have are kept and ignored, so that
`--process.kind uniform` is all it takes to change the noise of a recipe.
"""

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, field_validator

from scud.errors import UserError, fail
from scud.files import replacing
from scud.training.settings import Section, TrainingConfig


def _absolute(path: Path | None) -> Path | None:
    """Paths are kept in full, so that a saved configuration means the same in every working directory."""
    return None if path is None else path.expanduser().resolve()


class DataConfig(Section):
    """What is modelled."""

    kind: Literal["digits", "images", "sequences", "text"] = Field(
        default="digits",
        description="digits: the 8x8 digits that ship with scikit-learn; images: from files, a folder or the Hugging Face hub; "
        "sequences: FASTA; text: from files or the hub.",
    )
    train: Path | None = Field(
        default=None,
        description="images: an .npz file with x_train and perhaps x_valid, x_test: uint8, [N, H, W] or [N, H, W, C]; a folder "
        "of pictures, perhaps one per class, perhaps below train, valid and test; CIFAR-10's binary version; a folder of MNIST's "
        "or downsampled ImageNet's files; a .parquet file or a folder of them. "
        "sequences: a FASTA file, plain or gzipped, or a UniRef50 folder as published for CARP and EvoDiff. "
        "text: a .txt or .txt.gz file of UTF-8, or a .parquet file or a folder of them with a column text.",
    )
    hub: str | None = Field(
        default=None,
        description="images, text: a data set of the Hugging Face hub to download instead, such as uoft-cs/cifar10, or with a "
        "configuration owner/name:configuration; of text also lm1b, text8 and wikitext. Needs the extra `hub`.",
    )
    valid: Path | None = Field(default=None, description="sequences, text: a file for validation.")
    test: Path | None = Field(default=None, description="sequences, text: a file for the final test.")
    valid_share: float = Field(
        default=0.05,
        gt=0,
        lt=1,
        description="Share of the training data held out where none are given for validation: of images by a fixed shuffle, of "
        "sequences by hash, of text in some ten long stretches.",
    )
    alphabet: str | None = Field(
        default=None,
        description="sequences: protein (by default), dna, rna, or the letters themselves, such as HP; text: the characters, "
        "by default a space and a to z.",
    )
    tokens: str = Field(
        default="characters",
        description="text: what a state is: characters, bytes, or a part of a word: a tokenizer.json, or a WordPiece vocabulary "
        "in a .txt file or under `vocab` in an .npz file, for which the extra `text` is needed.",
    )
    length: int = Field(
        default=256, ge=1, description="text: states per example; chunks of so many are cut from the text."
    )
    min_length: int = Field(default=1, ge=1, description="sequences: shorter ones are left out.")
    max_length: int = Field(default=1024, ge=1, description="sequences: what to do with longer ones is up to `long`.")
    long: Literal["cut", "drop"] = Field(
        default="cut", description="sequences longer than max_length are cut into the fewest equal parts, or left out."
    )
    num_states: int = Field(
        default=256,
        ge=2,
        le=256,
        description="images: levels that the values of a pixel are evenly quantised to; a pixel is a byte, so 256 keep every "
        "value and there are no more.",
    )

    _resolve = field_validator("train", "valid", "test")(_absolute)

    @field_validator("tokens")
    @classmethod
    def _resolve_tokens(cls, tokens: str) -> str:
        return tokens if tokens in ("characters", "bytes") else str(_absolute(Path(tokens)))


class ProcessConfig(Section):
    """What noise; masking has its own."""

    kind: Literal["gaussian", "uniform", "blosum62", "neighbour_graph", "dense"] = Field(
        default="gaussian",
        description="gaussian: near states are likelier; uniform: all are alike; blosum62: amino acids change as in "
        "evolution; neighbour_graph: tokens of text become near ones; dense: rates from a file.",
    )
    bandwidth: float | None = Field(
        default=None,
        gt=0,
        description="gaussian: standard deviation of a jump as a fraction of the number of states, 0.1 by default; "
        "neighbour_graph: rates are exp((cosine - 1) / bandwidth), 0.3 by default.",
    )
    normalized: bool = Field(
        default=False,
        description="gaussian, blosum62: let all states jump equally often, those at the ends or conserved ones too.",
    )
    matrix: str = Field(default="BLOSUM62", description="blosum62: another of Biopython's log-odds matrices, by name.")
    frequencies: Literal["swissprot", "training"] = Field(
        default="swissprot", description="blosum62: background frequencies, of Swiss-Prot or of the training data."
    )
    sharpness: float = Field(
        default=1.0, gt=0, description="blosum62: power of the substitution law; below 1 letters become more alike."
    )
    neighbours: Path | None = Field(
        default=None,
        description="neighbour_graph: a .npy, .npz or .safetensors file of an embedding of the states, [B, d], or an .npz file "
        "of their nearest neighbours, knn_idx and knn_cos [B, k]; by default characters are near whose contexts are alike.",
    )
    nearest: int = Field(default=10, ge=1, description="neighbour_graph: neighbours that a state jumps to.")
    marginal_rate: float = Field(
        default=0.2, ge=0, description="neighbour_graph: rate of jumps to any state by its share of the training data."
    )
    generator: Path | None = Field(
        default=None, description="dense: a .npy file of rates [B, B], off-diagonal >= 0, rows that sum to 0."
    )

    _resolve = field_validator("neighbours", "generator")(_absolute)


class ScheduleConfig(Section):
    """When the noise happens."""

    kind: Literal["mutual_information", "linear", "cosine"] = Field(
        default="mutual_information",
        description="mutual_information: information about the data falls linearly (for masking, the linear schedule).",
    )


class DiffusionConfig(Section):
    """Which model."""

    kind: Literal["scud", "masking", "classical"] = Field(
        default="scud",
        description="scud: told the number of events; masking: what is masked; classical: the time alone.",
    )
    gamma: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="scud: 1 conditions on the most schedule information, towards 0 it is classical.",
    )
    t_max: float = Field(
        default=0.999, gt=0, lt=1, description="Largest time; the prior term of the bound covers the rest."
    )


class NetworkConfig(Section):
    """The denoiser."""

    kind: Literal["unet", "bytenet", "dit"] = Field(
        default="unet",
        description="unet: a U-Net for images; bytenet: dilated convolutions, for sequences and text; dit: a transformer, for "
        "these too.",
    )
    preset: (
        Literal["0.6M", "1M", "3M", "4M", "10M", "12M", "40M", "80M", "600M", "tiny", "small", "medium", "paper"] | None
    ) = Field(
        default=None,
        description="A size by name or approximate number of parameters, instead of the options that make it up. unet: 0.6M, 4M, "
        "12M and paper; bytenet: 1M, 3M, 10M, 40M, 80M and 600M; dit: tiny, small, medium and paper.",
    )
    width: int = Field(default=64, ge=8, multiple_of=8, description="Channels of the features.")
    layers: int = Field(default=16, ge=1, description="bytenet, dit: blocks.")
    heads: int = Field(
        default=4, ge=1, description="dit: heads of attention; width is a multiple of twice their number."
    )
    checkpointing: bool = Field(
        default=False, description="dit: save memory by computing every block again in the backward pass."
    )
    hidden: int | None = Field(
        default=None, ge=1, description="bytenet: channels inside a block; half the width by default."
    )
    blocks: int = Field(default=2, ge=1, description="unet: residual blocks per resolution on the way down.")
    levels: int = Field(default=2, ge=1, description="unet: resolutions, each half the one before.")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="Dropout in every block, in training only.")
    head: Literal["categorical", "logistic", "mixed"] = Field(
        default="categorical",
        description="unet: categorical: a logit per state; for ordered states, logistic: location and scale; mixed: both.",
    )


class Config(Section):
    """All options of a run."""

    seed: int = Field(default=0, ge=0, lt=2**63, description="What all randomness of training derives from.")
    init_from: Path | None = Field(default=None, description="Folder of a run whose weights to start from.")
    data: DataConfig = Field(default_factory=DataConfig, description="What is modelled.")
    process: ProcessConfig = Field(default_factory=ProcessConfig, description="What noise; masking has its own.")
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig, description="When the noise happens.")
    diffusion: DiffusionConfig = Field(default_factory=DiffusionConfig, description="Which model.")
    network: NetworkConfig = Field(default_factory=NetworkConfig, description="The denoiser.")
    training: TrainingConfig = Field(default_factory=TrainingConfig, description="How the network is trained.")

    _resolve = field_validator("init_from")(_absolute)


def write_config(path: Path, config: Config) -> None:
    """Write a configuration as YAML."""
    with replacing(path) as temporary:
        temporary.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def read_config(path: Path) -> Config:
    """Read a configuration that `write_config` or a user wrote; options left out have their defaults.

    Raises:
        UserError: no such file, not YAML, or an option that is unknown or breaks its rule.
    """
    if not path.is_file():
        raise fail("config", "name a file that exists", path, "give the config.yaml of a run")
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise fail("config", "be YAML", f"{path} ({error})", "compare it with the config.yaml of a run") from error
    if not isinstance(values, dict):
        raise fail("config", "hold sections of options", path, "compare it with the config.yaml of a run")
    try:
        return Config(**{str(name): value for name, value in values.items()})
    except UserError as error:
        raise UserError(f"in {path}: {error}") from None


def differences(config: Config, other: Config) -> list[str]:
    """Names of the options in which two configurations differ, such as training.steps."""
    ours, theirs = _flat(config.model_dump()), _flat(other.model_dump())
    return [name for name in ours if ours[name] != theirs[name]]


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat

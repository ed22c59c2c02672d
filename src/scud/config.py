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

    kind: Literal["digits", "images", "sequences"] = Field(
        default="digits",
        description="digits: the 8x8 digits that ship with scikit-learn; images: any .npz file of them; sequences: FASTA.",
    )
    train: Path | None = Field(
        default=None,
        description="images: an .npz file with x_train and perhaps x_valid, x_test: uint8, [N, H, W] or [N, H, W, C]. "
        "sequences: a FASTA file, plain or gzipped, or a UniRef50 folder as published for CARP and EvoDiff.",
    )
    valid: Path | None = Field(default=None, description="sequences: a FASTA file for validation.")
    test: Path | None = Field(default=None, description="sequences: a FASTA file for the final test.")
    valid_share: float = Field(
        default=0.05, gt=0, lt=1, description="sequences: share held out by hash for validation where no file is given."
    )
    alphabet: str = Field(
        default="protein", description="sequences: protein, dna, rna, or the letters themselves, such as HP."
    )
    min_length: int = Field(default=1, ge=1, description="sequences: shorter ones are left out.")
    max_length: int = Field(default=1024, ge=1, description="sequences: what to do with longer ones is up to `long`.")
    long: Literal["cut", "drop"] = Field(
        default="cut", description="sequences longer than max_length are cut into the fewest equal parts, or left out."
    )
    num_states: int = Field(
        default=256, ge=2, le=256, description="images: levels that the 256 pixel values are evenly quantised to."
    )

    _resolve = field_validator("train", "valid", "test")(_absolute)


class ProcessConfig(Section):
    """What noise; masking has its own."""

    kind: Literal["gaussian", "uniform", "blosum62", "dense"] = Field(
        default="gaussian",
        description="gaussian: near states are likelier; uniform: all are alike; blosum62: amino acids change as in "
        "evolution; dense: rates from a file.",
    )
    bandwidth: float = Field(
        default=0.1, gt=0, description="gaussian: standard deviation of a jump as a fraction of the number of states."
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
    generator: Path | None = Field(
        default=None, description="dense: a .npy file of rates [B, B], off-diagonal >= 0, rows that sum to 0."
    )

    _resolve = field_validator("generator")(_absolute)


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

    kind: Literal["unet", "bytenet"] = Field(
        default="unet", description="unet: a U-Net for images; bytenet: dilated convolutions for sequences."
    )
    preset: Literal["0.6M", "1M", "3M", "4M", "10M", "12M", "40M", "80M", "600M", "paper"] | None = Field(
        default=None,
        description="A size by approximate number of parameters, instead of the options that make it up. unet: 0.6M, 4M, 12M and "
        "paper; bytenet: 1M, 3M, 10M, 40M, 80M and 600M.",
    )
    width: int = Field(default=64, ge=8, multiple_of=8, description="Channels of the features.")
    layers: int = Field(default=16, ge=1, description="bytenet: residual blocks.")
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

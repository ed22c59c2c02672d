"""What version 0.1.0 wrote, read as today's format.

Its files held the options of all kinds, of which those of other kinds than the chosen ones were ignored, and a preset in place of
the sizes that it stands for. A saved model did not say what its data were: that showed from the keys that describe them.
"""

from collections.abc import Mapping
from typing import Any

from scud.errors import fail

Values = dict[str, Any]

DATA = {
    "digits": (),
    "images": ("train", "hub", "valid_share", "num_states"),
    "sequences": (
        "train",
        "valid",
        "test",
        "valid_share",
        "alphabet",
        "min_length",
        "max_length",
        "long",
    ),
    "text": ("train", "hub", "valid", "test", "valid_share", "alphabet", "tokens", "length"),
}
"""The options of data by kind; images had no files for validation and test: those that were given were not read."""

PROCESSES = {
    "uniform": (),
    "gaussian": ("bandwidth", "normalized"),
    "blosum62": ("normalized", "matrix", "frequencies", "sharpness"),
    "dense": ("generator",),
    "neighbour_graph": ("bandwidth", "neighbours", "nearest", "marginal_rate"),
}

BANDWIDTHS = {"gaussian": 0.1, "neighbour_graph": 0.3}
"""What a bandwidth of null meant."""

ALPHABET = "protein"
"""What an alphabet of null meant for sequences."""

DIFFUSIONS = {"scud": ("gamma", "t_max"), "masking": ("t_max",), "classical": ("t_max",)}

NETWORKS = {
    "unet": ("width", "blocks", "levels", "dropout", "head"),
    "bytenet": ("width", "layers", "hidden", "dropout"),
    "dit": ("width", "layers", "heads", "dropout", "checkpointing"),
}

PRESETS: dict[str, dict[str, dict[str, int]]] = {
    "unet": {
        "0.6M": {"width": 32, "blocks": 1, "levels": 3},
        "4M": {"width": 64, "blocks": 2, "levels": 3},
        "12M": {"width": 96, "blocks": 3, "levels": 3},
        "paper": {"width": 128, "blocks": 32, "levels": 1},
    },
    "bytenet": {
        "1M": {"width": 256, "layers": 6, "hidden": 128},
        "3M": {"width": 256, "layers": 16, "hidden": 128},
        "10M": {"width": 512, "layers": 16, "hidden": 256},
        "40M": {"width": 1024, "layers": 16, "hidden": 512},
        "80M": {"width": 1024, "layers": 32, "hidden": 512},
        "600M": {"width": 1280, "layers": 56, "hidden": 1280},
    },
    "dit": {
        "tiny": {"width": 128, "layers": 4, "heads": 4},
        "small": {"width": 256, "layers": 12, "heads": 4},
        "medium": {"width": 512, "layers": 12, "heads": 8},
        "paper": {"width": 768, "layers": 12, "heads": 12},
    },
}
"""The sizes that presets stood for: they won over sizes that were given."""

EVERYWHERE = (
    "steps",
    "precision",
    "compile",
    "accumulate",
    "learning_rate",
    "warmup",
    "decay",
    "weight_decay",
    "clip",
    "ema_decay",
    "validate_every",
    "validation_examples",
    "validation_repeats",
)

TRAINING = {
    "digits": (*EVERYWHERE, "batch_size"),
    "images": (*EVERYWHERE, "batch_size"),
    "sequences": (*EVERYWHERE, "batch_tokens", "infill_share"),
    "text": (*EVERYWHERE, "batch_size", "infill_share"),
}
"""The options of training by kind of data."""


def is_config(values: Mapping[str, Any]) -> bool:
    """Whether a file without a format is a whole configuration of version 0.1.0."""
    marks = {
        "data": "kind",
        "network": "preset",
        "process": "bandwidth",
        "diffusion": "kind",
        "training": "flips",
    }
    return all(
        isinstance(values.get(section), dict) and mark in values[section]
        for section, mark in marks.items()
    )


def upgraded_config(values: Mapping[str, Any]) -> Values:
    """A configuration of version 0.1.0 in today's format: the options of the chosen kinds, and a preset's sizes.

    A kind or a preset that there was not is left for whoever reads the result to refuse.
    """
    sections = {
        name: dict(section) if isinstance(section, dict) else section
        for name, section in values.items()
    }
    data, training = sections["data"], sections["training"]
    process, diffusion, network = sections["process"], sections["diffusion"], sections["network"]
    _check_kinds(sections)
    flips, share = training.pop("flips"), training.pop("reconstruction", 0.0)
    sections["data"] = _kept(data, DATA)
    if data["kind"] == "images":
        sections["data"]["flips"] = flips
    if data["kind"] == "sequences" and data.get("alphabet") is None:
        sections["data"]["alphabet"] = ALPHABET
    kept = TRAINING.get(str(data["kind"]), EVERYWHERE)
    sections["training"] = {name: training[name] for name in kept if name in training}
    sections["objective"] = (
        {"kind": "reconstruction", "share": share} if share else {"kind": "bound"}
    )
    if process["bandwidth"] is None:
        process["bandwidth"] = BANDWIDTHS.get(str(process.get("kind")))
    sections["process"] = None if diffusion["kind"] == "masking" else _kept(process, PROCESSES)
    sections["diffusion"] = _kept(diffusion, DIFFUSIONS)
    sections["network"] = _kept(network, NETWORKS)
    preset = network["preset"]
    if preset is not None:
        sections["network"] |= PRESETS.get(str(network["kind"]), {}).get(
            str(preset), {"preset": preset}
        )
    return sections


def _check_kinds(sections: Mapping[str, Any]) -> None:
    """Raise `UserError` for a section that does not say its kind."""
    masking = sections["diffusion"]["kind"] == "masking"
    for name in ("network",) if masking else ("network", "process"):
        if "kind" not in sections[name]:
            remedy = f"write it below {name}:"
            raise fail(f"{name}.kind", "be given", "none", remedy)


def _kept(section: Mapping[str, Any], kinds: Mapping[str, tuple[str, ...]]) -> Values:
    """The options of the chosen kind."""
    kind = section.get("kind")
    return {"kind": kind} | {
        name: section[name] for name in kinds.get(str(kind), ()) if name in section
    }


def upgraded_model(config: Mapping[str, Any]) -> Values:
    """The `config.json` of a model saved by version 0.1.0 in today's format: its data have a kind."""
    parts = dict(config)
    data, network = dict(parts.get("data", {"tensors": []})), parts["network"]
    if "tokens" in data:
        data["kind"] = "text"
    elif "alphabet" in data:
        data["kind"] = "sequences"
    else:
        data |= {
            "kind": "images" if "dims" in network else "arrays",
            "num_states": network["num_states"],
            "dims": network.get("dims"),
        }
    return {**parts, "format": 2, "data": data}

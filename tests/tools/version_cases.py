"""The runs that `compare_versions` makes, what their options are called by now, and what of examples and noise was another.

Cases are written in the words of version 0.1.0, which nothing changes any more; `translate` puts
them into the words of the present version.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from scud.data.order import Shuffled
from scud.seeds import Use, seeded

Options = Mapping[str, object]
"""Values by name; True is an option that takes no value. {images} in a value stands for the file of
that name that `compare_versions.prepare` gives."""


@dataclass(frozen=True)
class Case:
    """A run, and what is done with it, in the words of the earlier version.

    Attributes:
        recipe: what `scud train` starts from.
        train: its options.
        commands: commands on the run, and their options.
    """

    recipe: str
    train: Options
    commands: tuple[tuple[str, Options], ...]


SHORT: Options = {
    "training.steps": 6,
    "training.warmup": 2,
    "training.validate-every": 3,
    "training.validation-examples": 16,
    "training.validation-repeats": 1,
    "training.batch-size": 8,
    "network.preset": None,
}
"""Training of every case."""

EVALUATE: tuple[str, Options] = ("evaluate", {"repeats": 1})
SAMPLE: tuple[str, Options] = ("sample", {"num": 4, "steps": 4, "seed": 1})
FILL: tuple[str, Options] = (
    "infill",
    {"text": "in the beginning [[5]] the earth", "num": 2, "steps": 4},
)

UNET: Options = {"network.width": 8, "network.blocks": 1, "network.levels": 2}
BYTENET: Options = {"network.width": 16, "network.layers": 2, "network.hidden": 8}
DIT: Options = {"network.width": 16, "network.layers": 1, "network.heads": 2}

CASES: dict[str, Case] = {
    "digits-scud": Case("digits", {**SHORT, **UNET, "training.accumulate": 2}, (EVALUATE, SAMPLE)),
    "digits-masking": Case(
        "digits",
        {
            **SHORT,
            **UNET,
            "diffusion.kind": "masking",
            "schedule.kind": "cosine",
            "network.head": "categorical",
        },
        (EVALUATE, SAMPLE),
    ),
    "digits-classical": Case(
        "digits",
        {**SHORT, **UNET, "diffusion.kind": "classical", "training.reconstruction": 0.5},
        (EVALUATE, SAMPLE),
    ),
    "fashion-mnist": Case(
        "fashion_mnist",
        {
            **SHORT,
            **UNET,
            "data.train": "{images}",
            "training.batch-size": 4,
            "training.flips": True,
        },
        (EVALUATE, SAMPLE),
    ),
    "proteins": Case(
        "proteins",
        {
            **SHORT,
            **BYTENET,
            "data.train": "{proteins}",
            "data.valid": "{valid_proteins}",
            "training.batch-tokens": 600,
            "training.infill-share": 0.5,
        },
        (
            EVALUATE,
            ("evaluate", {"repeats": 1, "span": 0.2}),
            SAMPLE,
            ("infill", {"input": "{some_proteins}", "positions": "10-25", "num": 2, "steps": 4}),
            ("score", {"input": "{some_proteins}", "repeats": 16}),
            ("score", {"wild-type": "{wild_type}", "mutations": "{mutations}", "repeats": 16}),
        ),
    ),
    "text-characters": Case(
        "text",
        {
            **SHORT,
            **BYTENET,
            "data.train": "{letters}",
            "data.tokens": "characters",
            "data.length": 32,
            "process.kind": "neighbour_graph",
            "network.kind": "bytenet",
            "network.dropout": 0.1,
            "training.infill-share": 0.5,
        },
        (EVALUATE, SAMPLE, FILL),
    ),
    "text-bytes": Case(
        "text",
        {**SHORT, **DIT, "data.train": "{text}", "data.length": 64, "network.dropout": 0.1},
        (EVALUATE, SAMPLE, FILL),
    ),
    "text-words": Case(
        "text",
        {
            **SHORT,
            **DIT,
            "data.train": "{text}",
            "data.tokens": "{vocabulary}",
            "data.length": 16,
            "process.kind": "neighbour_graph",
            "process.neighbours": "{vocabulary}",
            "training.batch-size": 4,
        },
        (("evaluate", {"repeats": 1, "batch-tokens": 256}), SAMPLE, FILL),
    ),
}


RENAMED: dict[str, str] = {"training.flips": "data.flips"}
"""Present names by old ones."""

SEQUENCES: tuple[str, ...] = ("training.batch-tokens",)
"""Options of training by which data whose examples differ in length are known."""


def translate(options: Options) -> Options:
    """Options of version 0.1.0 in the words of the present one.

    Of `scud train`, and of the other commands, one after the other. Options that had no effect in version 0.1.0 are refused by
    now: no preset, and a batch size beside a number of positions. The share of the cross-entropy is an objective by now.
    """
    present = {RENAMED.get(name, name): value for name, value in options.items()}
    if present.get("network.preset", "") is None:
        del present["network.preset"]
    if any(name in present for name in SEQUENCES):
        present.pop("training.batch-size", None)
    share = present.pop("training.reconstruction", None)
    if share is not None:
        present |= {"objective.kind": "reconstruction", "objective.share": share}
    return present


class OneSource:
    """Noise as an evaluation of version 0.1.0 drew it: of all batches from one source, begun anew with each evaluation."""

    def __call__(
        self, seed: int, use: Use, draw: int, number: int, *, device: torch.device
    ) -> torch.Generator:
        assert use == Use.EVALUATION
        if (draw, number) == (0, 0):
            self.source = torch.Generator(device).manual_seed(seed)
        return self.source


def examples_of_0_1_0(order: Shuffled, step: int) -> torch.Tensor:
    """The order in which version 0.1.0 took images and text: of each epoch it drew a permutation as a whole."""
    start = step * order.batch_size
    epochs = range(start // order.count, (start + order.batch_size - 1) // order.count + 1)
    whole = [
        torch.randperm(order.count, generator=seeded(order.seed, Use.ORDER, epoch))
        for epoch in epochs
    ]
    offset = start - epochs[0] * order.count
    return torch.cat(whole)[offset : offset + order.batch_size]

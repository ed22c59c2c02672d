"""scud evaluate --samples: generated examples beside held-out and training data."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from scud.errors import fail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from scud.data import Source
    from scud.evaluation.report import Row
    from scud.runs import Run
    from scud.typing import ExampleSet

AT_ONCE = 4096
"""Texts read at once."""


def compare(run: "Run", source: "Source", split: str, samples: Path, target: Path, seed: int) -> None:
    """Print and write how the examples of a file compare; raises `UserError` for a file that is not as it should be."""
    from rich.console import Console
    from rich.table import Table

    from scud.files import replacing

    if run.kind == "text":
        rows = text_rows(run, source, split, samples)
    else:
        rows = (sequence_rows if run.kind == "sequences" else image_rows)(run, source, split, samples, seed)
    table = Table("measure", "samples", split, "training")
    for row in rows:
        table.add_row(row.measure, *("" if value is None else shown(value) for value in row[1:]))
    Console().print(table)
    with replacing(target) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["measure", "samples", split, "training"])
        writer.writerows(rows)
    kind = "texts" if run.kind == "text" else run.kind
    print(f"wrote {target}: {rows[0].samples} {kind} of {samples} beside {split} and training data")


def sequence_rows(run: "Run", source: "Source", split: str, samples: Path, seed: int) -> list["Row"]:
    """How the sequences of a FASTA file compare."""
    from rich.console import Console

    from scud.data import SequenceSet
    from scud.data.sequences.fasta import read_fasta
    from scud.data.sequences.quality import sequence_quality
    from scud.evaluation.kmers import SequenceArray

    records = read_fasta(samples, run.alphabet)

    def stored(name: str) -> SequenceArray:
        part = source.split(name)
        assert isinstance(part, SequenceSet), "a run of sequences has data of sequences"
        return SequenceArray(part.codes, part.offsets)

    drawn = SequenceArray.from_list([record.codes for record in records])
    with Console().status("comparing with training data"):
        return sequence_quality(drawn, stored(split), stored("train"), run.model.num_states, seed=seed).rows()


def text_rows(run: "Run", source: "Source", split: str, samples: Path) -> list["Row"]:
    """How the texts of an .npz file of states compare."""
    import numpy as np
    from rich.console import Console

    from scud.data.text.quality import SPANS, text_quality
    from scud.data.text.samples import read_states

    drawn, train = read_states(samples), source.split("train")
    heldout, training = (np.concatenate([*states(part)]) for part in (source.split(split), train.part(len(drawn))))
    with Console().status("comparing with training data"):
        spans = SPANS[run.tokens.unit]
        return text_quality(drawn, heldout, training, states(train), run.model.num_states, spans).rows()


def states(examples: "ExampleSet") -> Iterator["NDArray[np.int64]"]:
    """The states of texts [n, length], in parts."""
    for index in examples.batches(AT_ONCE, AT_ONCE * 256):
        yield examples.batch(index).x0.numpy()


def image_rows(run: "Run", source: "Source", split: str, samples: Path, seed: int) -> list["Row"]:
    """How the images of an .npz file compare."""
    import torch
    from rich.console import Console

    from scud.data.images.archives import read_samples
    from scud.data.images.load import quantise
    from scud.data.images.quality import check_images, image_quality, train_classifier

    num_states = run.model.num_states
    drawn = torch.from_numpy(quantise(read_samples(samples, run.dims), num_states))
    (train, label), (valid, valid_label) = (labelled(source, name) for name in ("train", "valid"))
    heldout = stored_images(source, split)
    for name, images in (("samples", drawn), (f"{split} images", heldout)):
        check_images(name, images, num_states)  # training takes a while: mistakes are told before that
    with Console().status("training a classifier for its features"):
        trained = train_classifier(train, label, valid, valid_label, num_states, seed=seed)
    with Console().status("comparing with training data"):
        return image_quality(drawn, heldout, train, trained, seed).rows()


def stored_images(source: "Source", split: str) -> "Tensor":
    """The levels of a split, [N, C, H, W]."""
    from scud.data.source import Examples

    part = source.split(split)
    assert isinstance(part, Examples), "a run of images has data of images"
    return part.x


def labelled(source: "Source", split: str) -> tuple["Tensor", "Tensor"]:
    """Levels [N, C, H, W] and class labels [N] of a split."""
    import torch

    images = stored_images(source, split)
    label = source.split(split).batch(torch.arange(len(images))).label
    if label is None:
        rule = "have class labels, for a classifier whose features are compared"
        raise fail(
            f"{split} images of {source.name}",
            rule,
            "none",
            f"put each class in a folder of its own, or add an array y_{split} to an .npz file",
        )
    return images, label


def shown(value: float) -> str:
    """A count in full, anything else in four digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"

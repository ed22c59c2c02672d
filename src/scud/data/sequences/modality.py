"""Sequences, to commands: letters instead of states, FASTA files, lengths as in training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Generator, Tensor

from scud.data.base import Modality, Spec
from scud.data.sequences.alphabets import Alphabet, find_alphabet
from scud.data.sequences.fasta import read_fasta, write_fasta
from scud.data.sequences.infilling import SequencesInfilling
from scud.data.sequences.lengths import draw_lengths
from scud.data.sequences.scoring import SequencesScoring
from scud.data.sequences.store import SequenceSet, StoreOptions, build_stores
from scud.data.specs import check_names, text_of
from scud.errors import fail
from scud.evaluation.kmers import SequenceArray
from scud.evaluation.report import Figure
from scud.typing import DataView, ExampleSet, Shape

if TYPE_CHECKING:
    from scud.evaluation import Evaluation
    from scud.evaluation.report import Row
    from scud.samplers import Samples


class Sequences(Modality):
    """Sequences of letters, which differ in length.

    Args:
        alphabet: what letters stand for.
        length_counts: how many training sequences had each length, [longest + 1] int64.
    """

    kind = "sequences"
    noun = "sequences"
    by_positions = True
    infill_options = SequencesInfilling.options
    rows = True
    unit = "perplexity"
    position = "residue"
    dims = None

    def __init__(self, alphabet: Alphabet, length_counts: Tensor) -> None:
        self.alphabet = alphabet
        self.length_counts = length_counts

    @property
    def state_names(self) -> Sequence[str]:
        return list(self.alphabet.letters)

    @property
    def longest(self) -> int:
        """Length of the longest training sequence."""
        return len(self.length_counts) - 1

    def spec(self) -> Spec:
        return {"alphabet": self.alphabet.letters, "length_counts": self.length_counts}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        check_names(cls.noun, spec, ("alphabet", "length_counts"))
        counts = spec["length_counts"]
        if not is_length_counts(counts):
            rule = "be how many sequences had each length, integers [longest + 1]"
            remedy = "write the run again with scud.save"
            found = list(counts.shape) if isinstance(counts, Tensor) else repr(counts)
            raise fail("data.length_counts", rule, found, remedy)
        return cls(find_alphabet(text_of(spec, "alphabet")), counts)

    def describe(self) -> str:
        return f"sequences of {self.alphabet.letters}"

    def shapes(
        self, num: int, length: tuple[int, int] | None, generator: Generator | None
    ) -> list[Shape]:
        drawn = draw_lengths(self.length_counts, num, length, generator)
        shapes = {size: (size,) for size in range(self.longest + 1)}  # one object for each length
        return [shapes[size] for size in drawn.tolist()]

    def decode(self, states: Sequence[Tensor]) -> Sequence[str]:
        """Letters."""
        return [self.alphabet.decode(sequence.cpu().numpy()) for sequence in states]

    def write(self, samples: "Samples", folder: Path) -> list[Path]:
        """Sequences sample_1, sample_2, … to samples.fasta."""
        target = folder / "samples.fasta"
        texts = (self.alphabet.decode(sequence.cpu().numpy()) for sequence in samples.states)
        write_fasta(target, ((f"sample_{number}", text) for number, text in enumerate(texts, 1)))
        return [target]

    def read(self, path: Path) -> list[Tensor]:
        """States of the records of a FASTA file, [length] uint8; B where unknown."""
        records = read_fasta(path, self.alphabet, named=False)
        return [torch.from_numpy(record.codes) for record in records]

    def examples(self, path: Path) -> SequenceSet:
        """Sequences longer than any in training are cut into equal parts, as in training."""
        stores = build_stores(path, self.alphabet, StoreOptions(max_length=self.longest))
        return stores.get("test", stores["train"])

    def reading(self, examples: ExampleSet) -> Sequence[str]:
        assert isinstance(examples, SequenceSet), "sequences are kept in a store"
        return examples.report()

    def summary(self, states: Sequence[Tensor]) -> str:
        sizes = sorted(len(sequence) for sequence in states)
        return f"{len(sizes)} sequences of length {sizes[0]} to {sizes[-1]}"

    def figures(self, result: "Evaluation", examples: ExampleSet | None) -> list[Figure]:
        return [Figure("perplexity per residue", result.perplexity, *result.perplexity_interval)]

    def quality(
        self, samples: Sequence[Tensor], data: DataView, split: str, seed: int
    ) -> list["Row"]:
        from rich.console import Console

        from scud.data.sequences.quality import sequence_quality

        drawn = SequenceArray.from_list([sequence.cpu().numpy() for sequence in samples])
        heldout, training = stored(data, split), stored(data, "train")
        with Console(stderr=True).status("comparing with training data"):
            quality = sequence_quality(drawn, heldout, training, self.num_states, seed=seed)
            return quality.rows()

    @property
    def infilling(self) -> SequencesInfilling:
        return SequencesInfilling(self.alphabet, self.longest)

    @property
    def scoring(self) -> SequencesScoring:
        return SequencesScoring(self.alphabet, self.longest)


LONGEST = 1 << 24
"""Lengths that can be drawn: PyTorch draws from no more."""


def is_length_counts(value: object) -> bool:
    """Whether a value is counts of lengths, [longest + 1], some above 0."""
    if not isinstance(value, Tensor) or value.ndim != 1 or not 2 <= len(value) <= LONGEST:
        return False
    if value.dtype.is_floating_point or value.dtype.is_complex or value.dtype == torch.bool:
        return False
    return bool((value >= 0).all()) and int(value[0]) == 0 and int(value[-1]) > 0


def stored(data: DataView, split: str) -> SequenceArray:
    """The sequences of a split, end to end."""
    part = data.split(split)
    assert isinstance(part, SequenceSet), "sequences are kept in stores"
    return SequenceArray(part.codes, part.offsets)

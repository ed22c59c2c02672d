"""Text, to commands: what states stand for, files of texts, figures per character and word."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from scud.data.base import Modality, Spec
from scud.data.specs import check_names, integer_of
from scud.data.text.chunks import read_chunks
from scud.data.text.figures import text_figures
from scud.data.text.infilling import TextInfilling
from scud.data.text.samples import POSITIONS, read_states, write_texts
from scud.data.text.store import TextSet
from scud.data.text.tokenizers import Tokenizer, tokenizer_from_spec
from scud.errors import check_at_least, check_in_interval, fail
from scud.evaluation.report import Figure, Paired
from scud.files.npz import write_npz
from scud.typing import BatchSize, DataView, ExampleSet, Shape

if TYPE_CHECKING:
    from scud.evaluation import Evaluation
    from scud.evaluation.report import Row
    from scud.samplers import Samples

LONGEST = 1 << 20
"""The greatest length of a chunk."""

UNITS = {"char": "bits/char", "byte": "bits/byte", "token": "perplexity"}
"""What losses are shown in, by what a state is."""

_AT_ONCE = BatchSize(4096, 1 << 20)
"""Texts read at once."""


def check_length(length: int) -> None:
    """Raise `UserError` unless chunks may be so long."""
    remedy = "choose 256 characters or 128 subword tokens, say"
    check_in_interval("data.length", length, 1, LONGEST, remedy)


class Text(Modality):
    """Chunks of text, of one length.

    Args:
        tokens: what states stand for.
        length: states of a chunk.
    """

    kind = "text"
    noun = "texts"
    infill_options = TextInfilling.options
    rows = True

    def __init__(self, tokens: Tokenizer, length: int) -> None:
        check_length(length)
        self.tokens = tokens
        self.length = length

    @property
    def unit(self) -> str:
        return UNITS[self.tokens.unit]

    @property
    def position(self) -> str:
        return POSITIONS[self.tokens.unit]

    @property
    def num_states(self) -> int:
        return self.tokens.num_states

    @property
    def state_names(self) -> Sequence[str]:
        return self.tokens.state_names()

    @property
    def dims(self) -> Shape:
        return (self.length,)

    def spec(self) -> Spec:
        return {"tokens": self.tokens.spec(), "length": self.length}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        check_names(cls.noun, spec, ("tokens", "length"))
        tokens = spec["tokens"]
        if not isinstance(tokens, Mapping):
            remedy = "write the run again with scud.save"
            raise fail("data.tokens", "say what states stand for", repr(tokens), remedy)
        return cls(tokenizer_from_spec(tokens), integer_of(spec, "length", 1, LONGEST))

    def describe(self) -> str:
        return f"text in {self.tokens.describe()}"

    def shapes(
        self,
        num: int,
        length: tuple[int, int] | None,
        generator: Generator | None,
    ) -> list[Shape]:
        check_at_least("num", num, 1, "say how many texts to draw")
        first, last = length or (self.length, self.length)
        if not 1 <= first == last <= self.length:
            rule = f"be one number in 1..{self.length} for text"
            remedy = "leave it out for the length of training examples"
            raise fail("length", rule, f"{first}-{last}", remedy)
        return [(last,)] * num

    def decode(self, states: Sequence[Tensor]) -> Sequence[str]:
        """Texts."""
        return [self.tokens.decode(text.cpu().numpy()) for text in states]

    def write(self, samples: "Samples", folder: Path) -> list[Path]:
        """States to samples.npz (array x), texts to samples.txt; the first texts are printed."""
        files = [folder / "samples.npz", folder / "samples.txt"]
        parts = (part.numpy() for part in samples.parts())
        write_npz(files[0], parts, samples.shape, np.min_scalar_type(self.num_states - 1))
        texts = (self.tokens.decode(text.cpu().numpy()) for text in samples.states)
        write_texts(files[1], texts, len(samples.states))
        return files

    def read(self, path: Path) -> list[Tensor]:
        """The states of texts [length] int64."""
        return list(torch.from_numpy(read_states(path).astype(np.int64)))

    def examples(self, path: Path) -> TextSet:
        return read_chunks(path, "test", self.tokens, self.length)

    def summary(self, states: Sequence[Tensor]) -> str:
        return f"{len(states)} texts of {len(states[0])} {self.position}s each"

    def figures(self, result: "Evaluation", examples: ExampleSet | None) -> list[Figure]:
        if examples is None:
            name = f"perplexity per {self.position}"
            return [Figure(name, result.perplexity, *result.perplexity_interval)]
        assert isinstance(examples, TextSet), "text is kept in stores"
        text = text_figures(result, examples.text)
        bits = [text.bits_per_character, text.bits_per_byte]
        per_token = [text.perplexity_per_token, text.perplexity_per_word]
        if self.tokens.unit == "token":
            figures = [Paired(**vars(per_token[0]), beside=per_token[1]), per_token[1], *bits]
        elif self.tokens.unit == "byte":
            figures = [*reversed(bits), *per_token]
        else:
            figures = [*bits, *per_token]
        return [*figures, text.nats_per_token]

    def counts(self, examples: ExampleSet) -> Mapping[str, int]:
        """Tokens, characters, words and bytes of the text that chunks cover."""
        assert isinstance(examples, TextSet), "text is kept in stores"
        text = examples.text
        return {name: getattr(text, name) for name in ("tokens", "characters", "words", "bytes")}

    def quality(
        self,
        samples: Sequence[Tensor],
        data: DataView,
        split: str,
        seed: int,
    ) -> list["Row"]:
        from rich.console import Console

        from scud.data.text.quality import SPANS, text_quality

        drawn = torch.stack(list(samples)).cpu().numpy()
        train = data.split("train")
        heldout = np.concatenate([*states_of(data.split(split))])
        training = np.concatenate([*states_of(train.part(len(drawn)))])
        spans = SPANS[self.tokens.unit]
        with Console(stderr=True).status("comparing with training data"):
            corpus = states_of(train)
            return text_quality(drawn, heldout, training, corpus, self.num_states, spans).rows()

    @property
    def infilling(self) -> TextInfilling:
        return TextInfilling(self.tokens, self.length)


def states_of(examples: ExampleSet) -> Iterator[NDArray[np.int64]]:
    """The states of texts [n, length], in parts."""
    for index in examples.batches(_AT_ONCE):
        yield examples.batch(index).x0.numpy()

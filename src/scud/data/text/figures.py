"""The figures in which people report models of text, made from the bound on its chunks.

The bound counts every position of every chunk, separators included, and each is drawn by the model: with T nats in all,
over n tokens that are c characters, b bytes (UTF-8) and w words of the text,

    nats per token              T / n
    bits per character          T / (c ln 2)
    bits per byte               T / (b ln 2)
    perplexity per token        exp(T / n)
    perplexity per word         exp(T / w)

Characters, bytes and words are those of the text that the chunks cover, as it was before it became tokens; words are what
whitespace separates. So figures per character, byte or word compare models of different tokens on one text, those per token
do not. A token for what a vocabulary cannot write, [UNK], is a token like others, and cheap: where a text has many of them
(`scud train` says how many) its figures flatter. The length of a text is not modelled. Intervals are ± 1.96 standard errors of
T, mapped through exp for perplexities, with the counts taken as given; chunks count as independent, which neighbours in one
document are not quite.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch

from scud.errors import fail
from scud.evaluation.bound import Evaluation
from scud.evaluation.report import Figure


class TextCounts(Protocol):
    """How much text the chunks of a split cover."""

    @property
    def tokens(self) -> int:
        """Positions of the chunks."""
        ...

    @property
    def characters(self) -> int:
        """Unicode characters."""
        ...

    @property
    def words(self) -> int:
        """Words that whitespace separates."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes in UTF-8."""
        ...


@dataclass(frozen=True)
class TextFigures:
    """The bound on a text in the usual units, as the module defines them."""

    nats_per_token: Figure
    bits_per_character: Figure
    bits_per_byte: Figure
    perplexity_per_token: Figure
    perplexity_per_word: Figure


def text_figures(result: Evaluation, counts: TextCounts) -> TextFigures:
    """The figures of a bound over all positions of a text's chunks.

    Args:
        result: the bound, with no position given.
        counts: of the text that the same chunks cover.

    Raises:
        UserError: the bound counts other positions than the chunks have, as one on spans does.
    """
    if result.positions != counts.tokens:
        rule = f"count all {counts.tokens} tokens of the text"
        raise fail(
            "the bound",
            rule,
            f"{result.positions:.0f}",
            "evaluate whole chunks, with no position given",
        )

    def per(name: str, count: float) -> Figure:
        """Nats per unit, of which the text has so many."""
        if count == 0:
            return Figure(name, math.nan, math.nan, math.nan)
        units = result.positions / count
        value, reach = result.nats_per_position * units, 1.96 * result.standard_error * units
        return Figure(name, value, value - reach, value + reach)

    token = per("nats per token", counts.tokens)
    return TextFigures(
        nats_per_token=token,
        bits_per_character=per("bits/character", counts.characters * math.log(2)),
        bits_per_byte=per("bits/byte", counts.bytes * math.log(2)),
        perplexity_per_token=perplexity("perplexity per token", token),
        perplexity_per_word=perplexity("perplexity per word", per("nats", counts.words)),
    )


def perplexity(name: str, nats: Figure) -> Figure:
    """exp of a figure and of the ends of its interval; infinite where it is too large a number."""
    ends = torch.tensor([nats.value, nats.low, nats.high], dtype=torch.float64)
    return Figure(name, *ends.exp().tolist())

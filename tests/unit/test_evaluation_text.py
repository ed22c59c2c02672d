"""The figures of text: by hand, and the relations between them."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scud.data.text.figures import text_figures
from scud.errors import UserError
from scud.evaluation import Evaluation
from scud.evaluation.report import Figure, Normal


@dataclass(frozen=True)
class Counts:
    tokens: int
    characters: int
    words: int
    bytes: int


def evaluation(
    nats_per_example: float, examples: int, positions: float, error: float
) -> Evaluation:
    return Evaluation(
        examples=examples,
        repeats=4,
        positions=positions,
        diffusion=0.9 * nats_per_example,
        prior=0.1 * nats_per_example,
        independent=2 * nats_per_example,
        standard_error=error,
        gain_error=error,
    )


def interval(figure: Figure) -> tuple[float, float, float]:
    return figure.value, figure.low, figure.high


def test_figures_by_hand() -> None:
    """800 nats over 400 tokens, 1,600 characters, 1,640 bytes and 320 words, known to 4%: 32 nats."""
    figures = text_figures(evaluation(200.0, 4, 400.0, 0.08), Counts(400, 1600, 320, 1640))
    reach = 1.96 * 32
    for figure, units in (
        (figures.nats_per_token, 400),
        (figures.bits_per_character, 1600 * math.log(2)),
        (figures.bits_per_byte, 1640 * math.log(2)),
    ):
        assert interval(figure) == pytest.approx(
            (800 / units, (800 - reach) / units, (800 + reach) / units)
        )
    for figure, units in ((figures.perplexity_per_token, 400), (figures.perplexity_per_word, 320)):
        expected = [math.exp(nats / units) for nats in (800, 800 - reach, 800 + reach)]
        assert interval(figure) == pytest.approx(expected)


@given(st.floats(0.1, 10), st.integers(1, 50), st.integers(1, 300), st.floats(1e-4, 1))
def test_tokens_that_are_characters_and_bytes_and_words_have_equal_figures(
    nats: float, examples: int, length: int, error: float
) -> None:
    tokens = examples * length
    result = evaluation(nats * length, examples, tokens, error)
    figures = text_figures(result, Counts(tokens, tokens, tokens, tokens))
    assert interval(figures.bits_per_character) == interval(figures.bits_per_byte)
    assert figures.bits_per_character.value == pytest.approx(result.bits_per_dim)
    assert interval(figures.perplexity_per_token) == interval(figures.perplexity_per_word)
    assert interval(figures.perplexity_per_token)[1:] == pytest.approx(result.perplexity_interval)


def test_figures_that_are_not_defined_or_too_large() -> None:
    blank = text_figures(evaluation(2.0, 1, 10.0, math.nan), Counts(10, 10, 0, 10))
    assert math.isnan(blank.perplexity_per_word.value)
    assert math.isnan(blank.bits_per_byte.low)
    assert blank.bits_per_byte.value == pytest.approx(0.2 / math.log(2))
    endless = text_figures(evaluation(math.inf, 2, 10.0, math.nan), Counts(10, 10, 2, 10))
    assert endless.perplexity_per_token.value == math.inf
    assert (
        text_figures(
            evaluation(4000.0, 2, 10.0, 1.0), Counts(10, 40, 2, 40)
        ).perplexity_per_word.value
        == math.inf
    )


def test_a_bound_on_parts_of_the_text_has_no_such_figures() -> None:
    with pytest.raises(
        UserError,
        match=r"the bound must count all 400 tokens of the text, got 80; evaluate whole chunks",
    ):
        text_figures(evaluation(200.0, 4, 80.0, 0.1), Counts(400, 1600, 320, 1640))


def test_figures_in_words() -> None:
    bits = Figure("bits/character", 0.7212, 0.665, 0.778)
    assert str(bits) == "0.721 bits/character, 95% interval 0.665 to 0.778"
    assert bits.key == "bits_per_character"
    word = Figure("perplexity per word", 12.1825, 10.014, 14.82, digits=1)
    assert str(word) == "perplexity per word 12.2, 95% interval 10.0 to 14.8"
    assert word.key == "perplexity_per_word"
    normal = Normal("bits/dim", 2.885, 2.885 - 1.96 * 0.115, 2.885 + 1.96 * 0.115)
    assert str(normal) == "2.885 ± 0.115 bits/dim"
    assert normal.error == pytest.approx(0.115)

"""The quality of generated text: every measure against plain Python, and against its law where there is one."""

import json
import math
import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scud.data.text import quality as tq
from scud.data.text.quality import Spans, text_quality
from scud.errors import UserError

B = 4
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 12))
SPANS = Spans(repeat=2, copy=3)


@st.composite
def texts(draw, length=None):
    rows, width = draw(SHAPES)
    width = length or width
    return np.array(
        draw(
            st.lists(
                st.lists(st.integers(0, B - 1), min_size=width, max_size=width),
                min_size=rows,
                max_size=rows,
            )
        )
    )


def grams(row, n):
    return [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]


def all_grams(rows, n):
    return [gram for row in rows.tolist() for gram in grams(row, n)]


def entropy(counts):
    total = sum(counts.values())
    return -sum(c / total * math.log2(c / total) for c in counts.values())


def js(p, q):
    middle = Counter()
    for part in (p, q):
        for gram, count in part.items():
            middle[gram] += count / sum(part.values()) / 2
    return entropy(middle) - entropy(p) / 2 - entropy(q) / 2


@given(texts(), st.integers(1, 5))
def test_ngrams_have_equal_numbers_where_and_only_where_they_are_equal(rows, n):
    numbers = tq.ngrams(rows, n)
    assert numbers.shape == (len(rows), max(rows.shape[1] - n + 1, 0))
    pairs = set(zip(numbers.ravel().tolist(), all_grams(rows, n), strict=True))
    assert len(pairs) == len({number for number, _ in pairs}) == len({gram for _, gram in pairs})
    assert {number for number, _ in pairs} == set(range(len(pairs)))


def test_ngrams_of_30522_states_do_not_collide():
    """Each of the last two columns has the same sum of states, so a base that wraps round would confuse them."""
    rows = np.array(
        [[30521, 30521, 30521, 30521], [30521, 30521, 30521, 30520], [0, 30521, 30521, 30521]]
    )
    assert len(set(tq.ngrams(rows, 4).ravel().tolist())) == 3
    assert tq.ngrams(rows, 3)[0].tolist() == [tq.ngrams(rows, 3)[1, 0], tq.ngrams(rows, 3)[2, 1]]


@given(texts(), st.integers(1, 4))
def test_entropy_and_repetition_equal_a_naive_count(rows, n):
    found = all_grams(rows, n)
    if not found:
        assert math.isnan(tq.repeated(rows, n))
        return
    counts = np.bincount(tq.ngrams(rows, n).ravel())
    assert tq.entropy(counts) == pytest.approx(entropy(Counter(found)), abs=1e-12)
    earlier = [
        gram in grams(row, n)[:i] for row in rows.tolist() for i, gram in enumerate(grams(row, n))
    ]
    assert tq.repeated(rows, n) == pytest.approx(statistics.mean(earlier), abs=1e-12)


@given(texts(length=7), texts(length=7), st.integers(1, 3))
def test_divergence_equals_a_naive_one(p, q, n):
    value, _ = tq.ngram_divergence(p, q, n)
    tables = [Counter(all_grams(part, n)) for part in (p, q)]
    assert value == pytest.approx(js(*tables), abs=1e-9)
    assert tq.ngram_divergence(q, p, n)[0] == pytest.approx(value, abs=1e-12)
    assert tq.ngram_divergence(p, p, n)[0] == 0


def test_standard_error_of_the_divergence_is_its_spread():
    generator = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(200):
        laws = [generator.dirichlet([4, 3, 2], size=50), generator.dirichlet([2, 3, 4], size=80)]
        p, q = (np.stack([generator.choice(3, size=40, p=law) for law in part]) for part in laws)
        value, error = tq.ngram_divergence(p, q, 1)
        values.append(value)
        errors.append(error)
    assert statistics.mean(errors) == pytest.approx(statistics.stdev(values), rel=0.2)


@given(texts(), texts(), st.integers(1, 4), st.integers(1, 4))
def test_copies_equal_a_naive_search(rows, corpus, width, parts):
    wanted = set(all_grams(corpus, width))
    found = tq.copies(rows, np.array_split(corpus, parts), B, width)
    for share, row in zip(found, rows.tolist(), strict=True):
        expected = (
            statistics.mean(gram in wanted for gram in grams(row, width))
            if len(row) >= width
            else math.nan
        )
        assert share == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("num_states", [255, 256, 30_522])
def test_copies_in_more_states_than_a_byte_holds(num_states):
    """The largest state is no separator, and states that agree in their last byte are told apart."""
    top = num_states - 1
    corpus = np.array([[top, 1, top, 3, 4, top]])
    rows = np.array([[top, 1, top, 3], [top, 1, top, 2], [max(top - 256, 0), 1, top, 3]])
    assert tq.copies(rows, [corpus], num_states, 3).tolist() == [1.0, 0.5, 0.5]


def test_report_puts_equally_many_tokens_beside_each_other():
    generator = np.random.default_rng(0)
    samples, heldout, training = (
        generator.integers(0, B, size=shape) for shape in ((5, 6), (8, 9), (30, 9))
    )
    report = text_quality(samples, heldout, training, [training[:11], training[11:]], B, SPANS)
    held, trained = heldout[[0, 1, 3, 4, 6], :6], training[[0, 6, 12, 18, 24], :6]
    for part, rows in (
        (report.samples, samples),
        (report.heldout, held),
        (report.training, trained),
    ):
        assert (part.texts, part.tokens) == (5, 30)
        for i, n in enumerate(tq.ENTROPIES):
            found = all_grams(rows, n)
            assert part.entropy[i] == pytest.approx(entropy(Counter(found)))
            assert part.distinct[i] == len(set(found)) / len(found)
        assert part.repeated == tq.repeated(rows, 2)
    for part, rows in ((report.samples, samples), (report.training, trained)):
        for i, n in enumerate(tq.DIVERGENCES):
            expected = js(Counter(all_grams(rows, n)), Counter(all_grams(heldout[:, :6], n)))
            assert part.divergence[i] == pytest.approx(expected)
            assert part.divergence_error[i] > 0
    wanted = set(all_grams(training, 3))
    assert report.samples.copied == statistics.mean(
        gram in wanted for gram in all_grams(samples, 3)
    )
    assert report.heldout.copied == statistics.mean(gram in wanted for gram in all_grams(held, 3))

    rows = report.rows()
    table = {row.measure: row for row in rows}
    assert len(table) == len(rows) == 18
    assert table["JS from held-out, 2-grams (bits)"].heldout is None
    assert table["JS from held-out, 2-grams (bits)"].samples == report.samples.divergence[1]
    assert table["share of 3-grams found in training text"].training is None
    assert json.loads(json.dumps(rows, allow_nan=False)) == [list(row) for row in rows]


def test_samples_of_the_law_look_like_training_text_and_others_do_not():
    generator = np.random.default_rng(0)
    heldout, training, good = (
        generator.choice(B, size=(n, 40), p=[0.6, 0.2, 0.1, 0.1]) for n in (200, 500, 100)
    )
    poor, stuck = generator.choice(B, size=(100, 40)), np.repeat(good[:, :2], 20, axis=1)
    same, random, loop = (
        text_quality(rows, heldout, training, [training], B, Spans(8, 8))
        for rows in (good, poor, stuck)
    )
    assert same.training == random.training == loop.training
    for i in range(len(tq.DIVERGENCES)):
        level, error = same.training.divergence[i], same.training.divergence_error[i]
        assert abs(same.samples.divergence[i] - level) < 4 * error
        assert random.samples.divergence[i] - level > 5 * error
    assert random.samples.entropy > same.samples.entropy > loop.samples.entropy
    assert loop.samples.repeated > 0.5 > 0.1 > same.samples.repeated
    assert loop.samples.distinct[3] < same.samples.distinct[3]


def test_texts_too_short_for_a_measure_leave_it_undefined():
    one = np.array([[0, 1]])
    report = text_quality(one, one, one, [one], B, SPANS)
    assert report.samples.entropy[:2] == (1, 0)
    for figure in (report.samples.entropy[2], report.samples.distinct[3], report.samples.copied):
        assert math.isnan(figure)
    assert report.samples.divergence[0] == 0
    assert math.isnan(report.samples.divergence_error[0])
    json.dumps(report.rows(), allow_nan=False)


def test_empty_sets_and_foreign_states_are_refused():
    good = np.array([[0, 1, 2]])
    with pytest.raises(UserError, match="samples must hold at least one text"):
        text_quality(good[:0], good, good, [good], B, SPANS)
    for wrong in (-1, B):
        with pytest.raises(UserError, match=r"samples must hold states in 0\.\.3, got"):
            text_quality(np.array([[0, wrong]]), good, good, [good], B, SPANS)

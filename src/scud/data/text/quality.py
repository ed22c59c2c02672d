"""The quality of generated text, beside that of held-out text and of as much training text.

Texts are rows of states, of one length L; n-grams lie within a row. All sets are cut to the length of the shortest, and held-out
and training rows are taken evenly from theirs, so that all three hold the same number of tokens: every figure here depends on
how much text there is.

Entropy of n-grams: -sum_x p_x log2 p_x bits of their frequencies p (the plug-in estimate, which falls short of the law's where
n-grams are many and the text is short). Below that of held-out text, samples are too uniform; above it, too random.

Divergence from held-out text: the Jensen-Shannon divergence JS of `scud.data.sequences.quality`, from all held-out rows,
with its standard error by the delta method over rows. JS > 0 also between two texts of one law: compare with that of the
training text.

Distinct n-grams: number of different n-grams over the number of n-grams of the set. Repetition: share of the m-grams of a row
that stand earlier in the same row, m = 8 for characters and bytes and 4 for tokens. Copying: share of windows of w positions
that a row of the training text has, w = 32 for characters and bytes and 8 for tokens; held-out text says how much of that is
common phrases.

N-grams are numbered exactly, from the numbers of the (n-1)-grams: no table has B^n entries.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from scud.errors import fail
from scud.evaluation.kmers import SequenceArray, divergence, divergence_gradient, find_windows
from scud.evaluation.report import Row, row_of, rows_of

States = NDArray[np.integer]
"""[N, L] texts of equal length."""

ENTROPIES = (1, 2, 3, 4)
"""n of the n-grams whose entropy and distinct share are reported."""

DIVERGENCES = (1, 2, 3)
"""n of the n-grams whose divergence is reported."""


@dataclass(frozen=True)
class Spans:
    """Lengths, in positions, from which a text counts as repeated and as copied."""

    repeat: int
    copy: int


SPANS = {"char": Spans(8, 32), "byte": Spans(8, 32), "token": Spans(4, 8)}
"""By what a position is."""


@dataclass(frozen=True)
class SetQuality:
    """The figures of one set of texts; NaN where one is not defined.

    Attributes:
        texts: N.
        tokens: N L.
        entropy: of n-grams, bits, n in `ENTROPIES`.
        distinct: share of different n-grams, n in `ENTROPIES`.
        divergence: JS of n-grams from those of held-out text, bits, n in `DIVERGENCES`.
        divergence_error: their standard errors.
        repeated: share of n-grams that stand earlier in the same text, n = `Spans.repeat`.
        copied: share of windows that the training text has, of `Spans.copy` positions.
    """

    texts: int
    tokens: int
    entropy: tuple[float, ...]
    distinct: tuple[float, ...]
    divergence: tuple[float, ...]
    divergence_error: tuple[float, ...]
    repeated: float
    copied: float


@dataclass(frozen=True)
class TextQuality:
    """The figures of the samples, and of as much held-out and training text."""

    samples: SetQuality
    heldout: SetQuality
    training: SetQuality
    spans: Spans

    def rows(self) -> list[Row]:
        """The report as a table, plain numbers or None: to print, or to write as CSV or JSON."""
        sets = (self.samples, self.heldout, self.training)
        rows = rows_of({"texts": "texts", "tokens": "tokens"}, *sets)
        for name, attribute, numbers in (
            ("entropy of {}-grams (bits)", "entropy", ENTROPIES),
            ("JS from held-out, {}-grams (bits)", "divergence", DIVERGENCES),
            ("JS from held-out, {}-grams, standard error", "divergence_error", DIVERGENCES),
            ("share of distinct {}-grams", "distinct", ENTROPIES),
        ):
            values = zip(*(getattr(part, attribute) for part in sets), strict=True)
            rows += [row_of(name.format(n), *row) for n, row in zip(numbers, values, strict=True)]
        last = {
            "repeated": f"share of repeated {self.spans.repeat}-grams within a text",
            "copied": f"share of {self.spans.copy}-grams found in training text",
        }
        return [*rows, *rows_of(last, *sets)]


def text_quality(
    samples: States,
    heldout: States,
    training: States,
    corpus: Iterable[States],
    num_states: int,
    spans: Spans,
) -> TextQuality:
    """Measure samples, held-out text and training text alike.

    Args:
        samples: what was generated, [N, L].
        heldout: text the model was not trained on, [N', L']; the reference of the divergences.
        training: texts the model was trained on, [N'', L'']; more than N are not needed.
        corpus: all text it was trained on, in parts [n, L''] of any size; gone through once, for copies.
        num_states: B.
        spans: what counts as repeated and as copied; `SPANS` has the usual ones.

    Raises:
        UserError: a set is empty or holds states beyond B.
    """
    sets = {"samples": samples, "heldout": heldout, "training": training}
    for name, rows in sets.items():
        if not rows.size:
            raise fail(
                name,
                "hold at least one text",
                list(rows.shape),
                "choose a file or split that is not empty",
            )
        if rows.min() < 0 or rows.max() >= num_states:
            found = f"{rows.min()}..{rows.max()}"
            raise fail(
                name, f"hold states in 0..{num_states - 1}", found, "give what this model has drawn"
            )
    length = min(rows.shape[1] for rows in sets.values())
    size = min(len(rows) for rows in sets.values())
    drawn, held, trained = (spread(rows[:, :length], size) for rows in sets.values())
    reference = heldout[:, :length]
    copied = copies(np.concatenate([drawn, held]), corpus, num_states, spans.copy).reshape(2, size)
    return TextQuality(
        _describe(drawn, reference, float(copied[0].mean()), spans),
        _describe(held, None, float(copied[1].mean()), spans),
        _describe(trained, reference, math.nan, spans),
        spans,
    )


def _describe(rows: States, reference: States | None, copied: float, spans: Spans) -> SetQuality:
    """The figures of one set; no divergence without a reference."""
    tables = [np.bincount(ngrams(rows, n).ravel()) for n in ENTROPIES]
    found = [
        (math.nan, math.nan) if reference is None else ngram_divergence(rows, reference, n)
        for n in DIVERGENCES
    ]
    return SetQuality(
        texts=len(rows),
        tokens=rows.size,
        entropy=tuple(entropy(counts) for counts in tables),
        distinct=tuple(
            len(counts) / counts.sum() if len(counts) else math.nan for counts in tables
        ),
        divergence=tuple(value for value, _ in found),
        divergence_error=tuple(error for _, error in found),
        repeated=repeated(rows, spans.repeat),
        copied=copied,
    )


def spread(rows: States, size: int) -> States:
    """So many of the rows, spread evenly over their order."""
    return rows[np.arange(size) * len(rows) // size]


def ngrams(rows: States, n: int) -> NDArray[np.int64]:
    """[N, L - n + 1] the n-grams of each row [N, L], numbered from 0 on, the same number where and only where they are equal."""
    keys = rows.astype(np.int64)
    if n > 1:
        keys = ngrams(rows, n - 1)[:, :-1] * (keys.max() + 1) + keys[:, n - 1 :]
    return np.unique(keys, return_inverse=True)[1].reshape(keys.shape)


def entropy(counts: NDArray[np.int64]) -> float:
    """Entropy of the frequencies of counts [V], bits; NaN if nothing was counted."""
    return float(entr(counts / counts.sum()).sum() / math.log(2)) if len(counts) else math.nan


def ngram_divergence(p: States, q: States, n: int) -> tuple[float, float]:
    """JS of the n-grams of two sets [N, L] and [M, L], and its standard error, bits; NaN where L < n; no error of one row."""
    numbers = ngrams(np.concatenate([p, q]), n)
    if not numbers.size:
        return math.nan, math.nan
    sets, size = (numbers[: len(p)], numbers[len(p) :]), int(numbers.max()) + 1
    tables = [np.bincount(part.ravel(), minlength=size) for part in sets]
    variances = [
        _variance(part, *pair) for part, pair in zip(sets, (tables, tables[::-1]), strict=True)
    ]
    return divergence(*tables), math.sqrt(sum(variances))


def _variance(
    numbers: NDArray[np.int64], counts: NDArray[np.int64], others: NDArray[np.int64]
) -> float:
    """N/(N-1) sum_i z_i^2, the part of the squared error of JS that is due to the rows of numbers [N, m]."""
    size = len(numbers)
    if size == 1:
        return math.nan
    shift = divergence_gradient(counts, others)[numbers].sum(axis=1) / counts.sum()
    return float(np.square(shift).sum() * size / (size - 1))


def repeated(rows: States, n: int) -> float:
    """Share of the n-grams of the rows [N, L] that stand earlier in the same row; NaN where L < n."""
    numbers = ngrams(rows, n)
    if not numbers.size:
        return math.nan
    first = np.unique(numbers + np.arange(len(rows))[:, None] * (numbers.max() + 1))
    return 1 - len(first) / numbers.size


def copies(
    rows: States, corpus: Iterable[States], num_states: int, width: int
) -> NDArray[np.float64]:
    """[N] share of the windows of each row [N, L] that a row of the corpus, in parts [n, L'], has; NaN where L < width."""
    if rows.shape[1] < width:
        return np.full(len(rows), math.nan)
    parts = (SequenceArray.from_rows(part, num_states) for part in corpus)
    _, found = find_windows(SequenceArray.from_rows(rows, num_states), parts, num_states, width)
    return np.asarray(found.reshape(len(rows), -1).mean(axis=1))

"""The quality of generated sequences, beside that of held-out sequences and of as many training sequences.

k-mers. With p and q the frequencies of the B^k k-mers in two sets and m = (p + q) / 2, the Jensen-Shannon divergence is

    JS = 1/2 sum_x p_x log2(p_x / m_x) + 1/2 sum_x q_x log2(q_x / m_x)    bits, in [0, 1], 0 only where p = q.

Unlike the Kullback-Leibler divergence it stays finite where a k-mer is missing from one set. Two finite sets of one law
still have JS > 0 (about (B^k - 1) / (8 ln 2) (1/n_p + 1/n_q) for n independent k-mers each), so the figure to compare
with is that of the *training subset*: as many training sequences as there are samples, against the same held-out set.

Its standard error is the delta method over sequences, which are independent where letters are not. As dJS/dp_x =
1/2 log2(p_x / m_x) =: g_x, sequence i with counts c_i moves JS by z_i = sum_x (c_ix - n_i p_x) g_x / sum_j n_j; the squared
error is N/(N-1) sum_i z_i^2, plus that of the other set. Where both laws agree, JS is quadratic in the noise and this
errs on the large side, by about sqrt(2). A bootstrap would err further, and needs resampling.

Diversity. The distance of two sequences is one minus the cosine of their 3-mer count vectors, over random pairs. The
entropy of the letters of one sequence and its longest run of one letter betray repetitive samples, which score well
elsewhere. The entropy grows with length, so it compares sets of like lengths.

Unknown letters (code B) keep their place and count as length, but in no k-mer, match, entropy or run. Lengths are in
letters. A share s of n sequences has standard error sqrt(s (1 - s) / n).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.special import entr

from scud.errors import fail
from scud.evaluation.kmers import (
    SequenceArray,
    divergence,
    divergence_gradient,
    find_copies,
    find_matches,
    kmer_counts,
    owned_kmers,
)
from scud.evaluation.report import Row, rows_of

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of the length."""


@dataclass(frozen=True)
class SetQuality:
    """The figures of one set of sequences; NaN where one is not defined.

    Attributes:
        sequences: N.
        divergence_1, divergence_3: JS of its k-mers from those of the held-out set, bits, k = 1 and 3.
        divergence_1_error, divergence_3_error: their standard errors.
        length_mean, length_sd: of the length.
        length_quantiles: at `QUANTILES`.
        length_distance: Kolmogorov-Smirnov distance of its lengths from those of all training sequences.
        matched: share of sequences that share `match` or more letters in a row with a training sequence.
        copied: share of sequences equal to a training sequence.
        distinct: number of different sequences over N.
        pair_distance: mean cosine distance of 3-mer counts over up to 2,000 random pairs.
        entropy: mean entropy of the letters within a sequence, bits.
        longest_run: mean longest run of one letter within a sequence.
    """

    sequences: int
    divergence_1: float
    divergence_1_error: float
    divergence_3: float
    divergence_3_error: float
    length_mean: float
    length_sd: float
    length_quantiles: tuple[float, ...]
    length_distance: float
    matched: float
    copied: float
    distinct: float
    pair_distance: float
    entropy: float
    longest_run: float


@dataclass(frozen=True)
class SequenceQuality:
    """The figures of the samples, the held-out set and the training subset of (at most) the samples' size."""

    samples: SetQuality
    heldout: SetQuality
    training: SetQuality
    match: int

    def rows(self) -> list[Row]:
        """The report as a table, plain numbers or None: to print, or to write as CSV or JSON."""
        names = {
            "sequences": "sequences",
            "divergence_1": "JS from held-out, k = 1 (bits)",
            "divergence_1_error": "JS from held-out, k = 1, standard error",
            "divergence_3": "JS from held-out, k = 3 (bits)",
            "divergence_3_error": "JS from held-out, k = 3, standard error",
            "length_mean": "length, mean",
            "length_sd": "length, standard deviation",
            "length_distance": "length, KS distance from training",
            "matched": f"share with a training match >= {self.match}",
            "copied": "share equal to a training sequence",
            "distinct": "share of distinct sequences",
            "pair_distance": "pairwise 3-mer cosine distance, mean",
            "entropy": "letter entropy within a sequence, mean (bits)",
            "longest_run": "longest run of one letter, mean",
        }
        sets = (self.samples, self.heldout, self.training)
        rows = rows_of(names, *sets)
        quantiles = zip(QUANTILES, *(part.length_quantiles for part in sets), strict=True)
        rows[7:7] = [
            Row(f"length, {100 * level:g}% quantile", *values) for level, *values in quantiles
        ]
        return rows


def sequence_quality(
    samples: SequenceArray,
    heldout: SequenceArray,
    training: SequenceArray,
    num_states: int,
    *,
    match: int = 20,
    seed: int = 0,
) -> SequenceQuality:
    """Measure samples, held-out sequences and a training subset alike.

    Args:
        samples: what was generated.
        heldout: sequences the model was not trained on; the reference of the divergences.
        training: all sequences it was trained on.
        num_states: B, at most 255.
        match: letters in a row that count as a match with the training data.
        seed: of the training subset and the random pairs.

    Raises:
        UserError: a set has no sequences, a code is above B, B is no code, or match is below 1.
    """
    if not 1 <= num_states <= 255:
        raise fail(
            "num_states",
            "lie in 1..255",
            num_states,
            "codes are single bytes, and B stands for unknown",
        )
    for name, part in (("samples", samples), ("heldout", heldout), ("training", training)):
        if not len(part):
            raise fail(
                name, "hold at least one sequence", 0, "choose a file or split that is not empty"
            )
        if part.codes.max() > num_states:
            raise fail(
                name,
                f"hold codes in 0..{num_states}",
                part.codes.max(),
                "use the alphabet of the data",
            )
    generator = np.random.default_rng(seed)
    size = min(len(samples), len(training))
    subset = training.take(np.sort(generator.choice(len(training), size, replace=False)))
    return SequenceQuality(
        _describe(samples, training, num_states, seed, reference=heldout, match=match),
        _describe(heldout, training, num_states, seed, reference=None, match=match),
        _describe(subset, training, num_states, seed, reference=heldout, match=None),
        match,
    )


def _describe(
    part: SequenceArray,
    training: SequenceArray,
    num_states: int,
    seed: int,
    *,
    reference: SequenceArray | None,
    match: int | None,
) -> SetQuality:
    """The figures of one set; no divergence without a reference, no matches where `match` is None."""
    one = three = (math.nan, math.nan)
    if reference is not None:
        one, three = (kmer_divergence(part, reference, k, num_states) for k in (1, 3))
    matched = copied = math.nan
    if match is not None:
        matched = float(find_matches(part, training, num_states, match).mean())
        copied = float(find_copies(part, training).mean())
    entropy = letter_entropy(part, num_states)
    entropy = entropy[~np.isnan(entropy)]
    return SetQuality(
        len(part),
        divergence_1=one[0],
        divergence_1_error=one[1],
        divergence_3=three[0],
        divergence_3_error=three[1],
        length_mean=float(part.lengths.mean()),
        length_sd=float(part.lengths.std(ddof=1)) if len(part) > 1 else math.nan,
        length_quantiles=tuple(np.quantile(part.lengths, QUANTILES).tolist()),
        length_distance=largest_gap(part.lengths, training.lengths),
        matched=matched,
        copied=copied,
        distinct=len(set(part.texts())) / len(part),
        pair_distance=pair_distance(part, num_states, seed=seed),
        entropy=float(entropy.mean()) if len(entropy) else math.nan,
        longest_run=float(longest_runs(part, num_states).mean()),
    )


def kmer_divergence(
    p: SequenceArray, q: SequenceArray, k: int, num_states: int
) -> tuple[float, float]:
    """JS of the k-mers of two sets and its standard error, bits; the error is NaN where a set is a single sequence."""
    p_counts, q_counts = kmer_counts(p, k, num_states), kmer_counts(q, k, num_states)
    value = divergence(p_counts, q_counts)
    if math.isnan(value):
        return math.nan, math.nan
    parts = (
        _variance(p, p_counts, q_counts, k, num_states),
        _variance(q, q_counts, p_counts, k, num_states),
    )
    return value, math.sqrt(sum(parts))


def _variance(
    sequences: SequenceArray,
    counts: NDArray[np.int64],
    others: NDArray[np.int64],
    k: int,
    num_states: int,
) -> float:
    """N/(N-1) sum_i z_i^2, the part of the squared error of JS that is due to these sequences."""
    size, total = len(sequences), counts.sum()
    if size == 1:
        return math.nan
    gradient = divergence_gradient(counts, others)
    shift = np.zeros(size)
    for owner, kmers in owned_kmers(sequences, k, num_states):
        shift += np.bincount(owner, weights=gradient[kmers], minlength=size)
    return float(np.square(shift / total).sum() * size / (size - 1))


def pair_distance(
    sequences: SequenceArray, num_states: int, *, k: int = 3, pairs: int = 2000, seed: int = 0
) -> float:
    """Mean of 1 - cosine of k-mer counts over random pairs, or all if there are no more than `pairs`.

    Sequences without a k-mer take no part; NaN where fewer than two are left.
    """
    chunks = list(owned_kmers(sequences, k, num_states))
    if not chunks:
        return math.nan
    owner, kmers = (np.concatenate(part) for part in zip(*chunks, strict=True))
    present, row = np.unique(owner, return_inverse=True)
    size = len(present)
    if size < 2:
        return math.nan
    if size * (size - 1) // 2 <= pairs:
        left, right = np.triu_indices(size, 1)
    else:
        generator = np.random.default_rng(seed)
        left = generator.integers(size, size=pairs)
        right = (left + generator.integers(1, size, size=pairs)) % size
    counts = coo_array((np.ones(len(row)), (row, kmers)), shape=(size, num_states**k)).tocsr()
    norm = np.sqrt(counts.multiply(counts).sum(axis=1))
    cosine = counts[left].multiply(counts[right]).sum(axis=1) / (norm[left] * norm[right])
    return float(1 - cosine.mean())


def letter_entropy(sequences: SequenceArray, num_states: int) -> NDArray[np.float64]:
    """[N] entropy of the letters within each sequence, bits; NaN where none is known."""
    known = sequences.codes < num_states
    owner = np.repeat(np.arange(len(sequences)), sequences.lengths)
    cells = owner[known] * num_states + sequences.codes[known]
    counts = np.bincount(cells, minlength=len(sequences) * num_states).reshape(-1, num_states)
    total = counts.sum(axis=1, keepdims=True)
    p = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    return np.asarray(entr(p).sum(axis=1) / math.log(2))


def longest_runs(sequences: SequenceArray, num_states: int) -> NDArray[np.int64]:
    """[N] length of the longest run of one known letter within each sequence."""
    codes, firsts = sequences.codes, sequences.offsets[:-1]
    begins = np.ones(len(codes), dtype=np.bool_)
    begins[1:] = codes[1:] != codes[:-1]
    begins[firsts] = True
    starts = np.flatnonzero(begins)
    runs = np.where(codes[starts] < num_states, np.diff(starts, append=len(codes)), 0)
    return np.asarray(np.maximum.reduceat(runs, np.searchsorted(starts, firsts)))


def largest_gap(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    """Kolmogorov-Smirnov distance sup_x |F_a(x) - F_b(x)| of two samples."""
    at = np.union1d(a, b)
    below_a, below_b = (
        np.searchsorted(np.sort(part), at, side="right") / len(part) for part in (a, b)
    )
    return float(np.abs(below_a - below_b).max())

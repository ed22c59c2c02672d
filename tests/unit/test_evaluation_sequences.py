"""The quality of generated sequences: every measure against plain Python, and against its law where there is one."""

import itertools
import json
import math
import statistics
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scud.data.sequences import quality as sq
from scud.errors import UserError
from scud.evaluation import kmers as seqs
from scud.evaluation.kmers import SequenceArray

B = 3
LETTERS = st.lists(st.integers(0, B), min_size=1, max_size=12)  # B itself is the unknown letter
SETS = st.lists(LETTERS, min_size=1, max_size=8)
COUNTS = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any)


def pack(sequences):
    return SequenceArray.from_list([np.array(sequence, dtype=np.uint8) for sequence in sequences])


def kmers(sequence, k):
    """All windows of known letters."""
    windows = [tuple(sequence[i : i + k]) for i in range(len(sequence) - k + 1)]
    return [window for window in windows if B not in window]


def draw(generator, count, probs, length=60):
    return SequenceArray.from_list(
        list(generator.choice(len(probs), size=(count, length), p=probs).astype(np.uint8))
    )


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(seqs, "CHUNK", 5)


def test_sequences_keep_their_order_and_lengths():
    sequences = [[0, 1], [2], [1, 1, 3]]
    packed = pack(sequences)
    assert len(packed) == 3
    assert packed.lengths.tolist() == [2, 1, 3]
    assert [list(text) for text in packed.texts()] == sequences
    assert [list(text) for text in packed.take(np.array([2, 0, 2])).texts()] == [
        [1, 1, 3],
        [0, 1],
        [1, 1, 3],
    ]
    assert len(packed.take(np.array([], dtype=np.int64))) == len(pack([])) == 0


def test_malformed_sequences_are_refused():
    with pytest.raises(UserError, match="none in sequence 1"):
        pack([[0], []])
    with pytest.raises(UserError, match="offsets must run from 0"):
        SequenceArray(np.zeros(3, dtype=np.uint8), np.array([0, 2]))
    with pytest.raises(UserError, match=r"0\.\.255"):
        SequenceArray.from_list([np.array([300])])
    with pytest.raises(UserError, match=r"0\.\.255"):
        SequenceArray.from_list([np.array([-1])])
    with pytest.raises(TypeError, match="uint8"):
        SequenceArray(np.zeros(3, dtype=np.int64), np.array([0, 3]))  # type: ignore[arg-type]


@given(SETS, st.integers(1, 5))
def test_kmer_counts_equal_a_naive_count(sequences, k):
    naive = Counter(itertools.chain.from_iterable(kmers(sequence, k) for sequence in sequences))
    expected = [naive[kmer] for kmer in itertools.product(range(B), repeat=k)]
    assert seqs.kmer_counts(pack(sequences), k, B).tolist() == expected


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("k", [1, 2, 3, 7])
def test_chunks_change_nothing(k):
    generator = np.random.default_rng(0)
    sequences = [
        generator.integers(0, B + 1, size=size).tolist()
        for size in generator.integers(1, 20, size=30)
    ]
    naive = Counter(itertools.chain.from_iterable(kmers(sequence, k) for sequence in sequences))
    found = Counter()
    for _, numbers in seqs.owned_kmers(pack(sequences), k, B):
        found.update(numbers.tolist())
    assert found == {
        sum(b * B ** (k - 1 - j) for j, b in enumerate(kmer)): count
        for kmer, count in naive.items()
    }


def test_the_last_kmer_of_many_states_is_the_last_count():
    assert np.flatnonzero(seqs.kmer_counts(pack([[0, 19, 19, 19, 19]]), 4, 20)).tolist() == [
        20**3 - 1,
        20**4 - 1,
    ]


def test_too_many_kmers_are_refused():
    with pytest.raises(UserError, match="smaller k"):
        seqs.kmer_counts(pack([[0]]), 9, 20)
    with pytest.raises(UserError, match="k must be at least 1"):
        seqs.kmer_counts(pack([[0]]), 0, 20)


def js(p, q):
    total = 0.0
    for a, b in zip(p, q, strict=True):
        a, b = a / sum(p), b / sum(q)
        total += sum(c * math.log2(2 * c / (a + b)) / 2 for c in (a, b) if c > 0)
    return total


@given(COUNTS, COUNTS)
def test_divergence_is_symmetric_within_0_and_1_and_0_only_for_equal_laws(p, q):
    p, q = np.array(p), np.array(q)
    value = sq.divergence(p, q)
    assert value == pytest.approx(js(p.tolist(), q.tolist()), abs=1e-12)
    assert value == pytest.approx(sq.divergence(q, p), abs=1e-12)
    assert 0 <= value <= 1
    assert (value == 0) == np.array_equal(p * q.sum(), q * p.sum())
    assert sq.divergence(p, 3 * p) == 0


def test_divergence_of_disjoint_and_of_empty_tables():
    assert sq.divergence(np.array([3, 0]), np.array([0, 5])) == pytest.approx(1)
    assert math.isnan(sq.divergence(np.array([3, 0]), np.array([0, 0])))
    with pytest.raises(UserError, match="one shape"):
        sq.divergence(np.array([3, 0]), np.array([1, 1, 1]))
    with pytest.raises(UserError, match="at least 0"):
        sq.divergence(np.array([3, -1]), np.array([1, 1]))


def influence(sequences, others, k):
    """The derivative of JS in the weight of each sequence, numerically."""
    tables = [seqs.kmer_counts(pack([sequence]), k, B) for sequence in sequences]
    other, step, whole = seqs.kmer_counts(pack(others), k, B), 1e-5, sum(tables)
    return [
        (js(whole + step * table, other) - js(whole - step * table, other)) / (2 * step)
        for table in tables
    ]


@pytest.mark.parametrize("k", [1, 3])
def test_standard_error_is_the_delta_method_over_sequences(k):
    p = [[0, 1, 2, 0, 1], [0, 0, 0, 0], [2, 1, 2, 1, 3, 2, 0, 0], [1]]
    q = [[0, 1, 0, 1], [2, 2, 1, 0, 0, 1, 0], [0, 1, 2, 2]]
    squared = [
        sum(z * z for z in influence(a, b, k)) * len(a) / (len(a) - 1) for a, b in ((p, q), (q, p))
    ]
    value, error = sq.kmer_divergence(pack(p), pack(q), k, B)
    assert value == sq.divergence(seqs.kmer_counts(pack(p), k, B), seqs.kmer_counts(pack(q), k, B))
    assert error == pytest.approx(math.sqrt(sum(squared)), rel=1e-5)
    assert math.isnan(sq.kmer_divergence(pack(p[:1]), pack(q), k, B)[1])


def test_standard_error_is_the_spread_of_the_divergence():
    generator = np.random.default_rng(0)
    figures = []
    for _ in range(200):
        letters = [generator.dirichlet([4, 3, 2], size=50), generator.dirichlet([2, 3, 4], size=80)]
        sets = [pack([generator.choice(B, size=40, p=p) for p in part]) for part in letters]
        figures.append(sq.kmer_divergence(*sets, 1, B))
    values, errors = zip(*figures, strict=True)
    assert statistics.mean(errors) == pytest.approx(statistics.stdev(values), rel=0.2)


def test_standard_error_errs_on_the_large_side_where_the_laws_agree():
    generator = np.random.default_rng(0)
    sets = [[draw(generator, 40, [0.5, 0.3, 0.2], 30) for _ in range(2)] for _ in range(200)]
    values, errors = zip(*(sq.kmer_divergence(*pair, 3, B) for pair in sets), strict=True)
    assert 1 < statistics.mean(errors) / statistics.stdev(values) < 1.8


def matches(query, training, m):
    wanted = {kmer for sequence in training for kmer in kmers(sequence, m)}
    return any(kmer in wanted for kmer in kmers(query, m))


@given(SETS, SETS, st.integers(1, 6))
def test_matches_and_copies_equal_a_naive_search(queries, training, m):
    found = seqs.find_matches(pack(queries), pack(training), B, m)
    assert found.tolist() == [matches(query, training, m) for query in queries]
    assert seqs.find_copies(pack(queries), pack(training)).tolist() == [
        query in training for query in queries
    ]


@pytest.mark.usefixtures("small_chunks")
def test_planted_matches_are_found_across_chunks_and_at_both_ends():
    generator = np.random.default_rng(0)
    training = [
        generator.integers(0, 20, size=size) for size in generator.integers(40, 90, size=30)
    ]
    noise = [generator.integers(0, 20, size=50) for _ in range(40)]
    for i in range(0, 40, 2):
        source, place = training[i % 30], (0, 13, 30)[i % 3]
        start = (0, 7, len(source) - 20)[i % 3]
        noise[i][place : place + 20] = source[start : start + 20]
    noise[0][19] = (noise[0][19] + 1) % 20  # 19 in a row are no match
    noise[2][40] = 20  # nor are 20 with an unknown letter
    found = seqs.find_matches(pack(noise), pack(training), 20)
    assert np.flatnonzero(found).tolist() == list(range(4, 40, 2))


class FixedBases:
    """Stands for the generator of bases: 0 gives base 1, whose polynomial is the sum of the letters."""

    def __init__(self, *bases):
        self.bases = list(bases)

    def integers(self, _high):
        return self.bases.pop(0) if len(self.bases) > 1 else self.bases[0]


@pytest.mark.parametrize(
    ("bases", "queries"),
    [((0,), [[0, 1, 2, 0]]), ((0, 0, 50), [[0, 1, 2, 0], [1, 2, 0, 0], [0, 2, 2, 2]])],
)
def test_collisions_are_no_matches(monkeypatch, bases, queries):
    generator = FixedBases(*bases)
    monkeypatch.setattr(np.random, "default_rng", lambda _seed: generator)
    training = pack([[2, 1, 0, 0, 0], [0, 0, 1, 2], [2, 2, 0, 2, 2, 2]])
    assert seqs.find_matches(pack(queries), training, B, 4).tolist() == [
        query == [0, 2, 2, 2] for query in queries
    ]
    assert generator.bases == [bases[-1]]


def test_match_below_1_is_refused():
    with pytest.raises(UserError, match="match must be at least 1"):
        seqs.find_matches(pack([[0]]), pack([[0]]), B, 0)


@given(SETS, st.integers(1, 3))
def test_pair_distance_over_all_pairs(sequences, k):
    tables = [Counter(kmers(sequence, k)) for sequence in sequences]
    tables = [table for table in tables if table]
    expected = [
        1 - sum(a[kmer] * b[kmer] for kmer in a) / math.hypot(*a.values()) / math.hypot(*b.values())
        for a, b in itertools.combinations(tables, 2)
    ]
    value = sq.pair_distance(pack(sequences), B, k=k)
    assert (
        value == pytest.approx(statistics.mean(expected), abs=1e-12)
        if expected
        else math.isnan(value)
    )


def test_random_pairs_estimate_all_pairs_and_follow_the_seed():
    sequences = draw(np.random.default_rng(0), 80, [0.5, 0.3, 0.2], 12)
    every = sq.pair_distance(sequences, B, pairs=10_000)
    some = [sq.pair_distance(sequences, B, pairs=500, seed=seed) for seed in (0, 0, 1)]
    assert some[0] == some[1] != some[2]
    assert some == pytest.approx([every] * 3, abs=0.03)


@given(SETS)
def test_entropy_and_longest_run_equal_plain_python(sequences):
    packed = pack(sequences)
    for sequence, entropy, run in zip(
        sequences, sq.letter_entropy(packed, B), sq.longest_runs(packed, B), strict=True
    ):
        known = [letter for letter in sequence if letter < B]
        shares = [count / len(known) for count in Counter(known).values()]
        expected = -sum(share * math.log2(share) for share in shares) if known else math.nan
        assert entropy == pytest.approx(expected, abs=1e-12, nan_ok=True)
        groups = itertools.groupby(sequence)
        assert run == max((len(list(group)) for letter, group in groups if letter < B), default=0)


@given(st.lists(st.integers(1, 9), min_size=1), st.lists(st.integers(1, 9), min_size=1))
def test_largest_gap_is_the_kolmogorov_smirnov_distance(a, b):
    gaps = [
        abs(sum(x <= at for x in a) / len(a) - sum(x <= at for x in b) / len(b)) for at in range(11)
    ]
    assert sq.largest_gap(np.array(a), np.array(b)) == pytest.approx(max(gaps), abs=1e-12)


def test_samples_of_the_same_law_look_like_training_data_and_others_do_not():
    generator = np.random.default_rng(0)
    law = [0.4, 0.3, 0.2, 0.1]
    good, heldout, training = (draw(generator, count, law) for count in (100, 300, 1000))
    same = sq.sequence_quality(good, heldout, training, 4, seed=1)
    for k in (1, 3):
        value, level, error = (
            getattr(part, f"divergence_{k}{suffix}")
            for part, suffix in ((same.samples, ""), (same.training, ""), (same.training, "_error"))
        )
        assert abs(value - level) < 4 * error
    poor = sq.sequence_quality(draw(generator, 100, [0.25] * 4), heldout, training, 4, seed=1)
    assert poor.training == same.training
    assert poor.heldout == same.heldout
    for k in (1, 3):
        excess = getattr(poor.samples, f"divergence_{k}") - getattr(
            poor.training, f"divergence_{k}"
        )
        assert excess > 5 * getattr(poor.samples, f"divergence_{k}_error")


def test_report_puts_every_measure_beside_its_references():
    training = [[0, 1, 2, 0], [1, 1, 1], [2, 2, 0, 1, 0, 2], [0, 0]]
    samples, heldout = [[0, 1, 2, 0], [2, 0, 1, 2], [2, 0, 1, 2]], [[0, 1, 2, 3], [1, 1, 2, 2, 2]]
    report = sq.sequence_quality(pack(samples), pack(heldout), pack(training), B, match=3)
    assert (report.samples.sequences, report.heldout.sequences, report.training.sequences) == (
        3,
        2,
        3,
    )
    assert report.samples.copied == pytest.approx(1 / 3)
    assert report.samples.distinct == pytest.approx(2 / 3)
    assert report.samples.matched == statistics.mean(
        matches(sample, training, 3) for sample in samples
    )
    assert report.heldout.matched == 0.5
    assert report.samples.length_mean == 4
    assert report.heldout.length_sd == pytest.approx(math.sqrt(0.5))
    assert report.heldout.length_quantiles == pytest.approx((4.05, 4.25, 4.5, 4.75, 4.95))
    assert report.samples.length_distance == 0.5
    assert report.samples.longest_run == 1
    rows = report.rows()
    table = {row.measure: row for row in rows}
    assert len(table) == len(rows) == 19
    assert table["length, 50% quantile"].heldout == 4.5
    assert table["share with a training match >= 3"].training is None
    assert table["JS from held-out, k = 1 (bits)"].heldout is None
    assert table["JS from held-out, k = 1 (bits)"].samples == report.samples.divergence_1
    assert json.loads(json.dumps(rows, allow_nan=False)) == [list(row) for row in rows]


def test_short_and_few_sequences_leave_figures_undefined():
    one, two = pack([[0, B]]), pack([[0, 1], [B, B]])
    report = sq.sequence_quality(one, two, two, B)
    assert report.samples.divergence_1 >= 0
    assert all(
        math.isnan(figure)
        for figure in (
            report.samples.divergence_1_error,
            report.samples.divergence_3,
            report.samples.length_sd,
            report.samples.pair_distance,
        )
    )
    assert report.samples.matched == report.samples.copied == 0
    assert report.heldout.entropy == 1
    assert report.heldout.copied == 1
    unknown = pack([[B]])
    assert math.isnan(sq.sequence_quality(unknown, two, unknown, B).samples.entropy)
    json.dumps(report.rows(), allow_nan=False)


def test_more_samples_than_training_data_take_all_of_it():
    training = pack([[0, 1], [1, 2]])
    assert sq.sequence_quality(pack([[0, 1]] * 5), training, training, B).training.sequences == 2


@pytest.mark.parametrize("name", ["samples", "heldout", "training"])
def test_empty_sets_and_codes_beyond_the_alphabet_are_refused(name):
    sets = dict.fromkeys(("samples", "heldout", "training"), pack([[0, 1, 2]]))
    with pytest.raises(UserError, match=f"{name} must hold at least one sequence"):
        sq.sequence_quality(**(sets | {name: pack([])}), num_states=B)
    with pytest.raises(UserError, match=rf"{name} must hold codes in 0\.\.3, got 4"):
        sq.sequence_quality(**(sets | {name: pack([[4]])}), num_states=B)


def test_more_states_than_a_byte_tells_apart_are_refused():
    one = pack([[0]])
    with pytest.raises(UserError, match=r"num_states must lie in 1\.\.255, got 256"):
        sq.sequence_quality(one, one, one, 256)

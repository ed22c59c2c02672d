"""How well scores of variants can be ranked by, and whether they know what is conserved.

    python -m benchmarks.proteins_score RUN TRAIN.fasta VALID.fasta [--threads 2] [--repeats 64]

RUN is a model of the family. First, 200 random point mutations of one validation sequence are scored twice, with seeds of their
own: Spearman correlation of the two, seconds of each. Then, in 20 validation sequences, the residues at the five most conserved
columns are replaced by W, C and P, one at a time: share that scores below the wild type. A column is a position of the
validation sequence first in the file; residues of others belong to the column that a global alignment (Biopython, BLOSUM62)
puts them in, and a column is conserved where the entropy of its residues over 200 training sequences is lowest.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from Bio.Align import PairwiseAligner, substitution_matrices
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.report import machine_line
from scud.data import Alphabet, Sequences
from scud.data.sequences.fasta import read_fasta
from scud.errors import fail
from scud.evaluation.scores import score_variants
from scud.runs import Run, load

COLUMNS, SEQUENCES, MUTATIONS = 5, 20, 200


def alphabet_of(run: Run) -> Alphabet:
    """The letters of a run on sequences."""
    if not isinstance(run.modality, Sequences):
        raise fail("run", "model sequences", run.modality.noun, "give a run on the family")
    return run.modality.alphabet


def aligner() -> PairwiseAligner:
    """Global alignment with BLOSUM62."""
    made = PairwiseAligner()
    made.substitution_matrix = substitution_matrices.load("BLOSUM62")
    made.open_gap_score, made.extend_gap_score = -11, -1
    made.end_gap_score = -0.5
    return made


def columns(align: PairwiseAligner, reference: str, text: str) -> NDArray[np.int64]:
    """For every column, a position of the reference, the position of `text` there; -1 where it has a gap."""
    place = np.full(len(reference), -1)
    for (start, end), (other, _) in zip(*align.align(reference, text)[0].aligned, strict=True):
        place[start:end] = np.arange(other, other + end - start)
    return place


def conserved(align: PairwiseAligner, reference: str, training: list[str]) -> NDArray[np.int64]:
    """The columns of least entropy, gaps counted as a letter of their own."""
    seen = np.array(
        [[text[i] if i >= 0 else "-" for i in columns(align, reference, text)] for text in training]
    )
    entropy = np.zeros(len(reference))
    for letter in np.unique(seen):
        share = (seen == letter).mean(0)
        entropy -= np.where(share > 0, share * np.log(np.where(share > 0, share, 1)), 0)
    return np.argsort(entropy, kind="stable")[:COLUMNS]


def ranking(run: Run, wild: NDArray[np.uint8], repeats: int) -> None:
    """Two scorings of the same mutations."""
    random = np.random.default_rng(0)
    every = [(i, b) for i in range(len(wild)) for b in range(20) if b != wild[i]]
    variants = []
    for number in random.permutation(len(every))[:MUTATIONS]:
        position, letter = every[number]
        variant = wild.copy()
        variant[position] = letter
        variants.append(variant)
    results, seconds = [], []
    for seed in (1, 2):
        start = time.perf_counter()
        results.append(
            score_variants(run.model, run.network, wild, variants, repeats=repeats, seed=seed)
        )
        seconds.append(time.perf_counter() - start)
    correlation = spearmanr(results[0].difference, results[1].difference).statistic
    spread, error = results[0].difference.std(), np.median(results[0].standard_error)
    print(
        f"{MUTATIONS} point mutations, {repeats} draws: Spearman {correlation:.3f} between seeds; {seconds[0]:.0f} and "
        f"{seconds[1]:.0f} s; differences spread by {spread:.2f} nats, median standard error {error:.2f}"
    )


def conservation(
    run: Run, records: list[tuple[str, NDArray[np.uint8]]], training: list[str], repeats: int
) -> None:
    """W, C and P at conserved columns."""
    align, letters = aligner(), alphabet_of(run).letters
    reference = records[0][0]
    places = conserved(align, reference, training)
    below = total = 0
    for text, wild in records[:SEQUENCES]:
        variants = []
        for position in columns(align, reference, text)[places]:
            for letter in "WCP":
                if position >= 0 and text[position] != letter:
                    variant = wild.copy()
                    variant[position] = letters.index(letter)
                    variants.append(variant)
        result = score_variants(run.model, run.network, wild, variants, repeats=repeats, seed=3)
        below, total = below + int((result.difference < 0).sum()), total + len(variants)
    shown = ", ".join(f"{reference[i]}{i + 1}" for i in places)
    print(
        f"W, C or P at {shown} of {SEQUENCES} sequences: {below} of {total} ({below / total:.1%}) below the wild type"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run on the family")
    parser.add_argument("train", type=Path, help="its training sequences")
    parser.add_argument("valid", type=Path, help="its validation sequences")
    parser.add_argument("--threads", type=int, default=2, help="threads PyTorch may use")
    parser.add_argument("--repeats", type=int, default=64, help="draws of time and noise for each")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine_line())
    run = load(options.run)
    alphabet = alphabet_of(run)
    valid = [
        (alphabet.decode(record.codes), record.codes)
        for record in read_fasta(options.valid, alphabet)
    ]
    training = [alphabet.decode(record.codes) for record in read_fasta(options.train, alphabet)][
        :200
    ]
    ranking(run, valid[0][1], options.repeats)
    conservation(run, valid, training, options.repeats)


if __name__ == "__main__":
    main()

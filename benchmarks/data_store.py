"""What reading sequences into a store costs, and batches from it.

    python -m benchmarks.data_store FILE [--tokens 4096] [--repeats 4]

FILE is a FASTA file, plain or gzip. It is read as it is, and repeated several times, each in a process of its own: memory is the
growth of the process's peak while reading, which should be the same for both. A training batch is its plan and its gathering.
"""

import argparse
import gzip
import multiprocessing
import platform
import resource
import shutil
import tempfile
import time
from pathlib import Path

import torch

from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.buckets import LikeLengths
from scud.data.sequences.store import SequenceSet, StoreOptions, build_stores

BATCHES = 1000


def peak_mb() -> float:
    """The process's largest resident size so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(path: Path, valid_share: float, tokens: int) -> dict[str, float]:
    """Figures of one file."""
    torch.set_num_threads(1)
    alphabet, options = find_alphabet("protein"), StoreOptions(valid_share=valid_share)
    with tempfile.TemporaryDirectory() as cache:
        before, start = peak_mb(), time.perf_counter()
        stores = build_stores(path, alphabet, options, cache)
        seconds, memory = time.perf_counter() - start, peak_mb() - before
        sequences = sum(map(len, stores.values()))
        residues = sum(store.summary["residues"] for store in stores.values())
        size = sum(file.stat().st_size for file in Path(cache).rglob("*") if file.is_file())
        padding, milliseconds = batch_figures(stores["train"], tokens)
    return {
        "sequences": sequences,
        "residues": residues,
        "seconds": seconds,
        "sequences/s": sequences / seconds,
        "bytes per residue": size / residues,
        "peak MB": memory,
        "padding %": 100 * padding,
        "ms per batch": milliseconds,
    }


def batch_figures(train: SequenceSet, tokens: int) -> tuple[float, float]:
    """Share of padding, and milliseconds per batch."""
    plan = LikeLengths(train.length_counts, tokens, seed=0)
    start = time.perf_counter()
    batches = [train.batch(train.by_length(plan.ranks(step))) for step in range(BATCHES)]
    milliseconds = 1e3 * (time.perf_counter() - start) / BATCHES
    taken = sum(batch.x0.numel() for batch in batches)
    real = sum(
        int(train.lengths(train.by_length(plan.ranks(step))).sum()) for step in range(BATCHES)
    )
    return 1 - real / taken, milliseconds


def repeated(path: Path, times: int, folder: Path) -> Path:
    """A gzip file that holds a file several times; gzip allows just that of compressed ones."""
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    target = folder / "repeated.fasta.gz"
    with target.open("wb") as out:
        for _ in range(times):
            with path.open("rb") as file:
                if zipped:
                    shutil.copyfileobj(file, out)
                else:
                    out.write(gzip.compress(file.read() + b"\n", 1))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, help="a FASTA file, plain or gzip")
    parser.add_argument("--tokens", type=int, default=4096, help="budget of a training batch")
    parser.add_argument("--repeats", type=int, default=4, help="times the file is repeated")
    options = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        many = repeated(options.file, options.repeats, Path(folder))
        cases = [("once", options.file, 0.0), ("once, 5% held out", options.file, 0.05)]
        cases.append((f"{options.repeats} times, 5% held out", many, 0.05))
        for number, (name, path, share) in enumerate(cases):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                row = pool.apply(measure, (path, share, options.tokens))
            if not number:
                print(f"| {options.file.name} | {' | '.join(row)} |\n|{'---|' * (len(row) + 1)}")
            print(
                f"| {name} | {' | '.join(f'{value:,.{2 * (value < 100)}f}' for value in row.values())} |"
            )


if __name__ == "__main__":
    main()

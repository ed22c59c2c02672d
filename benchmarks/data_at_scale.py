"""What data cost a training run at the sizes of large sets: start-up, time per batch, memory, and batches ahead of the step.

    python -m benchmarks.data_at_scale [--kinds images sequences text] [--batches 2000] [--threads 1] [--quick]
        [--out runs/data-at-scale]

The sets are simulated: 1.3 million images of 3 x 32 x 32, 60 million sequences and 9 million chunks of 128 tokens, in files as
scud keeps them. What nobody reads as a whole is a file without blocks (the residues); what is counted or hashed at a start
repeats one block of random states. So batches come from the memory of the system, and what a disk adds is not in them. The files
take up to 5 GB of --folder at a time, and go at the end.

Start-up is what `scud train` does with data that are there before its first step: opening, comparing, counting and hashing, up to
the first batch. Images have no store: reading their file comes before. Processor is the time that the process itself computes,
which other work on the machine hardly changes. Memory is the growth of what belongs to the process alone, without pages of files.
Each kind is measured in a process of its own.

The second table compares batches that a background thread prepares with batches prepared by the step itself.
"""

import argparse
import hashlib
import itertools
import json
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.report import Row, Table, machine, machine_line, write
from benchmarks.timing import compare
from scud import Masking
from scud.data import Data, Examples, load_sequences, load_text
from scud.data.examples import check_examples
from scud.data.images.modality import Images
from scud.data.sequences.accounts import Tally
from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.store import StoreOptions, store_key
from scud.data.text.store import FORMAT
from scud.data.text.tokenizers import Encoded, Piece, Tokenizer
from scud.files.cache import cached_folder
from scud.files.checksums import BLOCK, BLOCKS, NAME, WHOLE, digest_of, seal
from scud.files.digests import file_digest
from scud.training.ahead import Ahead
from scud.training.job import Job
from scud.training.options import ByExamples, ByPositions, TrainingOptions
from scud.training.stream import Stream

CPU = torch.device("cpu")
CHUNK, TOKENS, CLASSES = 128, 30_522, 1000
IMAGE = (3, 32, 32)
RANDOM = 1 << 26
"""Bytes of the block that is repeated."""


@dataclass(frozen=True)
class Scale:
    """How much of everything.

    Attributes:
        images, sequences, chunks: examples of each kind.
        source: bytes of the file that a store was made of.
        batches: how many are timed.
        pairs, run: pairs of runs that the thread is compared in, and batches of each run.
    """

    images: int = 1_300_000
    sequences: int = 60_000_000
    chunks: int = 9_000_000
    source: int = 1 << 28
    batches: int = 2000
    pairs: int = 10
    run: int = 60

    @classmethod
    def quick(cls) -> "Scale":
        return cls(500, 3000, 400, 1000, 20, 2, 5)


class Numbers(Tokenizer):
    """A vocabulary of as many entries as BERT's, which are never written out."""

    unit = "token"
    num_states = TOKENS

    def read(self, piece: Piece) -> Encoded:
        raise NotImplementedError("the store is there")

    def decode(self, states: Any) -> str:
        return str(states)

    def spec(self) -> dict[str, Any]:
        return {"kind": "simulated"}

    def describe(self) -> str:
        return "simulated tokens"


class Nothing(nn.Module):
    """A network that is never called, and reads so many labels."""

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.num_labels = num_labels


# Simulated files


def hole(path: Path, size: int) -> None:
    """A file of zeros that takes no room."""
    with path.open("wb") as file:
        file.truncate(size)


def repeated(path: Path, size: int, block: bytes) -> None:
    """A file of so many bytes, one block over and over."""
    with path.open("wb") as file:
        for start in range(0, size, len(block)):
            file.write(memoryview(block)[: size - start])


def source(folder: Path, scale: Scale) -> Path:
    """The file that a store was made of."""
    path = folder / "source.txt"
    hole(path, scale.source)
    if scale.source > WHOLE:
        time.sleep(3)  # a digest is noted where a file has not just changed
    return path


def write_sequences(folder: Path, scale: Scale) -> None:
    """The store of training sequences of the lengths of proteins, and of a hundredth as many for validation."""
    lengths = np.random.default_rng(0).gamma(2.5, 130, 1_000_000).astype(np.int64).clip(20, 1024)
    for split, count in (("train", scale.sequences), ("valid", scale.sequences // 100)):
        _write_split(folder / split, split, count, lengths[: min(count, len(lengths))])
    seal(folder)
    records = json.loads((folder / NAME).read_text())["files"]
    for split in ("train", "valid"):
        size = int(np.load(folder / split / "offsets.npy", mmap_mode="r")[-1])
        path = folder / split / "residues.bin"
        hole(path, size)
        whole = hashlib.blake2b(bytes(size) if size <= WHOLE else b"not read").hexdigest()
        sample = hashlib.blake2b(bytes(BLOCKS * BLOCK)).hexdigest()
        records[f"{split}/{path.name}"] = {"size": size, "digest": whole, "sample": sample}
    content = {"files": records, "digest": digest_of(records)}
    (folder / NAME).write_text(json.dumps(content), encoding="utf-8")


def _write_split(folder: Path, split: str, count: int, lengths: np.ndarray) -> None:
    """All of a split but its residues: sequences of these lengths [block] over and over, a whole number of times."""
    folder.mkdir()
    block = len(lengths)
    blocks, ends = np.arange(count // block), np.cumsum(lengths)
    counts = len(blocks) * np.bincount(lengths)
    shape = (len(blocks) * block,)
    kind = np.lib.format.open_memmap
    offsets = kind(folder / "offsets.npy", mode="w+", dtype="<i8", shape=(shape[0] + 1,))
    for number in blocks:
        offsets[number * block + 1 : (number + 1) * block + 1] = number * ends[-1] + ends
    by_length = kind(folder / "by_length.npy", mode="w+", dtype="<u4", shape=shape)
    order, place = np.argsort(lengths, kind="stable"), 0
    for group in np.split(order, np.cumsum(np.bincount(lengths))[:-1]):
        here = (block * blocks[:, None] + group).ravel()
        by_length[place : place + len(here)] = here
        place += len(here)
    offsets.flush(), by_length.flush()
    np.save(folder / "length_counts.npy", counts)
    summary = {
        "split": split,
        "letters": find_alphabet("protein").letters,
        "replaced": {},
        "examples": shape[0],
        "residues": int(offsets[-1]),
        "state_counts": [int(offsets[-1]), *[0] * 19],
        "options": asdict(StoreOptions()),
        "read": asdict(Tally()),
        "seems": "",
    }
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


def write_chunks(folder: Path, scale: Scale) -> None:
    """The store of a text, whose tokens occur by Zipf's law."""
    law = 1 / np.arange(1, TOKENS + 1)
    size = min(2 * CHUNK * scale.chunks, RANDOM) // 2
    states = np.random.default_rng(0).choice(TOKENS, size, p=law / law.sum()).astype("<u2")
    repeated(folder / "states.bin", 2 * CHUNK * scale.chunks, states.tobytes())
    hole(folder / "borders.bin", 24 * (scale.chunks + 1))
    read = {"tokens": CHUNK * scale.chunks, "characters": 0, "bytes": 0, "words": 0}
    summary = {"length": CHUNK, "dtype": "<u2", "unknown": 0, "notes": {}, "read": read}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")


# Kinds: each makes its files, and says how they are read


def images(folder: Path, scale: Scale) -> Callable[[], Data]:
    size = int(np.prod(IMAGE)) * scale.images
    block = np.random.default_rng(0).integers(0, 256, min(size, RANDOM), dtype=np.uint8)
    repeated(folder / "pixels.bin", size, block.tobytes())
    names = tuple(f"class {number}" for number in range(CLASSES))

    def read() -> Data:
        pixels = torch.from_file(
            str(folder / "pixels.bin"), shared=True, size=size, dtype=torch.uint8
        )
        x, label = pixels.reshape(-1, *IMAGE), torch.arange(scale.images) % CLASSES
        splits = {"train": Examples(x, label), "valid": Examples(x[:100], label[:100])}
        check_examples(splits, 256, IMAGE)
        return Data("images", splits, Images(256, IMAGE), names)

    return read


def sequences(folder: Path, scale: Scale) -> Callable[[], Data]:
    path, cache = source(folder, scale), folder / "cache"
    key = store_key(path, find_alphabet("protein"), StoreOptions(valid_share=0.05), cache)
    cached_folder("sequences", key, lambda place: write_sequences(place, scale), cache)
    return lambda: load_sequences(path, cache=cache)


def text(folder: Path, scale: Scale) -> Callable[[], Data]:
    path, cache, tokens = source(folder, scale), folder / "cache", Numbers()
    key = [FORMAT, file_digest(path, cache), tokens.spec(), CHUNK]
    cached_folder("text", key, lambda place: write_chunks(place, scale), cache)
    return lambda: load_text(path, tokens, CHUNK, cache=cache)


@dataclass(frozen=True)
class Kind:
    """A kind of data: how its files are made, its batches, and how many of what there are."""

    make: Callable[[Path, Scale], Callable[[], Data]]
    settings: TrainingOptions
    batch: str
    count: Callable[[Scale], int]
    labels: int = 0


KINDS: Mapping[str, Kind] = {
    "images": Kind(images, ByExamples(batch_size=64), "64 images", lambda s: s.images, CLASSES),
    "sequences": Kind(
        sequences, ByPositions(batch_tokens=4096), "4,096 residues", lambda s: s.sequences
    ),
    "text": Kind(text, ByExamples(batch_size=32), f"32 x {CHUNK} tokens", lambda s: s.chunks),
}


# Measurements


def own_mb() -> float:
    """What belongs to this process alone, without pages of files, in MB; NaN where the system does not say."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    found = [float(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")]
    return found[0] if found else float("nan")


def begin(kind: Kind, read: Callable[[], Data], steps: int) -> Job:
    """What a run makes of data before its first step."""
    data = read()
    model = Masking(data.num_states, p0=data.p0())
    settings = replace(kind.settings, steps=steps)
    job = Job(
        model,
        Nothing(kind.labels),
        data.split("train"),
        data.split("valid").part(settings.validation_examples),
        settings,
        label_names=tuple(data.label_names),
        digests=data.digests(),
    )
    assert len(job.label_counts) == kind.labels
    return job


def measure(name: str, scale: Scale, folder: Path) -> tuple[Row, list[Row]]:
    """The row of a kind, and the rows of its thread."""
    kind = KINDS[name]
    read = kind.make(folder, scale)
    before, start, computed = own_mb(), time.perf_counter(), time.process_time()
    job = begin(kind, read, scale.batches)
    portions = iter(Stream(job, 0))
    next(portions)
    start_up, start_computed = time.perf_counter() - start, time.process_time() - computed
    started, seconds, computed = own_mb(), list[float](), time.process_time()
    for _ in range(scale.batches - 1):
        began = time.perf_counter()
        next(portions)
        seconds.append(time.perf_counter() - began)
    processor = (time.process_time() - computed) / len(seconds)
    row: Row = {
        "data": name,
        "examples": f"{kind.count(scale):,}",
        "start-up, s": start_up,
        "processor, s": start_computed,
        "batch": kind.batch,
        "median, ms": 1e3 * statistics.median(seconds),
        "mean, ms": 1e3 * statistics.fmean(seconds),
        "processor, ms": 1e3 * processor,
        "slowest of 100, ms": 1e3 * float(np.quantile(seconds, 0.99)),
        "start-up, MB": started - before,
        "batches, MB": own_mb() - started,
    }
    return row, [thread_row(name, job, step, scale) for step in STEPS]


def waiting(seconds: float) -> Callable[[], object]:
    """A step that waits, as the host does for an accelerator that computes."""
    return lambda: time.sleep(seconds)


def computing(seconds: float) -> Callable[[], object]:
    """A step that computes, on as many threads as PyTorch has, for about so long."""
    matrix = torch.ones(400, 400)
    began = time.perf_counter()
    for _ in range(20):
        matrix @ matrix
    number = max(1, round(20 * seconds / (time.perf_counter() - began)))
    return lambda: [matrix @ matrix for _ in range(number)]


STEPS: Mapping[str, Callable[[float], Callable[[], object]]] = {
    "costs nothing": lambda _: lambda: None,
    "waits as long as a batch takes": waiting,
    "waits 5 times as long": lambda seconds: waiting(5 * seconds),
    "computes on the CPU 5 times as long": lambda seconds: computing(5 * seconds),
}


def thread_row(name: str, job: Job, step: str, scale: Scale) -> Row:
    """Batches per second with the thread and without, where each is followed by a step of some sort."""
    stream = Stream(replace(job, settings=replace(job.settings, steps=1 << 40)), 0)
    began = time.perf_counter()
    for _ in itertools.islice(stream, scale.run):
        pass
    work = STEPS[step]((time.perf_counter() - began) / scale.run)
    alone, ahead = iter(stream), Ahead(stream, CPU)
    threaded = iter(ahead)

    def run(portions: Any) -> None:
        for _ in itertools.islice(portions, scale.run):
            work()

    found = compare(lambda: run(alone), lambda: run(threaded), CPU, scale.pairs)
    ahead.close()
    return {
        "data": name,
        "a step": step,
        "without, batches/s": scale.run / found.base,
        "with, batches/s": scale.run / found.full,
        "with / without": 1 / found.ratio,
        "±": found.error / found.ratio**2,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="of data")
    parser.add_argument("--batches", type=int, default=Scale.batches, help="how many are timed")
    parser.add_argument("--threads", type=int, default=1, help="threads PyTorch may use")
    parser.add_argument(
        "--folder", type=Path, default=None, help="for the files; the system's by default"
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that all runs, not how fast"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/data-at-scale"), help="folder for the tables"
    )
    options = parser.parse_args()
    if options.batches < 2 or options.threads < 1:
        parser.error("--batches must be at least 2 and --threads at least 1")
    torch.set_num_threads(options.threads)
    print(machine_line(), flush=True)
    scale = Scale.quick() if options.quick else replace(Scale(), batches=options.batches)
    rows, thread_rows = list[Row](), list[Row]()
    for name in options.kinds:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            row, threaded = apart(options, name, scale, folder)
        finally:
            shutil.rmtree(folder)
        rows.append(row)
        thread_rows += threaded
        print(f"\n{Table(name, '', [row]).markdown()}", end="", flush=True)
    tables = [
        Table("data at scale", "Simulated stores.", rows),
        Table("thread", "Batches that a thread prepares, and without it.", thread_rows),
    ]
    print("\n".join(table.markdown() for table in tables))
    write(options.out, "data-at-scale", machine(), tables)


def apart(
    options: argparse.Namespace, name: str, scale: Scale, folder: Path
) -> tuple[Row, list[Row]]:
    """`measure` in a process of its own; in a miniature here."""
    if options.quick:
        return measure(name, scale, folder)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, torch.set_num_threads, (options.threads,)) as pool:
        return pool.apply(measure, (name, scale, folder))


if __name__ == "__main__":
    main()

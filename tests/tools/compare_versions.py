"""Whether the present code computes, bit for bit, what an earlier version computed.

For changes that move or rename code, and must leave formulas and random draws as they are. Every
case of `version_cases` is a short run, made once with the code of this repository as it stands and
once with that of the earlier commit, which is checked out in a temporary folder. The metrics, the
averaged weights, the evaluation and all that is drawn or scored are compared; one line says of each
whether it is the same. The status is 1 if anything differs.

    python -m tests.tools.compare_versions --data FOLDER
    python -m tests.tools.compare_versions --data FOLDER --cases digits-scud proteins

FOLDER, by default $SCUD_DATA, holds the files of `NEEDED`. All cases take about four minutes on one
core, and some hundred MB of temporary files.

Both versions are driven by the command line, with the same options. Where an option has another
name or meaning by now, `version_cases.translate` says which. The order of images and text is
another by now, and the noise of every batch of an evaluation or of samples has a seed of its own:
they are compared as they were, by what `version_cases` has of 0.1.0.
"""

import argparse
import csv
import gzip
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from tests.tools.version_cases import CASES, Case, Options, translate

ROOT = Path(__file__).resolve().parents[2]

EARLIER = "0e77006"
"""The commit of version 0.1.0."""

Values = dict[str, object]
"""What a file holds, by name: arrays, or numbers and lines of text as they are written."""

NEEDED = (
    "fashion_mnist.npz",
    "globins_train.fasta",
    "globins_valid.fasta",
    "kjv.txt.gz",
    "bert30522_knn.npz",
)
"""Files of data: images, proteins, verses, and a WordPiece vocabulary with its neighbours."""

DRIVER = """
import json
import sys
from pathlib import Path
import scud
from scud.cli import main
source, commands = json.loads(sys.argv[1])
if not Path(scud.__file__).resolve().is_relative_to(Path(source).resolve()):
    sys.exit(f"imported {scud.__file__} rather than {source}")
for command in commands:
    status = main(command)
    if status:
        sys.exit(status)
"""
"""One process for all commands of a case: most of the time is that of imports."""

AS_BEFORE = """
from scud.data.order import Shuffled
from scud.evaluation import bound
from scud.samplers import batched
from tests.tools import version_cases as before
Shuffled.examples = before.examples_of_0_1_0
bound.seeded = before.OneSource()
batched.noises = lambda generator, device: lambda number: generator
"""
"""Lets the present code take images and text in the order of version 0.1.0, and the noise of all batches of an evaluation or of
samples from one source, so that all else can be compared."""


def arguments(options: Options, files: Mapping[str, Path]) -> list[str]:
    """Options as they are given to a command, with the files put in."""
    given = []
    for name, value in options.items():
        text = str(value).format_map(files)
        given.append(f"--{name}" if value is True else f"--{name}={text}")
    return given


def run(
    case: Case,
    tree: Path,
    folder: Path,
    files: Mapping[str, Path],
    words: Callable[[Options], Options],
) -> str | None:
    """Make a case in a folder with the code of a tree; what went wrong, or None."""
    train = arguments(words(case.train), files)
    commands = [["train", case.recipe, f"--out={folder}", "--device=cpu", *train]]
    for name, options in case.commands:
        commands.append([name, str(folder), "--device=cpu", *arguments(words(options), files)])
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    source = tree / "src"
    paths = {
        "PYTHONPATH": os.pathsep.join([str(source), str(ROOT)]),
        "SCUD_CACHE": str(folder.parent / "cache"),
    }
    code = AS_BEFORE + DRIVER if tree == ROOT else DRIVER
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps([str(source), commands])],
        env={**os.environ, **dict.fromkeys(threads, "1"), **paths},
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return None
    return f"status {done.returncode}: {' '.join(done.stdout.split())[-400:]}"


def read_table(path: Path) -> Values:
    """The cells of a .csv file, but the seconds, which nobody can repeat, and a column that version 0.1.0 did not have."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    values: Values = {"rows": str(len(rows))}
    for number, row in enumerate(rows, 1):
        for name, cell in row.items():
            if name not in ("seconds", "valid_bits_per_dim_error"):
                values[f"{name} of row {number}"] = cell
    return values


def read_weights(path: Path) -> Values:
    """The averaged weights and p0 of a saved model."""
    tensors = load_file(path)
    names = sorted(name for name in tensors if name == "p0" or name.startswith("network."))
    return {"names of weights": " ".join(names)} | {name: tensors[name] for name in names}


def read_json(path: Path) -> Values:
    """The values of a .json file, those in lists and dictionaries one by one."""

    def walk(name: str, value: object) -> Iterator[tuple[str, object]]:
        if isinstance(value, dict | list):
            inside = value.items() if isinstance(value, dict) else enumerate(value)
            for part, held in inside:
                yield from walk(f"{name}.{part}" if name else str(part), held)
        else:
            yield name, json.dumps(value)

    return dict(walk("", json.loads(path.read_text(encoding="utf-8"))))


def read_arrays(path: Path) -> Values:
    """The arrays of an .npz file."""
    with np.load(path, allow_pickle=False) as arrays:
        return {f"array {name}": arrays[name] for name in arrays.files}


def read_lines(path: Path) -> Values:
    """The lines of a text, byte for byte."""
    lines = path.read_bytes().split(b"\n")
    numbered = {f"line {number}": repr(line) for number, line in enumerate(lines, 1)}
    return {"lines": str(len(lines)), **numbered}


READERS: dict[str, Callable[[Path], Values]] = {
    "metrics.csv": read_table,
    "model/model.safetensors": read_weights,
    "evaluation-*.json": read_json,
    "samples/samples.npz": read_arrays,
    "samples/samples.txt": read_lines,
    "samples/samples.fasta": read_lines,
    "samples/infilled.*": read_lines,
    "scores.csv": read_table,
    "differences.csv": read_table,
}
"""What is compared of a run folder."""


def same(old: object, new: object) -> bool:
    """Whether two values are one, bit for bit."""
    if not isinstance(old, np.ndarray) or not isinstance(new, np.ndarray):
        return type(old) is type(new) and old == new
    if old.dtype != new.dtype or old.shape != new.shape:
        return False
    return old.tobytes() == new.tobytes()


def distance(old: object, new: object) -> float | None:
    """Largest absolute difference of two values; None if they have none."""
    try:
        largest = float(np.abs(np.asarray(old, np.float64) - np.asarray(new, np.float64)).max())
    except (TypeError, ValueError):
        return None
    return largest if math.isfinite(largest) else None


def told(old: object, new: object) -> str:
    """Two values that differ, in a few words."""
    texts = []
    for value in (old, new):
        text = "nothing" if value is None else str(value)
        if isinstance(value, np.ndarray):
            text = f"{value.dtype} {list(value.shape)}"
        texts.append(text if len(text) <= 60 else f"{text[:60]}...")
    if isinstance(old, np.ndarray) and texts[0] == texts[1]:
        return f"by at most {distance(old, new)}"
    return f"{texts[0]} before, {texts[1]} now"


def difference(old: Values, new: Values) -> str | None:
    """What differs first and by how much, of all that the earlier version wrote, or None."""
    differing = [name for name in old if name not in new or not same(old[name], new[name])]
    if not differing:
        return None
    first = differing[0]
    pairs = [(old[name], new[name]) for name in differing if name in new]
    sizes = [size for size in (distance(*pair) for pair in pairs) if size is not None]
    largest = f", by at most {max(sizes):.3g}" if sizes else ""
    told_first = f"{first}: {told(old[first], new.get(first))}"
    return f"{told_first}; {len(differing)} of {len(old)} values differ{largest}"


def compare(old: Path, new: Path) -> Iterator[tuple[str, str | None]]:
    """What is compared of two run folders, and what differs, if anything."""
    for pattern, read in READERS.items():
        for path in sorted(old.glob(pattern)):
            name = str(path.relative_to(old))
            if not (new / name).is_file():
                yield name, "is missing now"
            else:
                yield name, difference(read(path), read(new / name))


def prepare(data: Path, folder: Path) -> dict[str, Path]:
    """Small files for the cases, by the name that options call them."""
    files = {
        "images": folder / "images.npz",
        "proteins": data / "globins_train.fasta",
        "valid_proteins": data / "globins_valid.fasta",
        "some_proteins": folder / "some.fasta",
        "wild_type": folder / "wild.fasta",
        "mutations": folder / "mutations.csv",
        "text": folder / "text.txt",
        "letters": folder / "letters.txt",
        "vocabulary": data / "bert30522_knn.npz",
    }
    with np.load(data / "fashion_mnist.npz") as arrays:
        train = {name: arrays[name][:200] for name in ("x_train", "y_train")}
        valid = {name: arrays[name][:20] for name in ("x_valid", "y_valid")}
    np.savez(files["images"], **train, **valid)
    records = files["valid_proteins"].read_text(encoding="utf-8").split(">")[1:4]
    files["some_proteins"].write_text("".join(f">{record}" for record in records))
    files["wild_type"].write_text(f">{records[0]}")
    letters = "".join(records[0].splitlines()[1:])
    variants = [f"{letters[4]}5W", f"{letters[9]}10P:{letters[19]}20C", f"{letters[29]}30H"]
    files["mutations"].write_text("\n".join(["mutation", *variants]) + "\n")
    with gzip.open(data / "kjv.txt.gz", "rt", encoding="utf-8") as verses:
        text = "".join(next(verses) for _ in range(400))
    files["text"].write_text(text, encoding="utf-8")
    files["letters"].write_text(" ".join(re.findall("[a-z]+", text.lower())), encoding="utf-8")
    return files


@contextmanager
def checkout(commit: str, folder: Path) -> Iterator[Path]:
    """A worktree of a commit, removed afterwards."""
    worktree = ["git", "-C", str(ROOT), "worktree"]
    try:
        subprocess.run([*worktree, "add", "--quiet", "--detach", str(folder), commit], check=True)
        yield folder
    finally:
        subprocess.run([*worktree, "remove", "--force", str(folder)], check=False)


def main(given: Sequence[str] | None = None) -> int:
    """Compare; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    default = os.environ.get("SCUD_DATA")
    parser.add_argument("--data", type=Path, default=default, help="$SCUD_DATA by default")
    parser.add_argument("--commit", default=EARLIER, help="what to compare with")
    parser.add_argument("--cases", nargs="+", choices=CASES, metavar="CASE", default=list(CASES))
    options = parser.parse_args(given)
    if options.data is None:
        parser.error("give the folder of the data: --data FOLDER, or set SCUD_DATA")
    missing = [name for name in NEEDED if not (options.data / name).is_file()]
    if missing:
        parser.error(f"{options.data} has no {', '.join(missing)}")
    find = ["git", "-C", str(ROOT), "cat-file", "-e", f"{options.commit}^{{commit}}"]
    if subprocess.run(find, stderr=subprocess.DEVNULL, check=False).returncode:
        parser.error(f"no commit {options.commit} here; fetch the whole history, or name another")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the worktree is removed
    equal = True
    with tempfile.TemporaryDirectory(prefix="compare-versions-") as name:
        folder = Path(name)
        files = prepare(options.data.resolve(), folder)
        with checkout(options.commit, folder / "earlier") as earlier:
            for number, case in enumerate(options.cases):
                place = folder / f"case-{number}"
                equal &= report(case, place, files, earlier)
    print("everything is bit for bit the same" if equal else "some of it differs")
    return 0 if equal else 1


def report(name: str, folder: Path, files: Mapping[str, Path], earlier: Path) -> bool:
    """Run a case with both versions and print what differs; whether nothing does."""
    case = CASES[name]
    old = folder / "old" / "run"
    new = folder / "new" / "run"
    for tree, target, words in ((earlier, old, dict), (ROOT, new, translate)):
        target.parent.mkdir(parents=True)
        problem = run(case, tree, target, files, words)
        if problem is not None:
            version = "the earlier version" if tree == earlier else "the present version"
            print(f"{name}: {version} failed, {problem}", flush=True)
            return False
    equal = True
    for thing, differs in compare(old, new):
        print(f"{name}: {thing}: {differs or 'bit for bit'}", flush=True)
        equal &= differs is None
    return equal


if __name__ == "__main__":
    sys.exit(main())

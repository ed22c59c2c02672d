"""All that scud reads of what others have written: for each kind a valid input, and how it is read."""

import gzip
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

import scud
from scud.config import read_config
from scud.data import (
    ArraysOptions,
    Data,
    ImagesOptions,
    SequencesOptions,
    TextOptions,
    find_alphabet,
)
from scud.data.sequences.edits import read_mutations
from scud.data.sequences.modality import Sequences
from scud.processes.dense import DenseOptions
from scud.processes.neighbour_graph import NeighbourGraphOptions
from scud.samplers import Ancestral
from tests.faults.changes import Watch, kill_before_rename
from tests.faults.children import forked
from tests.faults.mutations import Files
from tests.faults.scenarios import STATES, Place, fit, parts, train
from tests.saved import rewrite, strip
from tests.unit import image_files
from tests.unit.sequences import random_fasta
from tests.unit.texts import ENTRIES, some_text, vocabulary, write_vocabulary

LETTERS = " .abcehnstu\n"
LENGTH = 8
PROTEIN = find_alphabet("protein")


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Attributes:
        name: of the kind.
        build: writes a valid input into a folder.
        read: reads the input in a folder, and uses what it got.
        changed: endings of the files that are changed; all by default.
        slow: whether reading takes a tenth of a second or more.
    """

    name: str
    build: Callable[[Path], object]
    read: Callable[[Path], object]
    changed: tuple[str, ...] = ("",)
    slow: bool = False

    def names(self, files: Files) -> list[str]:
        return sorted(name for name in files if name.endswith(self.changed))


def use(data: Data) -> None:
    """Take a batch of each split, and what is counted of them."""
    for split in data.splits:
        examples = data.split(split)
        examples.state_counts()
        examples.batch(torch.arange(min(len(examples), 3)))
        _ = data.p0() if split == "train" else None


def cached(folder: Path) -> None:
    os.environ["SCUD_CACHE"] = str(folder / "cache")


def sequences(name: str, **more: object) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        cached(folder)
        others = {
            key: folder / value if isinstance(value, str) else value for key, value in more.items()
        }
        use(SequencesOptions(train=folder / name, valid_share=0.3, **others).read())

    return read


def texts(name: str, tokens: str | None = None) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        cached(folder)
        kind = {"alphabet": LETTERS} if tokens is None else {"tokens": str(folder / tokens)}
        use(TextOptions(train=folder / name, length=LENGTH, **kind).read())

    return read


def images(name: str) -> Callable[[Path], object]:
    return lambda folder: use(ImagesOptions(train=folder / name, valid_share=0.3).read())


def arrays(name: str) -> Callable[[Path], object]:
    return lambda folder: use(ArraysOptions(train=folder / name, valid_share=0.3).read())


def fasta(folder: Path) -> None:
    random_fasta(folder / "some.fasta", 12, 5, 20)


def zipped_fasta(folder: Path) -> None:
    fasta(folder)
    content = (folder / "some.fasta").read_bytes()
    (folder / "some.fasta").unlink()
    (folder / "some.fasta.gz").write_bytes(gzip.compress(content, 1, mtime=0))


def labelled_fasta(folder: Path) -> None:
    fasta(folder)
    rows = [f"p{number}\tclass{number % 3}" for number in range(12)]
    (folder / "labels.tsv").write_text("\n".join(["name\tlabel", *rows, ""]))


def mutations(folder: Path) -> None:
    (folder / "some.csv").write_text("mutant,score\nA1G,0.5\nA1G:C2D,1\nE3F,-2\n")


def use_mutations(folder: Path) -> None:
    codes = (
        PROTEIN.encode("ACEFGHIK") if hasattr(PROTEIN, "encode") else np.arange(8, dtype=np.uint8)
    )
    read_mutations(folder / "some.csv").apply(codes, PROTEIN, "wild type")


def uniref(folder: Path) -> None:
    fasta(folder)
    (folder / "some.fasta").rename(folder / "consensus.fasta")
    lines = (folder / "consensus.fasta").read_text().splitlines()[1::2]
    (folder / "splits.json").write_text(
        '{"train": [0, 1, 2, 3, 4, 5, 6], "valid": [7, 8], "test": [9]}'
    )
    np.savez(
        folder / "lengths_and_offsets.npz",
        ells=np.array([len(line) for line in lines]),
        seq_offsets=np.zeros(12, dtype=np.int64),
    )


def use_uniref(folder: Path) -> None:
    cached(folder)
    use(SequencesOptions(train=folder).read())


def text(folder: Path) -> None:
    (folder / "some.txt").write_text(some_text(60))


def zipped_text(folder: Path) -> None:
    (folder / "some.txt.gz").write_bytes(gzip.compress(some_text(60).encode(), 1, mtime=0))


def text_table(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"text": [some_text(10, seed) for seed in range(6)]})
    pyarrow.parquet.write_table(table, folder / "some.parquet")


def tokenizer(folder: Path) -> None:
    text(folder)
    (folder / "tokenizer.json").write_text(vocabulary().spec()["tokenizer"])


def word_list(folder: Path) -> None:
    text(folder)
    write_vocabulary(folder)


def word_archive(folder: Path) -> None:
    text(folder)
    np.savez(folder / "vocab.npz", vocab=np.array("\n".join(ENTRIES)))


def image_archive(folder: Path) -> None:
    x, y = image_files.random_pixels(8, 4, 4), np.arange(8) % 3
    np.savez(folder / "some.npz", x_train=x, y_train=y, x_test=x[:2])


def array_archive(folder: Path) -> None:
    x = np.random.default_rng(0).integers(0, 3, (12, 5), dtype=np.uint8)
    np.savez(folder / "some.npz", x_train=x, y_train=np.arange(12) % 2)


def array_file(folder: Path) -> None:
    np.save(folder / "some.npy", np.random.default_rng(0).integers(0, 3, (12, 5), dtype=np.int16))


def idx(folder: Path) -> None:
    image_files.write_idx(folder / "train-images-idx3-ubyte", image_files.random_pixels(6, 4, 4))
    image_files.write_idx(folder / "train-labels-idx1-ubyte", np.arange(6, dtype=np.uint8))
    image_files.write_idx(folder / "t10k-images-idx3-ubyte.gz", image_files.random_pixels(2, 4, 4))


def cifar(folder: Path) -> None:
    image_files.write_cifar(folder, each=1)


def cifar_archive(folder: Path) -> None:
    image_files.write_cifar(folder / "cifar-10-batches-bin", each=1)
    with tarfile.open(folder / "cifar.tar", "w") as archive:
        archive.add(folder / "cifar-10-batches-bin", "cifar-10-batches-bin")
    for path in (folder / "cifar-10-batches-bin").iterdir():
        path.unlink()


def imagenet(folder: Path) -> None:
    for name, count in (("train_data_batch_1", 4), ("val_data", 2)):
        image_files.write_imagenet(
            folder / f"{name}.npz",
            image_files.random_pixels(count, 4, 4, 3),
            list(range(1, count + 1)),
        )


def pictures(folder: Path) -> None:
    for number, ending in enumerate(("png", "jpg", "gif", "webp", "bmp", "tif", "png")):
        place = folder / f"class{number % 2}"
        place.mkdir(exist_ok=True)
        pixels = image_files.random_pixels(6, 6, 3, seed=number)
        Image.fromarray(pixels).save(place / f"{number}.{ending}")


def config(folder: Path) -> None:
    Place(folder).make_inputs()
    ended = forked(lambda: train()(Place(folder, steps=1)))
    assert ended.status == 0, ended.text
    (folder / "work" / "run" / "config.yaml").rename(folder / "config.yaml")
    for path in [*(folder / "work").rglob("*")]:
        if path.is_file():
            path.unlink()


def model(folder: Path) -> None:
    Place(folder).make_inputs()
    data = ArraysOptions(train=Place(folder).arrays, num_states=STATES).read()
    scud.save(folder, *parts(0), data)


def old_model(folder: Path) -> None:
    """A model whose configuration stands in config.json alone, as in version 0.1.0."""
    model(folder)
    strip(folder)


def old_sequence_model(folder: Path) -> None:
    sequence_model(folder)
    strip(folder)


def use_rewritten_model(folder: Path) -> None:
    """Put the text of config.json into the weights, and use the model."""
    text = (folder / "model" / "config.json").read_bytes().decode(errors="replace")
    rewrite(folder, lambda _: text)
    use_model(folder)


def sequence_model(folder: Path) -> None:
    """A model of sequences, whose data say more than those of arrays."""
    from scud.networks import ByteNet
    from scud.processes import Uniform

    fasta(folder)
    cached(folder)
    data = SequencesOptions(train=folder / "some.fasta", valid_share=0.3).read()
    model = scud.SCUD(Uniform(data.num_states), p0=data.p0())
    scud.save(folder, model, ByteNet(data.num_states, width=16, layers=1, hidden=8), data)


def use_model(folder: Path) -> None:
    run = scud.load(folder)
    generator = torch.Generator().manual_seed(0)
    run.modality.decode(run.draw(1, sampler=Ancestral(steps=1), generator=generator).states)


def interrupted_run(folder: Path) -> None:
    """What `scud.fit` leaves that was killed after its first step."""
    place = Place(folder, steps=2, every=1)
    place.make_inputs()
    place.work.mkdir()

    def killed() -> int | None:
        Watch(place.work, kill_before_rename("last.ckpt", 2))
        return fit()(place)

    ended = forked(killed)
    assert ended.signal, ended.text


def resume_fit(folder: Path) -> None:
    fit(resume=True)(Place(folder, steps=2, every=1))


def finished_run(folder: Path) -> None:
    place = Place(folder, steps=2, every=1)
    place.make_inputs()
    ended = forked(lambda: train()(place))
    assert ended.status == 0, ended.text


def resume_run(folder: Path) -> None:
    from scud.experiment import train as train_run

    place = Place(folder, steps=2, every=1)
    train_run(
        read_config(place.run / "config.yaml"), place.run, resume=True, device="cpu", progress=False
    )


def small_data(folder: Path) -> Data:
    x = np.arange(12).reshape(6, 2) % STATES
    np.savez(folder / "small.npz", x_train=x, x_valid=x)
    return ArraysOptions(train=folder / "small.npz", num_states=STATES).read()


RATES = np.array([[-1.0, 0.5, 0.5], [1.0, -2.0, 1.0], [0.25, 0.25, -0.5]])


def generator(ending: str) -> Callable[[Path], object]:
    """Rates in a file; scud reads .npy today, and must refuse the others in words."""

    def build(folder: Path) -> None:
        path = folder / f"rates{ending}"
        if ending == ".npy":
            np.save(path, RATES)
        elif ending == ".npz":
            np.savez(path, generator=RATES)
        else:
            save_file({"generator": torch.from_numpy(RATES)}, path)

    return build


def use_generator(ending: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        process = DenseOptions(generator=folder / f"rates{ending}").build(small_data(folder))
        scud.SCUD(process, p0=torch.full((STATES,), 1 / STATES, dtype=torch.float64))

    return read


def neighbours(ending: str) -> Callable[[Path], object]:
    def build(folder: Path) -> None:
        path, vectors = folder / f"near{ending}", np.random.default_rng(0).normal(size=(STATES, 4))
        if ending == ".npy":
            np.save(path, vectors)
        elif ending == ".npz":
            np.savez(
                path,
                knn_idx=np.array([[1, 2], [0, 2], [0, 1]]),
                knn_cos=np.array([[0.5, 0.2], [0.5, 0.1], [0.2, 0.1]]),
            )
        else:
            save_file({"embeddings": torch.from_numpy(vectors)}, path)

    return build


def use_neighbours(ending: str) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        options = NeighbourGraphOptions(neighbours=folder / f"near{ending}", nearest=2)
        process = options.build(small_data(folder))
        scud.SCUD(process, p0=torch.full((STATES,), 1 / STATES, dtype=torch.float64))

    return read


def samples(folder: Path) -> None:
    x = np.arange(24).reshape(4, 6) % STATES
    np.savez_compressed(folder / "samples.npz", x=x.astype(np.uint8))


def use_samples(folder: Path) -> None:
    from scud.data.arrays.modality import Arrays

    Arrays(STATES, (6,)).read(folder / "samples.npz")


def image_samples(folder: Path) -> None:
    np.savez_compressed(folder / "samples.npz", x=image_files.random_pixels(4, 4, 4))


def use_image_samples(folder: Path) -> None:
    from scud.data.images.modality import Images

    Images(17, (1, 4, 4)).read(folder / "samples.npz")


def use_sequence_samples(folder: Path) -> None:
    Sequences(PROTEIN, torch.ones(21)).read(folder / "some.fasta")


def filled(
    build: Callable[[Path], object], read: Callable[[Path], object]
) -> Callable[[Path], None]:
    """An input that has been read once, so that its store is in the cache."""

    def both(folder: Path) -> None:
        build(folder)
        read(folder)

    return both


TARGETS = (
    Target("fasta", fasta, sequences("some.fasta")),
    Target("fasta.gz", zipped_fasta, sequences("some.fasta.gz")),
    Target("labels table", labelled_fasta, sequences("some.fasta", labels="labels.tsv"), (".tsv",)),
    Target("mutations csv", mutations, use_mutations),
    Target("uniref folder", uniref, use_uniref),
    Target("text", text, texts("some.txt")),
    Target("text.gz", zipped_text, texts("some.txt.gz")),
    Target("text parquet", text_table, texts("some.parquet")),
    Target("tokenizer.json", tokenizer, texts("some.txt", "tokenizer.json"), (".json",)),
    Target("vocab.txt", word_list, texts("some.txt", "vocab.txt"), ("vocab.txt",)),
    Target("vocab.npz", word_archive, texts("some.txt", "vocab.npz"), (".npz",)),
    Target("image npz", image_archive, images("some.npz")),
    Target("arrays npz", array_archive, arrays("some.npz")),
    Target("arrays npy", array_file, arrays("some.npy")),
    Target("idx", idx, images("")),
    Target("cifar folder", cifar, images("")),
    Target("cifar tar", cifar_archive, images("cifar.tar"), (".tar",)),
    Target("imagenet npz", imagenet, images("")),
    Target("picture folder", pictures, images("")),
    Target("config.yaml", config, lambda folder: read_config(folder / "config.yaml"), (".yaml",)),
    Target("model/config.json", old_model, use_model, (".json",)),
    Target("model/config.json of sequences", old_sequence_model, use_model, ("config.json",)),
    Target("configuration in the weights", model, use_rewritten_model, ("config.json",)),
    Target("model.safetensors", model, use_model, (".safetensors",)),
    Target("last.ckpt, resumed", interrupted_run, resume_fit, ("last.ckpt",), slow=True),
    Target("fit.json, resumed", interrupted_run, resume_fit, ("fit.json",), slow=True),
    Target("metrics.csv, resumed", finished_run, resume_run, ("metrics.csv",), slow=True),
    Target("generator npy", generator(".npy"), use_generator(".npy")),
    Target("generator npz", generator(".npz"), use_generator(".npz")),
    Target("generator safetensors", generator(".safetensors"), use_generator(".safetensors")),
    Target("neighbours npy", neighbours(".npy"), use_neighbours(".npy")),
    Target("neighbours npz", neighbours(".npz"), use_neighbours(".npz")),
    Target("neighbours safetensors", neighbours(".safetensors"), use_neighbours(".safetensors")),
    Target("samples.npz", samples, use_samples),
    Target("samples.npz of images", image_samples, use_image_samples),
    Target("samples.fasta", fasta, use_sequence_samples),
    Target("cache of sequences", filled(fasta, sequences("some.fasta")), sequences("some.fasta"), (".npy", ".bin", ".json")),
    Target("cache of text", filled(text, texts("some.txt")), texts("some.txt"), (".bin", ".json")),
)  # fmt: skip

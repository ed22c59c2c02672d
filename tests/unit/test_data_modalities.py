"""Modalities: all kinds keep one contract; specs come back as they were, hostile ones do not."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scud.data import (
    DATA,
    MODALITIES,
    Arrays,
    Data,
    Examples,
    Images,
    Modality,
    Sequences,
    Text,
    TextSet,
    find_alphabet,
    find_tokenizer,
    load_digits,
    load_sequences,
    load_text,
)
from scud.data.sequences.fasta import write_fasta
from scud.data.sequences.infilling import SequencesInfillOptions
from scud.data.text.infilling import TextInfillOptions
from scud.errors import UserError
from scud.samplers import Samples
from scud.typing import BatchSize
from tests.unit.sequences import random_fasta
from tests.unit.test_evaluation_text import evaluation
from tests.unit.texts import some_text, vocabulary

COUNTS = torch.tensor([0, 0, 3, 0, 4])
KINDS: dict[str, Modality] = {
    "images": Images(17, (1, 4, 6)),
    "colour": Images(256, (3, 4, 6)),
    "arrays": Arrays(300, (2, 3)),
    "proteins": Sequences(find_alphabet("protein"), COUNTS),
    "letters": Sequences(find_alphabet("HP"), COUNTS),
    "characters": Text(find_tokenizer("characters"), 8),
    "bytes": Text(find_tokenizer("bytes"), 8),
    "subword": Text(vocabulary(), 8),
}
GENERATOR = torch.Generator().manual_seed(0)


def draw(modality: Modality, num: int) -> list[Tensor]:
    shapes = modality.shapes(num, None, GENERATOR)
    return [torch.randint(0, modality.num_states, shape, generator=GENERATOR) for shape in shapes]


def through_json(spec: Mapping[str, Any]) -> dict[str, Any]:
    """As a saved run keeps a spec: tensors apart from the rest, which is JSON."""
    tensors = {name: value for name, value in spec.items() if isinstance(value, Tensor)}
    plain = {name: value for name, value in spec.items() if name not in tensors}
    return {**json.loads(json.dumps(plain)), **tensors}


# Every kind


def test_kinds_are_registered() -> None:
    assert {modality.kind for modality in KINDS.values()} == set(MODALITIES)
    assert all(MODALITIES[kind].kind == kind for kind in MODALITIES)
    assert all(options.modality.kind in MODALITIES for options in DATA.values())


@pytest.mark.parametrize("modality", KINDS.values(), ids=KINDS)
def test_a_spec_gives_the_same_modality(modality: Modality) -> None:
    again = MODALITIES[modality.kind].from_spec(through_json(modality.spec()))
    assert type(again) is type(modality)
    assert again.describe() == modality.describe()
    assert (again.dims, again.num_states) == (modality.dims, modality.num_states)
    assert (again.unit, again.position) == (modality.unit, modality.position)
    assert list(again.state_names) == list(modality.state_names)
    assert len(modality.state_names) == modality.num_states
    assert through_json(again.spec()).keys() == modality.spec().keys()


@pytest.mark.parametrize("modality", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("junk", [None, True, -1, 2.5, "x", [], [0], {}, [1, "a"], torch.zeros(2)])
def test_a_spec_with_an_entry_of_no_sense_is_refused_by_name(modality: Modality, junk: Any) -> None:
    for name in modality.spec():
        with pytest.raises(UserError, match=f"{name}|alphabet|tokens"):
            type(modality).from_spec(modality.spec() | {name: junk})


@pytest.mark.parametrize("modality", KINDS.values(), ids=KINDS)
def test_a_spec_with_an_entry_missing_or_unknown_is_refused_by_name(modality: Modality) -> None:
    spec = modality.spec()
    with pytest.raises(UserError, match=r"have no entries but .*, got 'colour'"):
        type(modality).from_spec(spec | {"colour": 1})
    for name in spec:
        short = {other: value for other, value in spec.items() if other != name}
        with pytest.raises(UserError, match=f"have an entry {name}, got none"):
            type(modality).from_spec(short)


@pytest.mark.parametrize(
    ("kind", "entry", "value"),
    [
        ("images", "num_states", 257),
        ("images", "num_states", 1),
        ("images", "dims", [8, 8]),
        ("images", "dims", [1, 8, 0]),
        ("images", "dims", [1, 8, True]),
        ("arrays", "num_states", 1),
        ("arrays", "num_states", 1 << 40),
        ("sequences", "alphabet", "AA"),
        ("sequences", "alphabet", "A"),
        ("sequences", "length_counts", torch.tensor([0.0, 1.0])),
        ("sequences", "length_counts", torch.tensor([[0, 1]])),
        ("sequences", "length_counts", torch.tensor([0, -1, 1])),
        ("sequences", "length_counts", torch.tensor([1, 1])),
        ("sequences", "length_counts", torch.tensor([0, 1, 0])),
        ("text", "length", 0),
        ("text", "length", 1 << 21),
        ("text", "tokens", {"kind": "words"}),
        ("text", "tokens", {"kind": "characters"} | {"letters": 5}),
        ("text", "tokens", {"kind": "characters", "letters": "a"}),
        ("text", "tokens", {"kind": "characters", "letters": "ab", "more": "c"}),
        ("text", "tokens", {"kind": "subword", "tokenizer": "{}"}),
        ("text", "tokens", {"kind": "bytes", "letters": "ab"}),
        ("text", "tokens", {"kind": ["bytes"]}),
    ],
)
def test_hostile_specs_are_refused(kind: str, entry: str, value: Any) -> None:
    modality = next(part for part in KINDS.values() if part.kind == kind)
    with pytest.raises(UserError):
        type(modality).from_spec(modality.spec() | {entry: value})


@pytest.mark.parametrize("modality", KINDS.values(), ids=KINDS)
def test_samples_are_read_back(
    modality: Modality, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = draw(modality, 5)
    files = modality.write(Samples(drawn, []), tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(files)
    again = modality.read(files[0])
    assert len(again) == 5
    for ours, theirs in zip(again, drawn, strict=True):
        assert torch.equal(ours.long(), theirs)
    assert len(modality.decode(drawn)) == 5
    assert modality.summary(drawn).startswith(f"5 {modality.noun}")
    assert ("-" * 10 in capsys.readouterr().out) == isinstance(modality, Text)


@pytest.mark.parametrize("modality", KINDS.values(), ids=KINDS)
def test_samples_of_other_files_are_refused(modality: Modality, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        modality.read(tmp_path / "nowhere")
    np.savez(tmp_path / "y.npz", y=np.zeros((2, 2)))
    with pytest.raises(UserError, match=r"y\.npz"):
        modality.read(tmp_path / "y.npz")


@pytest.mark.parametrize("modality", KINDS.values(), ids=KINDS)
def test_shapes_are_as_in_training(modality: Modality) -> None:
    for shape in modality.shapes(20, None, torch.Generator().manual_seed(0)):
        assert shape == modality.dims if modality.dims is not None else shape in [(2,), (4,)]
    with pytest.raises(UserError, match="num must be at least 1"):
        modality.shapes(0, None, None)
    for lengths in ((0, 0), (9, 9), (3, 2)):
        with pytest.raises(UserError, match="length must"):
            modality.shapes(2, lengths, None)
    if not modality.rows:
        with pytest.raises(UserError, match="length must be given for sequences and text only"):
            modality.shapes(2, (2, 2), None)
        return
    assert modality.shapes(2, (3, 3), None) == [(3,), (3,)]
    if isinstance(modality, Text):
        with pytest.raises(
            UserError, match=r"length must be one number in 1\.\.8 for text, got 3-4"
        ):
            modality.shapes(2, (3, 4), None)


def test_what_a_kind_cannot_do_is_refused() -> None:
    for name, modality in KINDS.items():
        if not modality.rows:
            with pytest.raises(UserError, match=f"model sequences or text, got {modality.noun}"):
                _ = modality.infilling
        if not modality.by_positions:
            with pytest.raises(UserError, match=f"run must model sequences, got {modality.noun}"):
                _ = modality.scoring
        assert name


# Figures


def test_figures_have_their_headline_first() -> None:
    result = evaluation(200.0, 4, 400.0, 0.08)
    low, high = result.perplexity_interval
    for kind in ("images", "arrays"):
        (bits,) = KINDS[kind].figures(result, None)
        assert str(bits) == "2.885 ± 0.115 bits/dim"
    (figure,) = KINDS["proteins"].figures(result, None)
    expected = "perplexity per residue 7.389, 95% interval 6.317 to 8.643"
    assert str(figure) == expected
    assert (figure.low, figure.high) == (low, high)
    for kind, position in (("characters", "character"), ("bytes", "byte"), ("subword", "token")):
        (figure,) = KINDS[kind].figures(result, None)
        assert str(figure) == expected.replace("residue", position)


def text_data(folder: Path, tokens: str) -> Data:
    (folder / "a.txt").write_text(some_text(400))
    tokenizer = vocabulary() if tokens == "subword" else find_tokenizer(tokens)
    if tokens == "characters":
        tokenizer = find_tokenizer("characters", " abcdefghijklmnopqrstuvwxyz.")
    return load_text(folder / "a.txt", tokenizer, 8, cache=folder / "cache")


@pytest.mark.parametrize(
    ("tokens", "headline"),
    [("characters", "bits/character"), ("bytes", "bits/byte"), ("subword", "perplexity per token")],
)
def test_figures_of_text_count_what_chunks_cover(
    tmp_path: Path, tokens: str, headline: str
) -> None:
    data = text_data(tmp_path, tokens)
    valid = data.split("valid")
    assert isinstance(valid, TextSet)
    counts = data.modality.counts(valid)
    assert counts["tokens"] == 8 * len(valid)
    assert list(counts) == ["tokens", "characters", "words", "bytes"]
    nats = 2.0 * 8
    figures = data.modality.figures(evaluation(nats, len(valid), 8.0 * len(valid), 0.1), valid)
    assert figures[0].name == headline
    by_key = {figure.key: figure.value for figure in figures}
    assert by_key["nats_per_token"] == pytest.approx(2)
    total = nats * len(valid)
    assert by_key["bits_per_byte"] == pytest.approx(total / counts["bytes"] / math.log(2))
    assert by_key["perplexity_per_word"] == pytest.approx(math.exp(total / counts["words"]))
    assert len(by_key) == 5


# Files of their own


def test_files_of_other_examples_are_read_as_the_modality_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of a file, or the test split of one that has splits; what does not fit is refused."""
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    pixels = np.arange(5 * 24, dtype=np.uint8).reshape(5, 4, 6)
    np.savez(tmp_path / "a.npz", x_train=pixels, y_train=[1, 2, 3, 4, 5])
    np.savez(tmp_path / "b.npz", x_train=pixels[:2, :2, :3] % 9, x_test=pixels[:1, :2, :3] % 9)
    images, arrays = KINDS["images"], KINDS["arrays"]
    first = images.examples(tmp_path / "a.npz")
    batch = first.batch(torch.arange(len(first)))
    assert torch.equal(batch.x0[:, 0], torch.from_numpy(pixels).long() * 17 // 256)
    assert batch.label is None
    assert len(arrays.examples(tmp_path / "b.npz")) == 1
    for modality, file in ((images, "b.npz"), (arrays, "a.npz")):
        with pytest.raises(UserError, match=f"{file} must have the shape of the run's"):
            modality.examples(tmp_path / file)
    (tmp_path / "a.fasta").write_text(">a\nACDEFGHIKL\n>b\nMMM\n")
    sequences = KINDS["proteins"].examples(tmp_path / "a.fasta")
    lengths = [len(part) for part in sequences.batches(BatchSize(1, 1))]
    assert len(sequences) == len(lengths) == 4, "three parts of at most four, and one"
    (tmp_path / "a.txt").write_text("abcde fghij klmno")
    chunks = KINDS["characters"].examples(tmp_path / "a.txt")
    assert KINDS["characters"].decode(list(chunks.batch(torch.arange(2)).x0)) == [
        "abcde fg",
        "hij klmn",
    ]


# Quality


def test_quality_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    x = torch.randint(0, 3, (30, 4), generator=GENERATOR)
    sets = [
        (Data.of(x[10:], x[:10]), list(x[:6]), "arrays"),
        (load_sequences(random_fasta(tmp_path / "r.fasta", 90, 9, 20)), None, "sequences"),
        (text_data(tmp_path, "bytes"), None, "texts"),
    ]
    for data, samples, measure in sets:
        index = torch.arange(5)
        batch = data.split("train").batch(index)
        if samples is None:
            mask = torch.ones_like(batch.x0, dtype=torch.bool) if batch.mask is None else batch.mask
            samples = [row[real] for row, real in zip(batch.x0, mask, strict=True)]
        rows = data.modality.quality(samples, data, "valid", 0)
        assert rows[0].measure == measure
        assert rows[0].samples in (5, 6)
        assert any("training" in row.measure for row in rows)


def test_quality_of_images_needs_labels() -> None:
    whole = load_digits()
    parts = {name: part.part(100) for name, part in whole.splits.items()}
    digits = Data("digits", parts, whole.modality)
    drawn = digits.split("test").batch(torch.arange(50)).x0
    rows = digits.modality.quality(list(drawn), digits, "valid", 0)
    assert rows[0].samples == 50
    unlabelled = {}
    for name, part in digits.splits.items():
        assert isinstance(part, Examples)
        unlabelled[name] = Examples(part.x)
    plain = Data("plain", unlabelled, digits.modality)
    message = "train images of plain must have a class label each, .*got none; put each class in"
    with pytest.raises(UserError, match=message):
        digits.modality.quality(list(drawn), plain, "valid", 0)


# Pictures


def test_pictures_have_an_animation_where_there_are_frames(tmp_path: Path) -> None:
    """A masked position is drawn as the middle level."""
    images = KINDS["images"]
    states = draw(images, 3)
    frames = [torch.full((3, 1, 4, 6), 17), torch.stack(states)]
    files = images.write(Samples(states, frames), tmp_path)
    assert [file.name for file in files] == ["samples.npz", "samples.png", "denoising.gif"]
    x = np.load(files[0])["x"]
    assert (x.shape, x.dtype) == ((3, 4, 6, 1), np.uint8)
    np.testing.assert_array_equal(np.stack(images.decode(states)), x)


# Infilling and scoring


def test_gaps_of_sequences_and_their_designs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alphabet = find_alphabet("protein")
    infilling = Sequences(alphabet, torch.ones(9, dtype=torch.int64)).infilling
    path = tmp_path / "in.fasta"
    path.write_text(">a x\nMUV??X\n>b\nACDX\n")
    gaps = infilling.gaps(SequencesInfillOptions(input=path, positions="1"))
    assert [gap.name for gap in gaps] == ["a", "b"]
    assert gaps[0].known.tolist() == [False, True, True, False, False, False]
    assert gaps[0].states.dtype == torch.int64
    assert gaps[0].states[1] == alphabet.letters.index("C")
    drawn = [torch.zeros(6, dtype=torch.int64), torch.ones(6, dtype=torch.int64)]
    said = infilling.write(
        [gaps[0], gaps[0], gaps[1]], [*drawn, drawn[1][:4]], tmp_path / "o.fasta"
    )
    assert said == "3 designs of 2 sequences"
    lines = (tmp_path / "o.fasta").read_text().split()
    assert lines == [">a_design_1", "AUVAAA", ">a_design_2", "CUVCCC", ">b_design_1", "CCDC"]
    assert "3 of 3 designs" in capsys.readouterr().out
    with pytest.raises(UserError, match="input must name a FASTA file, got nothing; add --input"):
        infilling.gaps(SequencesInfillOptions())


def test_gaps_of_a_text_and_its_designs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = KINDS["characters"]
    (gap,) = text.infilling.gaps(TextInfillOptions(text="ab[[2]]c"))
    assert gap.known.tolist() == [True, True, False, False, True]
    drawn = [torch.tensor([1, 2, 4, 5, 3]), torch.tensor([1, 2, 0, 0, 3])]
    said = text.infilling.write([gap, gap], drawn, tmp_path / "o.txt")
    assert said == "2 designs of 2 of 5 characters"
    assert (tmp_path / "o.txt").read_text() == "abdec\n----------\nab  c\n"
    assert "abdec" in capsys.readouterr().out
    with pytest.raises(UserError, match="text must be given for a run of text, got nothing; mark"):
        text.infilling.gaps(TextInfillOptions())
    with pytest.raises(UserError, match="at most 8 characters long"):
        text.infilling.gaps(TextInfillOptions(text="[[9]]"))


def test_sequences_and_variants_to_score(tmp_path: Path) -> None:
    scoring = Sequences(find_alphabet("protein"), torch.ones(6, dtype=torch.int64)).scoring
    path = tmp_path / "a.fasta"
    write_fasta(path, [("w x", "ACDX")])
    (record,) = scoring.records(path)
    assert (record.name, record.codes.tolist()) == ("w", [0, 1, 2, 20])
    table = tmp_path / "m.csv"
    table.write_text("mutation,y\nA1C,3\nC2D:D3A,4\n")
    variants = scoring.variants(path, table)
    assert variants.wild.name == "w"
    assert [codes.tolist() for codes in variants.codes] == [[1, 1, 2, 20], [0, 2, 0, 20]]
    assert (variants.texts, variants.other_names) == (["A1C", "C2D:D3A"], ["y"])
    assert variants.other_cells == [["3"], ["4"]]
    write_fasta(path, [("w", "ACDACD"), ("v", "XX")])
    with pytest.raises(UserError, match=r"w in .* at most 5 long"):
        scoring.records(path)
    with pytest.raises(UserError, match="hold one sequence, the wild type, got 2 sequences"):
        scoring.variants(path, table)
    write_fasta(path, [("v", "XX")])
    with pytest.raises(UserError, match=r"v in .* have a letter that is known"):
        scoring.records(path)

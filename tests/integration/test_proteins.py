"""Sequences by the command line: from a FASTA file to perplexity, samples and quality, for each model and other alphabets."""

import csv
import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import scud as library
from scud.data.sequences.fasta import read_fasta
from tests.integration.conftest import Command
from tests.unit.sequences import PROTEIN, random_fasta

MODELS = {
    "scud": ["--diffusion.kind=scud"],
    "scud, reconstruction, infilling": ["--objective.share=0.5", "--training.infill-share=0.5"],
    "masking": ["--diffusion.kind=masking", "--objective.share=1"],
    "classical": [
        "--diffusion.kind=classical",
        "--process.kind=uniform",
        "--training.infill-share=1",
    ],
    "classical, reconstruction": ["--diffusion.kind=classical", "--objective.share=1"],
    "bound": ["--objective.kind=bound"],
}


AGAIN = ("classical, reconstruction", "bound")
"""Say with another objective what the others say."""


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=pytest.mark.long if name in AGAIN else ())
        for name, options in MODELS.items()
    ],
)
def test_from_a_fasta_file_to_samples(
    scud: Command, small: list[str], proteins: Path, tmp_path: Path, options: list[str]
) -> None:
    run = tmp_path / "runs" / "mine"
    trained = scud("train", "proteins", *small, *options, f"--data.train={proteins}", "--out", run)
    assert trained.status == 0, trained.err
    assert "read 60 sequences" in trained.err
    assert "validation perplexity" in trained.last_line
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "metrics.csv",
        "checkpoints",
        "model",
        "curves.png",
    }

    evaluated = scud("evaluate", run, "--repeats=40")
    assert evaluated.status == 0, evaluated.err
    figures = json.loads((run / "evaluation-valid.json").read_text())
    low, high = figures["perplexity_interval"]
    assert low < figures["perplexity"] < high
    assert 10 < figures["perplexity"] < 60
    assert figures["perplexity"] == pytest.approx(2 ** figures["bits_per_dim"])
    assert high / figures["perplexity"] == pytest.approx(math.exp(1.96 * figures["standard_error"]))
    perplexity = (
        f"perplexity per residue {figures['perplexity']:.3f}, 95% interval {low:.3f} to {high:.3f}"
    )
    assert perplexity in evaluated.last_line
    assert "prior term" in evaluated.out

    span = scud("evaluate", run, "--repeats=2", "--span=0.2", "--split=train")
    assert span.status == 0, span.err
    assert "evaluation-train-span.json" in span.last_line

    sampled = scud("sample", run, "--num=9", "--steps=5", "--length=12-20", "--seed=4")
    assert sampled.status == 0, sampled.err
    records = read_fasta(run / "samples" / "samples.fasta", PROTEIN)
    assert len(records) == 9
    assert all(12 <= len(record.codes) <= 20 for record in records)
    assert all(int(record.codes.max()) < 20 for record in records)
    again = scud(
        "sample",
        run,
        "--num=9",
        "--steps=5",
        "--length=12-20",
        "--seed=4",
        "--out",
        tmp_path / "again",
    )
    assert again.status == 0
    assert (tmp_path / "again" / "samples.fasta").read_bytes() == (
        run / "samples" / "samples.fasta"
    ).read_bytes()

    compared = scud("evaluate", run, "--samples", run / "samples" / "samples.fasta")
    assert compared.status == 0, compared.err
    with (run / "quality.csv").open() as file:
        rows = {row[0]: row[1:] for row in csv.reader(file)}
    assert rows["sequences"][0] == "9"
    assert compared.last_line.startswith(f"wrote {run / 'quality.csv'}")


def test_python_interface(scud: Command, small: list[str], proteins: Path, tmp_path: Path) -> None:
    assert (
        scud(
            "train", "proteins", *small, f"--data.train={proteins}", "--out", tmp_path / "run"
        ).status
        == 0
    )
    run = library.load(tmp_path / "run")
    assert isinstance(run.modality, library.data.Sequences)
    assert run.modality.alphabet == PROTEIN
    assert 8 <= run.modality.longest <= 40
    sampler = library.samplers.Ancestral(steps=3)
    texts = run.sample(40, sampler=sampler, generator=torch.Generator().manual_seed(0))
    seen = {length for length, count in enumerate(run.modality.length_counts.tolist()) if count}
    assert {len(text) for text in texts} <= seen, "lengths are those of training"
    x0 = torch.from_numpy(PROTEIN.encode(texts[0])).long().unsqueeze(0)
    assert run.elbo(x0).total.shape == (1,)


def test_other_alphabets(
    scud: Command, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCUD_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(1)
    for name, letters, options in (
        ("dna", "ACGTN", ["--process.kind=uniform"]),
        ("HP", "HP", ["--process.kind=uniform", "--diffusion.gamma=0.5"]),
    ):
        path, run = tmp_path / f"{name}.fa.gz", tmp_path / name
        records = "".join(
            f">{i} x\r\n{''.join(random.choice(list(letters), 30)).lower()}\r\n" for i in range(40)
        )
        path.write_bytes(gzip.compress(records.encode()))
        trained = scud(
            "train",
            "proteins",
            *small,
            *options,
            f"--data.alphabet={name}",
            f"--data.train={path}",
            "--out",
            run,
        )
        assert trained.status == 0, trained.err
        assert scud("sample", run, "--num=2", "--steps=2").status == 0
        written = (run / "samples" / "samples.fasta").read_text().splitlines()
        assert set("".join(line for line in written if line[0] != ">")) <= set(letters) - {"N"}
    rates = np.array([[0, 1, 2, 1], [1, 0, 1, 2], [2, 1, 0, 1], [1, 2, 1, 0]], dtype=float)
    np.save(tmp_path / "transitions.npy", rates - np.diag(rates.sum(1)))
    dense = [
        "--process.kind=dense",
        f"--process.generator={tmp_path / 'transitions.npy'}",
        "--data.alphabet=dna",
    ]
    trained = scud(
        "train",
        "proteins",
        *small,
        *dense,
        f"--data.train={tmp_path / 'dna.fa.gz'}",
        "--out",
        tmp_path / "kimura",
    )
    assert trained.status == 0, trained.err


def test_fine_tuning_starts_from_the_weights_of_a_run(
    scud: Command, small: list[str], proteins: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    longer = [
        *small,
        "--training.steps=40",
        "--training.learning-rate=0.01",
        "--training.validation-repeats=4",
    ]
    assert (
        scud("train", "proteins", *longer, f"--data.train={proteins}", "--out", first).status == 0
    )
    family = random_fasta(tmp_path / "family.fasta", 30, 10, 30, seed=9)
    still = [*small, "--training.steps=1", "--training.learning-rate=1e-9", f"--init-from={first}"]
    assert scud("train", "proteins", *still, f"--data.train={family}", "--out", second).status == 0
    ours, theirs = (library.load(folder).network.state_dict() for folder in (first, second))
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)


def test_redesign_and_ranking(
    scud: Command, small: list[str], proteins: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert scud("train", "proteins", *small, f"--data.train={proteins}", "--out", run).status == 0
    inputs = tmp_path / "inputs.fasta"
    inputs.write_text(">first\nACDEFGHIKL\n>second\nMNPQ?STVXY\n")
    infilled = scud(
        "infill", run, f"--input={inputs}", "--positions=2-4,10", "--num=3", "--steps=4"
    )
    assert infilled.status == 0, infilled.err
    target = run / "samples" / "infilled.fasta"
    assert infilled.last_line == f"wrote {target}: 6 designs of 2 sequences by 4 steps"
    designs = {record.name: PROTEIN.decode(record.codes) for record in read_fasta(target, PROTEIN)}
    assert sorted(designs) == [
        f"{name}_design_{n}" for name in ("first", "second") for n in (1, 2, 3)
    ]
    for name, text in designs.items():
        wild, free = (
            ("ACDEFGHIKL", {1, 2, 3, 9})
            if name.startswith("first")
            else ("MNPQ?STVXY", {1, 2, 3, 4, 8, 9})
        )
        assert all(text[i] == letter for i, letter in enumerate(wild) if i not in free)

    inputs.write_text(">rare\nACUEFO?HIKL\n")
    rare = scud(
        "infill", run, f"--input={inputs}", "--num=2", "--steps=2", "--out", tmp_path / "rare.fasta"
    )
    assert rare.status == 0, rare.err
    for record in read_fasta(tmp_path / "rare.fasta", PROTEIN):
        assert record.text[:6] + record.text[7:] == "ACUEFOHIKL", (
            "known residues stay as they are written"
        )

    scored = scud("score", run, f"--input={target}", "--repeats=8")
    assert scored.status == 0, scored.err
    with (run / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(designs)
    assert all(float(row["log_likelihood"]) < 0 for row in rows)
    assert all(
        float(row["perplexity_low"]) < float(row["perplexity"]) < float(row["perplexity_high"])
        for row in rows
    )

    wild, variants = tmp_path / "wild.fasta", tmp_path / "variants.csv"
    wild.write_text(">wild\nACDEFGHIKL\n")
    variants.write_text("difference,mutation,given_difference\n0.5,A1G,a\n1,A1G:C2W,b\n,L10L,\n")
    compared = scud(
        "score",
        run,
        f"--wild-type={wild}",
        f"--mutations={variants}",
        "--repeats=8",
        "--out",
        tmp_path / "differences.csv",
    )
    assert compared.status == 0, compared.err
    with (tmp_path / "differences.csv").open() as file:
        differences = {row["mutation"]: row for row in csv.DictReader(file)}
    assert float(differences["L10L"]["difference"]) == 0
    assert float(differences["A1G"]["difference"]) != 0
    assert [row["given_difference"] for row in differences.values()] == ["0.5", "1", ""]
    assert [row["given_given_difference"] for row in differences.values()] == ["a", "b", ""]
    assert "3 variants of wild" in compared.last_line

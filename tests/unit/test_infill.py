"""Infilling: known residues never change, and what is filled in follows the conditional law."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking
from scud.data.sequences.alphabets import find_alphabet
from scud.data.sequences.fasta import Record
from scud.data.sequences.infilling import SequencesInfilling, SequencesInfillOptions, choose
from scud.data.sequences.scoring import SequencesScoring
from scud.errors import UserError
from scud.networks.bytenet import ByteNet
from scud.processes import Blosum62, Gaussian
from scud.samplers import Ancestral, draw
from scud.schedules import Linear, MutualInformation
from scud.typing import Conditioning, Denoiser
from tests.theory.oracle import IdealMasking, IdealTime, average_marginal, powers, random_joint
from tests.theory.test_sampler import IdealEvents, OncePerStep, check_law, tabled

PROTEIN = torch.full((20,), 0.05, dtype=torch.float64)
PROCESS = Blosum62()
MODELS: list[Diffusion] = [
    Masking(20, p0=PROTEIN),
    SCUD(PROCESS, MutualInformation(PROCESS, PROTEIN, 1.0), p0=PROTEIN),
    Classical(PROCESS, Linear(), p0=PROTEIN),
]


def random_network() -> ByteNet:
    torch.manual_seed(1)
    network = ByteNet(20, width=16, layers=1)
    torch.nn.init.normal_(network.out.weight, std=2.0)
    return network.eval().requires_grad_(False)


NETWORK = random_network()


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=12, deadline=None)
@pytest.mark.parametrize("model", MODELS)
@given(
    places=st.lists(
        st.lists(st.booleans(), min_size=1, max_size=9).filter(any), min_size=1, max_size=4
    ),
    steps=st.integers(1, 4),
    tokens=st.sampled_from([1, 20, 1000]),
    seed=st.integers(0, 2**32),
)
def test_known_residues_never_change(
    model: Diffusion, places: list[list[bool]], steps: int, tokens: int, seed: int
) -> None:
    free = [np.array(place) for place in places]
    random = np.random.default_rng(seed)
    sequences = [
        np.where(place, 20, random.integers(0, 20, len(place))).astype(np.uint8) for place in free
    ]
    before = [codes.copy() for codes in sequences]
    states, known = (
        [torch.from_numpy(codes) for codes in sequences],
        [torch.from_numpy(~place) for place in free],
    )
    sampler = Ancestral(steps=steps)
    designs = draw(
        sampler, model, NETWORK, states, known, positions=tokens, generator=source(seed)
    ).states
    for codes, was, place, drawn in zip(sequences, before, free, designs, strict=True):
        np.testing.assert_array_equal(codes, was)
        assert drawn.shape == codes.shape
        assert bool((drawn < 20).all())
        np.testing.assert_array_equal(drawn.numpy()[~place], codes[~place])


JOINT = random_joint(3, 2, seed=21)
P0 = average_marginal(JOINT)
KNOWN = 1


def ideal(kind: str) -> tuple[Diffusion, Denoiser]:
    """A model of JOINT whose noise at t_max leaves nothing that 40,000 draws could see, and its ideal denoiser."""
    if kind == "masking":
        return Masking(3, Linear(), p0=P0, t_max=1 - 1e-9), OncePerStep(IdealMasking(JOINT), 4)
    process, end = Gaussian(3, bandwidth=0.6), 1 - 1e-6
    if kind == "classical":
        schedule = Linear()
        ideal_time = IdealTime(JOINT, process.generator(), schedule)
        return Classical(process, schedule, p0=P0, t_max=end), OncePerStep(ideal_time, 3)
    table = powers(torch.eye(3) + process.generator() / process.rate(1.0), 24)
    return SCUD(process, Linear(), p0=P0, t_max=end), tabled(IdealEvents(JOINT, table))


@pytest.mark.parametrize("kind", ["masking", "scud", "classical"])
def test_what_is_filled_in_follows_the_conditional_law(kind: str) -> None:
    """20,000 designs of one position of two against the joint law, chi-squared at a false-alarm rate of 1e-7.

    With one position left to draw any number of steps is exact.
    """
    model, denoiser = ideal(kind)
    states, known = [torch.tensor([KNOWN, 3])] * 20_000, [torch.tensor([True, False])] * 20_000
    sampler = Ancestral(steps=8)
    samples = draw(sampler, model, denoiser, states, known, positions=200_000, generator=source(5))
    drawn = torch.stack(samples.states)
    law = torch.zeros_like(JOINT)
    law[KNOWN] = JOINT[KNOWN] / JOINT[KNOWN].sum()
    check_law(drawn, law.flatten())


def test_batches_keep_to_the_budget_and_padding_is_not_real() -> None:
    shapes, real = list[tuple[int, int]](), list[int]()

    def denoiser(x_t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.mask is not None
        shapes.append((x_t.shape[0], x_t.shape[1]))
        real.append(int(conditioning.mask.sum()))
        return torch.zeros(*x_t.shape, 20)

    sequences = [torch.zeros(length, dtype=torch.int64) for length in (4, 4, 10, 10, 7, 7)]
    sampler, shares = Ancestral(steps=1), list[float]()
    draw(
        sampler,
        MODELS[0],
        denoiser,
        sequences,
        positions=30,
        generator=source(),
        progress=shares.append,
    )
    assert shapes == [(3, 10), (3, 7)]
    assert real == [27, 15]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def record(text: list[int]) -> Record:
    return Record("P1", np.array(text, dtype=np.uint8))


def test_what_is_redesigned() -> None:
    def chosen(text: list[int], positions: str | None) -> NDArray[np.bool_]:
        return choose(record(text), positions, 20, longest=9)

    np.testing.assert_array_equal(chosen([1, 20, 3], None), [False, True, False])
    np.testing.assert_array_equal(chosen([1, 20, 3], "3"), [False, True, True])
    np.testing.assert_array_equal(chosen([1, 2, 3], "1-3"), [True, True, True])
    with pytest.raises(
        UserError,
        match=r"P1 must have residues to redesign, got none; give --positions .* or write \?",
    ):
        chosen([1, 2, 3], None)
    with pytest.raises(
        UserError, match=r"positions must fit P1, got '2-4'; positions must lie in 1..3"
    ):
        chosen([1, 2, 3], "2-4")
    with pytest.raises(UserError, match="P1 must be at most 9 long"):
        chosen([20] * 10, None)


def test_known_residues_come_back_as_they_were_given_and_names_are_shown_escaped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lower case, and letters that are read as others, too."""
    (tmp_path / "in.fasta").write_bytes(b">a\x1b]0;HACK\x07\nacU?OxD*\n")
    infilling = SequencesInfilling(find_alphabet("protein"), 40)
    gaps = infilling.gaps(SequencesInfillOptions(input=tmp_path / "in.fasta"))
    drawn = [torch.full((7,), 18)]
    infilling.write(gaps, drawn, tmp_path / "out.fasta")
    name, design = (tmp_path / "out.fasta").read_text().splitlines()
    assert design == "acUWOWD"
    assert name == ">a\x1b]0;HACK\x07_design_1"
    shown = capsys.readouterr().out
    assert "\x1b]0" not in shown
    assert "\x07" not in shown
    assert "\\x1b]0;HACK\\x07" in "".join(shown.split())


def test_letters_of_another_alphabet_and_unknown_ones_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.fasta").write_text(">a\nACGTN?\n")
    protein = find_alphabet("protein")
    SequencesInfilling(protein, 40).gaps(SequencesInfillOptions(input=tmp_path / "in.fasta"))
    assert "look like DNA" in capsys.readouterr().out
    (tmp_path / "in.fasta").write_text(">a\nMKUXXw\n")
    SequencesScoring(protein, 40).records(tmp_path / "in.fasta")
    told = capsys.readouterr().out
    assert told == "read U as C 1x, X as unknown 2x\nread 1 lower-case letters as upper case\n"

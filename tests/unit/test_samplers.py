"""Samplers: temperature, examples of any shape, the frames of a run, and what is refused."""

import numpy as np
import pytest
import torch
from torch import Tensor

from scud import SCUD, Classical, Diffusion, Masking
from scud.errors import UserError
from scud.numerics.logits import LinearLogits
from scud.processes import Gaussian
from scud.samplers import SAMPLERS, Ancestral, draw
from scud.samplers.batched import noises
from scud.schedules import Linear
from scud.typing import Conditioning, Given

B = 4
P0 = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
PROCESS = Gaussian(B, 0.4)
MODELS: dict[str, Diffusion] = {
    "scud": SCUD(PROCESS, Linear(), 0.9, p0=P0),
    "classical": Classical(PROCESS, Linear(), p0=P0),
    "masking": Masking(B, p0=P0),
}


def independent(x_t: Tensor, _: Conditioning) -> Tensor:
    """Positions are independent with law P0."""
    return P0.log().float().expand(*x_t.shape, B)


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_temperature_sharpens_the_law() -> None:
    """20,000 positions, unmasked in one step: frequencies within 6 standard deviations of softmax(logits / T)."""
    for temperature in (0.5, 1.0, 2.0):
        sampler = Ancestral(steps=1, temperature=temperature)
        drawn = sampler(
            Masking(B, p0=P0, t_max=1 - 1e-9), independent, (20_000, 1), generator=source()
        )
        law = (P0.log() / temperature).softmax(0)
        seen = drawn.flatten().bincount(minlength=B) / 20_000
        assert bool(((seen - law).abs() < 6 * (law * (1 - law) / 20_000).sqrt()).all())


@pytest.mark.parametrize("kind", MODELS)
def test_temperature_one_changes_nothing(kind: str) -> None:
    weight = torch.randn(B, 3, generator=source(1))

    def denoiser(x_t: Tensor, _: Conditioning) -> LinearLogits:
        return LinearLogits(torch.ones(*x_t.shape, 3), weight, torch.zeros(B))

    def dense(x_t: Tensor, conditioning: Conditioning) -> Tensor:
        return denoiser(x_t, conditioning).dense() / 0.7

    plain = MODELS[kind].sample(denoiser, (5, 6), 4, generator=source())
    assert torch.equal(
        Ancestral(steps=4)(MODELS[kind], denoiser, (5, 6), generator=source()), plain
    )
    cool = Ancestral(steps=4, temperature=0.7)(MODELS[kind], denoiser, (5, 6), generator=source())
    assert torch.equal(MODELS[kind].sample(dense, (5, 6), 4, generator=source()), cool)


@pytest.mark.parametrize("kind", MODELS)
def test_images_are_drawn_as_single_batches_are(kind: str) -> None:
    """In batches of three, in order, without mask or known positions; the frames are those of the first batch."""
    model, sampler = MODELS[kind], Ancestral(steps=6)

    def denoiser(x_t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.mask is None
        return independent(x_t, conditioning)

    work = [torch.zeros(1, 2, 2, dtype=torch.int64)] * 7
    samples = draw(sampler, model, denoiser, work, positions=13, frames=4, generator=source())
    noise = noises(source(), torch.device("cpu"))
    runs = [
        list(sampler.trajectory(model, denoiser, (n, 1, 2, 2), generator=noise(number)))
        for number, n in enumerate((3, 3, 1))
    ]
    assert torch.equal(torch.stack(samples.states), torch.cat([run[-1].x_t for run in runs]))
    assert [frame.tolist() for frame in samples.frames] == [
        runs[0][i].x_t.tolist() for i in (0, 2, 4, 6)
    ]


def test_more_frames_than_moments_are_all_of_them() -> None:
    work = [torch.zeros(5, dtype=torch.int64)] * 40
    samples = draw(
        Ancestral(steps=3), MODELS["scud"], independent, work, frames=30, generator=source()
    )
    assert [list(frame.shape) for frame in samples.frames] == [[16, 5]] * 4
    assert torch.equal(samples.frames[-1], torch.stack(samples.states[:16]))


@pytest.mark.parametrize("kind", MODELS)
def test_known_parts_of_images_never_change(kind: str) -> None:
    states = list(torch.randint(B, (5, 1, 3, 3), generator=source(2)))
    known = list(torch.rand(5, 1, 3, 3, generator=source(3)) < 0.5)
    samples = draw(
        Ancestral(steps=3),
        MODELS[kind],
        independent,
        states,
        known,
        positions=20,
        generator=source(),
    )
    for before, fixed, after in zip(states, known, samples.states, strict=True):
        assert torch.equal(after[fixed], before[fixed])


def test_labels_stay_with_their_examples() -> None:
    """Rows of different length are drawn in another order: each has its own label, of one number or of several."""

    def told(x_t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.label is not None
        first = conditioning.label.reshape(len(x_t), -1)[:, 0]
        return 60 * torch.nn.functional.one_hot(first, B).unsqueeze(1).expand(*x_t.shape, B).float()

    lengths, label = [3, 7, 1, 7, 2], torch.tensor([0, 1, 2, 3, 1])
    work = [torch.zeros(length, dtype=torch.int64) for length in lengths]
    for labels in (label, torch.stack([label, -torch.ones_like(label)], 1)):
        samples = draw(
            Ancestral(steps=2),
            MODELS["masking"],
            told,
            work,
            positions=9,
            label=labels,
            generator=source(),
        )
        for length, number, row in zip(lengths, label.tolist(), samples.states, strict=True):
            assert row.tolist() == [number] * length


def test_rows_of_another_length_are_refused_only_in_several_dimensions() -> None:
    rows = [torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)]
    drawn = draw(Ancestral(steps=1), MODELS["scud"], independent, rows, generator=source()).states
    assert [len(row) for row in drawn] == [2, 3]
    images = [torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64)]
    for work, known, label, message in (
        (images, None, None, r"states must be rows .* or all of shape \[2, 2\], got \[2, 3\] at 1"),
        ([rows[0], images[0]], None, None, r"states must be rows"),
        ([], None, None, "states must hold at least one example"),
        (rows, [torch.ones(2).bool()], None, "known must hold 2 examples, got 1"),
        (rows, [torch.ones(2).bool()] * 2, None, r"known\[1\] must be bool of shape \[3\]"),
        (rows, None, torch.zeros(3).long(), "label must have one row for each of 2 examples"),
    ):
        with pytest.raises(UserError, match=message):
            draw(Ancestral(steps=1), MODELS["scud"], independent, work, known, label=label)
    with pytest.raises(UserError, match="positions must be at least 1"):
        draw(Ancestral(steps=1), MODELS["scud"], independent, rows, positions=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0; 64 to 256 steps are usual"),
        ({"grid": "sine"}, "grid must be one of cosine, information, got 'sine'"),
        ({"temperature": 0.0}, "temperature must be positive and finite, got 0"),
        ({"temperature": float("inf")}, "temperature must be positive and finite, got inf"),
    ],
)
def test_options_that_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Ancestral(**options)  # type: ignore[arg-type]


def test_a_sampler_is_its_own_options() -> None:
    for kind, sampler in SAMPLERS.items():
        assert sampler().kind == kind
    assert Ancestral().num_steps == 128
    assert Ancestral(grid=torch.tensor([0.999, 0.5, 0.0])).num_steps == 2


@pytest.mark.parametrize("kind", MODELS)
def test_the_grid_of_information_is_even_in_it(kind: str) -> None:
    model = MODELS[kind]
    times = Ancestral(steps=5, grid="information").times(model)
    np.testing.assert_allclose(
        times[1:-1], model.informative_time(1 - torch.arange(1, 5, dtype=torch.float64) / 5)
    )
    assert (float(times[0]), float(times[-1])) == (model.t_max, 0)


def test_labels_are_passed_on() -> None:
    label = torch.tensor([2, 1])

    def denoiser(x_t: Tensor, conditioning: Conditioning) -> Tensor:
        assert conditioning.label is label
        return independent(x_t, conditioning)

    MODELS["scud"].sample(denoiser, (2, 3), 2, given=Given(label=label), generator=source())

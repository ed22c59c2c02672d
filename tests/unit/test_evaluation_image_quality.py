"""The Fréchet distance against closed forms and scipy, its error against repetition, the classifier, and the report."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from torch import Tensor

from scud.data import Examples, load_digits
from scud.data.images.quality import (
    Trained,
    frechet_distance,
    frechet_error,
    image_quality,
    train_classifier,
)
from scud.errors import UserError


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_moments(mean: Tensor, deviation: Tensor, count: int, seed: int) -> Tensor:
    """A sample [count, d] of exactly this mean and, for a diagonal covariance, these standard deviations."""
    x = normal(count, len(mean), seed=seed)
    white = torch.linalg.qr(x - x.mean(0)).Q * math.sqrt(count - 1)
    return mean + white * deviation


# Fréchet distance


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 8))
def test_diagonal_gaussians_have_a_closed_form(seed: int, size: int) -> None:
    mean_a, mean_b = normal(2, size, seed=seed)
    deviation_a, deviation_b = normal(2, size, seed=seed + 1).exp()
    a, b = (
        with_moments(mean_a, deviation_a, 30, seed),
        with_moments(mean_b, deviation_b, 20, seed + 2),
    )
    exact = (mean_a - mean_b).square().sum() + (deviation_a - deviation_b).square().sum()
    assert frechet_distance(a, b) == pytest.approx(float(exact), rel=1e-9)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 10),
    count_a=st.integers(2, 30),
    count_b=st.integers(2, 30),
)
def test_it_is_a_symmetric_distance_that_rotations_and_shifts_keep(
    seed: int, size: int, count_a: int, count_b: int
) -> None:
    """Also for sets with fewer rows than features, whose covariance is singular."""
    a, b = normal(count_a, size, seed=seed) * 3, normal(count_b, size, seed=seed + 1)
    rotation, shift = (
        torch.linalg.qr(normal(size, size, seed=seed + 2)).Q,
        normal(size, seed=seed + 3),
    )
    distance = frechet_distance(a, b)
    assert distance >= 0
    assert frechet_distance(b, a) == pytest.approx(distance, rel=1e-9, abs=1e-12)
    assert frechet_distance(a @ rotation + shift, b @ rotation + shift) == pytest.approx(
        distance, rel=1e-9, abs=1e-12
    )
    assert frechet_distance(2 * a, 2 * b) == pytest.approx(4 * distance, rel=1e-9, abs=1e-12)
    assert frechet_distance(a, a.flip(0)) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, a + shift) == pytest.approx(
        float(shift.square().sum()), rel=1e-6, abs=1e-9
    )


def test_it_agrees_with_the_matrix_square_root() -> None:
    a, b = (
        normal(200, 12) @ normal(12, 12, seed=1),
        1 + normal(150, 12, seed=2) @ normal(12, 12, seed=3),
    )
    covariances = [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    root = sqrtm(covariances[0] @ covariances[1]).real
    exact = float((a.mean(0) - b.mean(0)).square().sum()) + np.trace(
        covariances[0] + covariances[1] - 2 * root
    )
    assert frechet_distance(a, b) == pytest.approx(exact, rel=1e-8)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (normal(1, 3), normal(9, 3)),
        (normal(9, 3), normal(1, 3)),
        (normal(9, 3), normal(9, 4)),
        (normal(9), normal(9)),
    ],
)
def test_sets_without_a_covariance_are_refused(a: Tensor, b: Tensor) -> None:
    with pytest.raises(
        UserError, match=r"must hold two or more rows of features.*give more examples"
    ):
        frechet_distance(a, b)


def test_features_must_be_finite() -> None:
    with pytest.raises(UserError, match="b must hold finite numbers"):
        frechet_distance(normal(9, 3), torch.full((9, 3), math.nan))


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_its_error_is_the_spread_of_repeated_sets(shift: float) -> None:
    """Where the laws differ; and within a factor of 1.5 where they agree and the distance is quadratic in the noise."""
    reference = normal(2000, 4)
    sets = [normal(400, 4, seed=seed) + shift for seed in range(1, 81)]
    spread = float(
        torch.tensor(
            [frechet_distance(part, reference) for part in sets], dtype=torch.float64
        ).std()
    )
    error = math.sqrt(sum(frechet_error(part, reference) ** 2 for part in sets) / len(sets))
    assert spread == pytest.approx(error, rel=0.25 if shift else 0.5)


def test_too_few_samples_have_no_error() -> None:
    assert math.isnan(frechet_error(normal(39, 2), normal(50, 2)))
    assert frechet_error(normal(40, 2), normal(50, 2)) > 0


# Classifier and report


@pytest.fixture(scope="module")
def splits() -> tuple[Examples, Examples, Examples]:
    source = load_digits()
    train, valid, test = (source.split(name) for name in ("train", "valid", "test"))
    assert isinstance(train, Examples)
    assert isinstance(valid, Examples)
    assert isinstance(test, Examples)
    return train, valid, test


def train_briefly(splits: tuple[Examples, Examples, Examples], steps: int = 120) -> Trained:
    train, valid, _ = splits
    assert train.label is not None
    assert valid.label is not None
    return train_classifier(train.x, train.label, valid.x, valid.label, 17, steps=steps)


@pytest.fixture(scope="module")
def trained(splits: tuple[Examples, Examples, Examples]) -> Trained:
    return train_briefly(splits)


def test_the_classifier_learns_the_digits(
    trained: Trained, splits: tuple[Examples, Examples, Examples]
) -> None:
    assert trained.accuracy > 0.9
    features = trained.classifier.features(splits[0].x)
    assert features.shape == (1350, 64)
    assert float(features.var(0).sum()) == pytest.approx(1)


def test_the_same_seed_gives_the_same_classifier(
    splits: tuple[Examples, Examples, Examples],
) -> None:
    before = torch.get_rng_state()
    first, second = (
        train_briefly(splits, steps=5).classifier.features(splits[2].x[:9]) for _ in range(2)
    )
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())


def test_other_shapes_and_labels() -> None:
    """Colour, odd sizes, and labels that do not begin at 0; one that training never saw counts as a mistake."""
    images = torch.randint(0, 5, (20, 3, 9, 7), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    )
    label = torch.tensor([-3, 7]).repeat(10)
    trained = train_classifier(images, label, images[:4], torch.full((4,), 99), 5, steps=2)
    assert trained.accuracy == 0
    assert trained.classifier.features(images).shape == (20, 64)


def test_labels_must_fit(splits: tuple[Examples, Examples, Examples]) -> None:
    x = splits[0].x[:10]
    label = torch.arange(10)
    with pytest.raises(
        UserError, match=r"training labels must be \[N\] for images.*one label per image"
    ):
        train_classifier(x, label[:9], x, label, 17)
    with pytest.raises(UserError, match=r"validation labels must be \[N\]"):
        train_classifier(x, label, x, label[:9], 17)
    with pytest.raises(
        UserError, match=r"training labels must name at least two classes, got \[4\]"
    ):
        train_classifier(x, torch.full((10,), 4), x, label, 17)


def test_the_report_tells_good_samples_from_bad(
    trained: Trained, splits: tuple[Examples, Examples, Examples]
) -> None:
    train, valid, test = splits
    noise = torch.randint(0, 17, (150, 1, 8, 8), generator=torch.Generator().manual_seed(0))
    real, bad = (image_quality(x, test.x, train.x, trained) for x in (valid.x, noise))
    floor = real.training.distance
    assert real.samples.distance is not None
    assert bad.samples.distance is not None
    assert floor is not None
    assert real.samples.distance < 2 * floor < 0.1 * bad.samples.distance
    assert (real.training.images, real.heldout.images) == (150, 297)
    assert bad.training == real.training
    assert real.heldout.classes == pytest.approx(10, abs=0.2)
    assert bad.samples.entropy > real.samples.entropy + 0.5
    rows = {row.measure: row[1:] for row in real.rows()}
    assert rows["images"] == (150, 297, 150)
    distance, heldout, training = rows["Fréchet distance on features of a small classifier"]
    assert (distance, heldout, training) == (real.samples.distance, None, floor)
    assert rows["accuracy of the classifier on validation images"] == (None, trained.accuracy, None)


def test_copies_and_repeats_are_counted(
    trained: Trained, splits: tuple[Examples, Examples, Examples]
) -> None:
    train, valid, test = splits
    blank = torch.zeros(4, 1, 8, 8, dtype=torch.int64)
    quality = image_quality(
        torch.cat([train.x[:3].long(), valid.x[:1].long(), blank]), test.x, train.x, trained
    )
    assert quality.samples.copied == pytest.approx(3 / 8)
    assert quality.samples.distinct == pytest.approx(5 / 8)
    blanks = image_quality(blank, test.x, train.x, trained).samples
    assert (blanks.entropy, blanks.classes) == (0, 1)
    assert quality.rows()[2].samples is None, "eight samples have no standard error"


def test_sets_of_one_image_are_refused(
    trained: Trained, splits: tuple[Examples, Examples, Examples]
) -> None:
    train, valid, test = splits
    with pytest.raises(UserError, match=r"samples must hold at least two images, got 1; draw more"):
        image_quality(valid.x[:1], test.x, train.x, trained)
    with pytest.raises(UserError, match=r"samples must hold states in 0"):
        image_quality(valid.x[:2] + 17, test.x, train.x, trained)

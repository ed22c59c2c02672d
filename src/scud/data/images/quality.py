"""The quality of generated images, beside that of held-out images and of as many training images.

A small classifier is trained to tell the data's own classes apart; its features are the 64 inputs of its last layer, divided
so that those of the training images have a total variance of 1. The distance of two sets with means m and covariances S is
that of Fréchet between the Gaussians that share these moments (the formula of Heusel et al., arXiv 1706.08500),

    d(a, b) = |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)),

called the Fréchet distance on features of a small classifier. As features differ between classifiers, so do distances: compare
them on the same data and seed alone. With centred features X = Q R (n - 1)^(1/2), S = R'R, and the trace of the root is the
sum of the singular values of R_a R_b': nothing is squared, and no complex numbers occur.

Two finite sets of one law have a distance above 0, about in proportion to 1/n_a + 1/n_b. So the figure to compare with is
that of the *training subset*: as many training images as there are samples, against the same held-out images (the classifier has
seen them, which may raise their distance). The standard
error is the jackknife over groups of samples; that the held-out images are finite is common to all that is compared with them.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from scud.errors import check_states, fail
from scud.evaluation.report import Row, rows_of

FEATURES = 64
"""Numbers per image that the distance is taken between."""

GROUPS = 20
"""Groups of the jackknife."""


class FeatureClassifier(nn.Module):
    """A convolutional classifier of images [N, C, H, W] given as levels 0..B-1; H and W are 4 or more.

    Args:
        num_states: B, scaled to [-1, 1].
        channels: C.
        classes: how many.
    """

    scale: Tensor

    def __init__(self, num_states: int, channels: int, classes: int) -> None:
        super().__init__()
        self.num_states = num_states
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, 16, 3, padding=1), nn.SiLU()),
            *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.SiLU()),
            *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.SiLU()),
            *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, FEATURES), nn.SiLU()),
        )
        self.last = nn.Linear(FEATURES, classes)
        self.register_buffer("scale", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Logits over the classes, [N, classes]."""
        return self.last(self._inputs(x))  # type: ignore[no-any-return]

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Features [N, 64] float64."""
        return (
            torch.cat([self._inputs(part) for part in torch.split(x, 1000)]).double() / self.scale
        )

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """The likeliest class of every image, [N] int64."""
        return torch.cat([self(part).argmax(-1) for part in torch.split(x, 1000)])

    def _inputs(self, x: Tensor) -> Tensor:
        return self.body(x.float() * (2 / (self.num_states - 1)) - 1)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Trained:
    """A classifier in evaluation mode, and the share of validation images that it puts in the right class."""

    classifier: FeatureClassifier
    accuracy: float


def train_classifier(
    images: Tensor,
    label: Tensor,
    valid_images: Tensor,
    valid_label: Tensor,
    num_states: int,
    *,
    steps: int = 500,
    batch_size: int = 64,
    seed: int = 0,
) -> Trained:
    """Train a classifier on the CPU; the same data and seed give the same one, and torch's global random state is kept.

    Args:
        images: levels [N, C, H, W].
        label: classes [N], any integers.
        valid_images, valid_label: where its accuracy is measured.
        num_states: B.
        steps: of Adam, with a learning rate that rises and falls in one cycle.
        batch_size: images drawn with replacement for each step.
        seed: of weights and batches.

    Raises:
        UserError: labels of another number than images, fewer than two classes, or a level outside 0..B-1.
    """
    for name, x, y in (("training", images, label), ("validation", valid_images, valid_label)):
        check_states(f"{name} images", x, num_states)
        if y.shape != x.shape[:1] or x.ndim != 4:
            found = f"{list(y.shape)} for {list(x.shape)}"
            raise fail(
                f"{name} labels",
                "be [N] for images [N, C, H, W]",
                found,
                "give one label per image",
            )
    classes, target = torch.unique(label, return_inverse=True)
    if len(classes) < 2:
        raise fail(
            "training labels",
            "name at least two classes",
            classes.tolist(),
            "label images by what they show",
        )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = FeatureClassifier(num_states, images.shape[1], len(classes))
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    for _ in range(steps):
        index = torch.randint(len(images), (batch_size,), generator=generator)
        loss = F.cross_entropy(classifier(images[index]), target[index])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    classifier.eval().requires_grad_(False)
    classifier.scale.copy_(classifier.features(images).var(0).sum().sqrt())
    right = classes[classifier.classify(valid_images)] == valid_label
    return Trained(classifier, float(right.double().mean()))


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """d(a, b) of features a [n, d] and b [m, d], at least 0.

    Raises:
        UserError: fewer than two rows, rows of different length, or numbers that are not finite.
    """
    for name, x in (("a", a), ("b", b)):
        if x.ndim != 2 or len(x) < 2 or x.shape[1] != b.shape[-1]:
            found = f"shapes {list(a.shape)} and {list(b.shape)}"
            raise fail(
                name,
                "hold two or more rows of features, as long as the other's",
                found,
                "give more examples",
            )
        if not bool(x.isfinite().all()):
            raise fail(
                name,
                "hold finite numbers",
                "NaN or infinity",
                "check what the features were computed from",
            )
    (mean_a, root_a), (mean_b, root_b) = _moments(a), _moments(b)
    overlap = torch.linalg.svdvals(root_a @ root_b.T).sum()
    distance = (
        (mean_a - mean_b).square().sum()
        + root_a.square().sum()
        + root_b.square().sum()
        - 2 * overlap
    )
    return max(float(distance), 0.0)  # rounding can take it below


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [d], and R with R'R the covariance; float64."""
    x = x.double()
    mean = x.mean(0)
    return mean, torch.linalg.qr((x - mean) / math.sqrt(len(x) - 1), mode="r").R


def frechet_error(samples: Tensor, reference: Tensor, groups: int = GROUPS) -> float:
    """Standard error of `frechet_distance` due to independent samples [n, d]; NaN where there are fewer than 2 per group.

    The jackknife: with d_k the distance without the samples of group k of G, the squared error is (G-1)/G Σ (d_k - mean d)^2.
    """
    if len(samples) < 2 * groups:
        return math.nan
    group = torch.arange(len(samples)) % groups
    without = torch.tensor(
        [frechet_distance(samples[group != k], reference) for k in range(groups)]
    )
    return float((without.double().var(correction=0) * (groups - 1)).sqrt())


@dataclass(frozen=True)
class ImageSet:
    """The figures of one set of images; None where one has no meaning.

    Attributes:
        images: N.
        distance, distance_error: from the held-out images, and its standard error.
        copied: share of images equal to a training image.
        distinct: number of different images over N.
        classes: exp of the entropy of the classes that the classifier sees: how many there are, were all as frequent.
        entropy: mean entropy of the levels within an image, bits; a blank image has 0.
    """

    images: int
    distance: float | None
    distance_error: float | None
    copied: float | None
    distinct: float
    classes: float
    entropy: float


@dataclass(frozen=True)
class ImageQuality:
    """The figures of the samples, the held-out images and the training subset of (at most) the samples' size."""

    samples: ImageSet
    heldout: ImageSet
    training: ImageSet
    accuracy: float

    def rows(self) -> list[Row]:
        """The report as a table, plain numbers or None: to print, or to write as CSV."""
        names = {
            "images": "images",
            "distance": "Fréchet distance on features of a small classifier",
            "distance_error": "Fréchet distance, standard error",
            "copied": "share equal to a training image",
            "distinct": "share of distinct images",
            "classes": "effective number of classes seen by the classifier",
            "entropy": "level entropy within an image, mean (bits)",
        }
        rows = rows_of(names, self.samples, self.heldout, self.training)
        return [
            *rows,
            Row("accuracy of the classifier on validation images", None, self.accuracy, None),
        ]


def image_quality(
    samples: Tensor, heldout: Tensor, training: Tensor, trained: Trained, seed: int = 0
) -> ImageQuality:
    """Measure samples, held-out images and a training subset alike.

    Args:
        samples: levels [N, C, H, W] of what was generated.
        heldout: images the model was not trained on; the reference of the distances.
        training: all images it was trained on.
        trained: a classifier of such images.
        seed: of the training subset.

    Raises:
        UserError: a set of fewer than two images, or a level outside 0..B-1.
    """
    for name, part in (
        ("samples", samples),
        ("held-out images", heldout),
        ("training images", training),
    ):
        check_images(name, part, trained.classifier.num_states)
    generator = torch.Generator().manual_seed(seed)
    subset = training[torch.randperm(len(training), generator=generator)[: len(samples)]]
    known = {fingerprint(image) for image in training.numpy()}
    reference = trained.classifier.features(heldout)

    def describe(images: Tensor, *, compared: bool, held: bool) -> ImageSet:
        features = trained.classifier.features(images)
        contents = [fingerprint(image) for image in images.to(training.dtype).numpy()]
        return ImageSet(
            images=len(images),
            distance=frechet_distance(features, reference) if compared else None,
            distance_error=frechet_error(features, reference) if compared else None,
            copied=None if held else sum(content in known for content in contents) / len(contents),
            distinct=len(set(contents)) / len(contents),
            classes=math.exp(_entropy(trained.classifier.classify(images).bincount())),
            entropy=sum(_entropy(image.flatten().bincount()) for image in images)
            / len(images)
            / math.log(2),
        )

    return ImageQuality(
        describe(samples, compared=True, held=False),
        describe(heldout, compared=False, held=False),
        describe(subset, compared=True, held=True),
        trained.accuracy,
    )


def fingerprint(image: NDArray[Any]) -> bytes:
    """Sixteen bytes that differ between images."""
    return hashlib.blake2b(image.tobytes(), digest_size=16).digest()


def check_images(name: str, images: Tensor, num_states: int) -> None:
    """Raise `UserError` unless there are at least two images, of levels 0..B-1."""
    check_states(name, images, num_states)
    if len(images) < 2:
        raise fail(
            name, "hold at least two images", len(images), "draw more, or choose another split"
        )


def _entropy(counts: Tensor) -> float:
    """Of the frequencies, nats."""
    share = counts.double() / counts.sum()
    return float(torch.special.entr(share).sum())

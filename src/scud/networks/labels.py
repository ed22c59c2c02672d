"""Class labels as features: how a network is told what kind of example it denoises.

A label's embedding, one vector per example, is added to the features of the noise level at every
position, and so scales and shifts the features of every block. With probability
`training.label_dropout` a label is withheld in training: the same network then also models examples
of no known label, which guidance needs.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scud.errors import fail
from scud.typing import DataView


class LabelEmbedding(nn.Module):
    """The embedding of an example's labels, [batch, width]: e = Σ_l E[l] over its labels l, or the
    learned vector e = null where it has none.

    The vectors of labels start at random and `null` at 0. The layers that read them, with the
    noise level, start without weights: a new network predicts the same for every label. (Vectors of
    0 before layers of 0 would hardly learn: on the digits, a small U-Net that was told the digit
    gained nothing in 200 steps, and with random vectors 0.03 nats per pixel.)

    Args:
        num_labels: how many labels there are.
        width: length of an embedding.
    """

    def __init__(self, num_labels: int, width: int) -> None:
        super().__init__()
        self.num_labels = num_labels
        self.weight = nn.Parameter(torch.randn(num_labels, width))
        self.null = nn.Parameter(torch.zeros(width))

    def forward(self, label: Tensor | None, batch: int) -> Tensor:
        """Labels [batch] or [batch, most], -1 where there is none, or None -> [batch, width].

        On a CPU a label that is neither -1 nor in 0..num_labels - 1 raises `UserError`. On an
        accelerator, and in a compiled network, nothing waits to look: PyTorch's lookup fails there,
        with its own message and on a GPU at the next call that waits for the device.

        Raises:
            UserError: labels of another shape, not of whole numbers, or outside their range.
        """
        if label is None:
            return self.null.expand(batch, -1)
        self.check(label, batch)
        label = label.long().unsqueeze(-1) if label.ndim == 1 else label.long()
        there = label != -1
        # Compiled lookups may count from the end below 0: what is below -1 is sent beyond the last.
        index = torch.where(label < -1, self.num_labels, torch.where(there, label, 0))
        each = F.embedding(index, self.weight)
        total = (each * there.unsqueeze(-1)).sum(1)
        return torch.where(there.any(1, keepdim=True), total, self.null)

    def check(self, label: Tensor, batch: int) -> None:
        """Raise `UserError` unless these are labels of a batch; values are read on a CPU only."""
        if label.ndim not in (1, 2) or len(label) != batch or label.is_floating_point():
            rule = f"hold whole numbers of shape [{batch}] or [{batch}, most]"
            remedy = "give one label per example, or several with -1 where there is none"
            raise fail("label", rule, f"{label.dtype} {list(label.shape)}", remedy)
        if label.device.type != "cpu" or label.numel() == 0 or torch.compiler.is_compiling():
            return
        low, high = int(label.min()), int(label.max())
        if low < -1 or high >= self.num_labels:
            worst = low if low < -1 else high
            rule = f"lie in 0..{self.num_labels - 1}, or be -1 for no label"
            raise fail("label", rule, worst, "number the labels as the training data do")


def label_embedding(num_labels: int, width: int) -> LabelEmbedding | None:
    """What a network embeds its labels with; None where it has none.

    Raises:
        UserError: num_labels is negative.
    """
    if num_labels < 0:
        raise fail("num_labels", "be at least 0", num_labels, "0 builds a network without labels")
    return LabelEmbedding(num_labels, width) if num_labels else None


def add_labels(level: Tensor, embedding: LabelEmbedding | None, label: Tensor | None) -> Tensor:
    """Features of the noise level [batch, *dims, width], plus those of each example's labels.

    Raises:
        UserError: a label for a network without labels, or a wrong one.
    """
    if embedding is None:
        if label is not None:
            rule = "be left out: the network was built without labels"
            remedy = "train one that reads them with --network.labels true"
            raise fail("label", rule, f"labels of shape {list(label.shape)}", remedy)
        return level
    features: Tensor = embedding(label, len(level)).to(level.dtype)
    return level + features.reshape(len(level), *[1] * (level.ndim - 2), -1)


def reads_labels(network: Any) -> bool:
    """Whether a denoiser reads `conditioning.label`, which others refuse.

    A network says so by its attribute `num_labels`; what wraps it (`torch.compile`, distributed
    training) is looked through. Any callable will do: one that says nothing does not read labels.
    """
    return num_labels(network) > 0


def num_labels(network: Any) -> int:
    """How many labels a denoiser reads, found as in `reads_labels`; 0 where it reads none."""
    while network is not None and not hasattr(network, "num_labels"):
        network = getattr(network, "module", getattr(network, "_orig_mod", None))
    return 0 if network is None else int(network.num_labels or 0)


def count_labels(labels: bool, data: DataView) -> int:
    """The `num_labels` of a network for these data: 0 where the option `labels` is off.

    Raises:
        UserError: the option is on, and the data have no labels.
    """
    if not labels:
        return 0
    if not data.label_names:
        rule = "be left out: its examples have no class labels"
        remedy = "use data with labels, such as a folder of pictures for each class, or drop it"
        raise fail("network.labels", rule, f"True for {data.name}", remedy)
    return len(data.label_names)

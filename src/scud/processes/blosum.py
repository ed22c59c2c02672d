"""Evolutionary noise for proteins: amino acids jump as substitution matrices say they do.

A log-odds matrix M in units of 1/h bits (BLOSUM62: h = 2; Henikoff and Henikoff 1992) compares how often b stands for a in
related proteins with how often it would by chance. So with background frequencies f the law of the letter that replaces a is

    p(b | a) = (f_b 2^(M_ab / h))^sharpness / Z_a,

b = a among them, and Q_ab = p(b | a) off the diagonal. M is symmetric, so Q is reversible: pi_a ∝ f_a^sharpness Z_a. Normalised,
each row is divided by its exit rate 1 - p(a | a), every state leaves at rate 1, and pi_a ∝ f_a^sharpness Z_a (1 - p(a | a)).
sharpness 1 is the matrix as it is; towards 0 all letters become alike, above 1 the likeliest replacements gain.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from scud.errors import UserError, check_choice, check_distribution, check_positive, fail
from scud.options import Options
from scud.processes.base import MatrixProcess, Process
from scud.typing import DataView

AMINO_ACIDS = "ACDEFGHIKLMNPQRSTVWY"
"""The order of the states."""

PER_BIT = {
    "BLOSUM45": 3,
    "BLOSUM50": 3,
    "BLOSUM62": 2,
    "BLOSUM80": 3,
    "BLOSUM90": 2,
    "PAM30": 2,
    "PAM70": 2,
    "PAM250": 3,
}
"""Units per bit of Biopython's log-odds matrices, as their own headers state them."""

SWISSPROT = (
    8.25,
    1.38,
    5.46,
    6.71,
    3.86,
    7.07,
    2.27,
    5.91,
    5.80,
    9.64,
    2.41,
    4.06,
    4.74,
    3.93,
    5.52,
    6.65,
    5.36,
    6.85,
    1.10,
    2.92,
)
"""Amino-acid composition in percent (UniProtKB/Swiss-Prot release statistics, 2022), in the order of AMINO_ACIDS."""


SLOWEST = 1e-5
"""The least rate of a letter, and the least rate of forgetting, beside the largest rate."""


class Blosum62(MatrixProcess):
    """Substitutions by BLOSUM62, or by another log-odds matrix that Biopython has.

    Args:
        frequencies: background f [20], positive, summing to 1; Swiss-Prot's by default.
        sharpness: > 0, the power that p(b | a) is raised to.
        normalized: let every letter leave at rate 1, as the paper does for proteins.
        matrix: name of the matrix, one of PER_BIT.

    Raises:
        UserError: frequencies that are no distribution over 20 states, sharpness not positive or too large, unknown matrix.
    """

    def __init__(
        self,
        frequencies: Tensor | None = None,
        sharpness: float = 1.0,
        normalized: bool = True,
        matrix: str = "BLOSUM62",
    ) -> None:
        check_matrix(matrix, sharpness)
        if frequencies is None:
            frequencies = torch.tensor(SWISSPROT, dtype=torch.float64) / sum(SWISSPROT)
        check_distribution("frequencies", frequencies, len(AMINO_ACIDS))
        self.frequencies, self.sharpness = frequencies.double(), sharpness
        self.normalized, self.matrix = normalized, matrix
        log_odds = load_matrix(matrix) * (
            torch.log(torch.tensor(2.0, dtype=torch.float64)) / PER_BIT[matrix]
        )
        law = (sharpness * (self.frequencies.log() + log_odds)).softmax(-1)
        rates = law.fill_diagonal_(0.0)
        if normalized:
            rates = rates / rates.sum(1, keepdim=True)
        if (
            not bool(torch.isfinite(rates).all())
            or float(rates.sum(1).min() / rates.sum(1).max()) < SLOWEST
        ):
            raise _too_sharp(sharpness)
        super().__init__(rates - rates.sum(1).diag())
        slow = self._eigenvalues.real.sort(descending=True).values[1]
        if float(-slow) < SLOWEST * self.max_rate:
            raise _too_sharp(sharpness)

    def spec(self) -> dict[str, Any]:
        return {
            "kind": "blosum62",
            "frequencies": self.frequencies,
            "sharpness": self.sharpness,
            "normalized": self.normalized,
            "matrix": self.matrix,
        }


def _too_sharp(sharpness: float) -> UserError:
    remedy = "lower it: 1 is the matrix as it is"
    return fail(
        "sharpness",
        "leave all letters some chance to change, and to reach all others",
        sharpness,
        remedy,
    )


def load_matrix(name: str) -> Tensor:
    """Biopython's matrix of that name over AMINO_ACIDS, [20, 20] float64, in its own units."""
    from Bio.Align import substitution_matrices  # only needed here

    matrix = substitution_matrices.load(name).select(AMINO_ACIDS)  # type: ignore[no-untyped-call]
    return torch.tensor(matrix, dtype=torch.float64)


def check_matrix(matrix: str, sharpness: float) -> None:
    """Raise `UserError` unless a matrix is known by name and the sharpness positive and finite."""
    check_choice("matrix", matrix, PER_BIT)
    check_positive("sharpness", sharpness, "1 is the matrix as it is")


@dataclass(frozen=True, kw_only=True)
class Blosum62Options(Options):
    """Amino acids change as in evolution."""

    process: ClassVar[type[Process]] = Blosum62

    kind: Literal["blosum62"] = "blosum62"

    normalized: bool = True
    """Let all letters jump equally often, conserved ones too."""

    matrix: str = "BLOSUM62"
    """Another of Biopython's log-odds matrices, by name."""

    frequencies: Literal["swissprot", "training"] = "swissprot"
    """Background frequencies, of Swiss-Prot or of the training data."""

    sharpness: float = 1.0
    """Power of the substitution law; below 1 letters become more alike."""

    def check(self) -> None:
        check_matrix(self.matrix, self.sharpness)
        check_choice("frequencies", self.frequencies, ("swissprot", "training"))

    def build(self, data: DataView) -> Blosum62:
        """Evolutionary noise.

        Raises:
            UserError: the data's states are not the amino acids.
        """
        if "".join(data.state_names) != AMINO_ACIDS:
            some = ", ".join(data.state_names[:5])
            remedy = "use --process.kind uniform, or dense with rates of your own"
            rule = "suit the data: blosum62 is for proteins"
            raise fail("process.kind", rule, f"{data.name} with states {some}, …", remedy)
        frequencies = data.p0() if self.frequencies == "training" else None
        return Blosum62(frequencies, self.sharpness, self.normalized, self.matrix)

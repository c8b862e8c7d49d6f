"""The result type of every eigenvalue: an interval, a status, and the method."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Any

from torch import Tensor

from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.numbers import enclosure
from ntkscope.report.result import Drawn, Shown


class Status(Enum):
    """How far an eigenvalue can be trusted, with a sentence on what to try next."""

    OK = "ok"
    BELOW_NOISE = "below noise"
    RANK_DEFICIENT = "rank deficient"
    INDEFINITE = "indefinite"
    ESTIMATE = "upper bound and estimate"
    NOT_CONVERGED = "not converged"

    @property
    def advice(self) -> str:
        return _ADVICE[self]

    @property
    def trustworthy(self) -> bool:
        """Whether the interval bounds the eigenvalue and is away from zero."""
        return self is Status.OK


_ADVICE = {
    Status.OK: "The interval contains the eigenvalue and does not contain zero.",
    Status.BELOW_NOISE: (
        "The eigenvalue cannot be told from zero at this precision: use float64, or fewer "
        "near-duplicate samples."
    ),
    Status.RANK_DEFICIENT: (
        "There are more samples than parameters, so the smallest eigenvalue is exactly zero: "
        "widen the network or use fewer samples."
    ),
    Status.INDEFINITE: (
        "The matrix has a negative eigenvalue beyond rounding, so it is no kernel matrix: check "
        "that it is symmetric and how it was formed."
    ),
    Status.ESTIMATE: (
        "Without a factorisation there is an upper bound and an estimate, never a lower bound: "
        "pass certify=True, with a matrix or a kernel that can be formed."
    ),
    Status.NOT_CONVERGED: (
        "The iteration stopped before its tolerance: allow more products, or form the matrix."
    ),
}


class Bound(StrEnum):
    """The proof of a lower bound: A, B or C of the certificates, or a weaker bound."""

    SHIFTED = "A"
    MEASURED = "B"
    DEFLATED = "C"
    FACTORED = "floor"
    NONE = ""

    @property
    def words(self) -> str:
        return _BOUNDS[self]

    @property
    def letter(self) -> str:
        """A, B or C of a certificate; empty for other bounds."""
        return self.value if self in (Bound.SHIFTED, Bound.MEASURED, Bound.DEFLATED) else ""


_BOUNDS = {
    Bound.SHIFTED: "lower bound A (Cholesky of K − sI)",
    Bound.MEASURED: "lower bound B (Cholesky of K − sI, its error measured)",
    Bound.DEFLATED: "lower bound C (Cholesky of K without its lowest eigenvectors, Lehmann)",
    Bound.FACTORED: "lower bound of the factorisation alone",
    Bound.NONE: "no lower bound",
}


@dataclass(frozen=True)
class Eigenvalue(Drawn, Shown):
    """An eigenvalue with its error.

    Attributes
    ----------
    value: the computed eigenvalue, in the units of the matrix.
    lower, upper: an interval that contains the exact one (``-inf`` where no lower bound is known).
    status: how far to trust it; ``status.advice`` says what to try next.
    method: the algorithm that gave the value, and the bound that gave the interval.
    covers: the matrix whose eigenvalue the interval encloses: the stored matrix, or the exact kernel of its factors.
    vector: a unit eigenvector (N,), where one was computed.
    residual: ‖Kv − value·v‖₂ of that vector.
    matvecs: products with K or solves with its factor.
    multiplicity: the number of eigenvalues found within rounding of this one.
    certificate: the bound that proved ``lower``: A, B, C, or empty.
    norm: a lower estimate of ‖K‖₂ (of λ_max, for a kernel).
    seconds: wall time.
    note: a further sentence for the reader, or empty.
    """

    value: float
    lower: float
    upper: float
    status: Status
    method: str
    covers: str
    seconds: float
    vector: Tensor | None = field(default=None, repr=False, compare=False)
    residual: float | None = None
    matvecs: int = 0
    multiplicity: int = 1
    note: str = ""
    certificate: str = ""
    norm: float | None = None

    def __float__(self) -> float:
        return self.value

    @property
    def error(self) -> float:
        """The larger distance of the interval's ends from ``value``."""
        return max(self.upper - self.value, self.value - self.lower)

    def __str__(self) -> str:
        text = f"{enclosure(self.lower, self.upper, self.value)} ({self.status.value})"
        return f"{text}: {self.note}" if self.note else text

    def _chart(self) -> Chart:
        """The interval, on a logarithmic axis where it is above 0; with ‖K‖₂ where that is known."""
        ends = [("value", self.value, "value")]
        if self.error > 1e-3 * abs(self.value):
            ends = [("lower", self.lower, "lower"), *ends, ("upper", self.upper, "upper")]
        else:
            ends = [(f"value, ± {self.error:.2g}", self.value, "value")]
        ends += [] if self.norm is None else [("‖K‖₂, about", self.norm, "value")]
        return charts.bounds("in the units of K", ends, log=self.value > 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the vector is left out."""
        return {
            "value": self.value,
            "lower": self.lower,
            "upper": self.upper,
            "status": self.status.name,
            "advice": self.status.advice,
            "method": self.method,
            "covers": self.covers,
            "residual": self.residual,
            "matvecs": self.matvecs,
            "multiplicity": self.multiplicity,
            "certificate": self.certificate,
            "norm": self.norm,
            "seconds": self.seconds,
            "note": self.note,
        }

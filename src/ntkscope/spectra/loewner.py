"""Whether A ⪰ B: a certificate, a vector that refutes it, or neither."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ntkscope._base import balls
from ntkscope.kernels.given import as_kernel
from ntkscope.kernels.hadamard import HadamardKernel, Term
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.report.numbers import enclosure
from ntkscope.report.result import Shown
from ntkscope.spectra.rounding import U
from ntkscope.spectra.smallest import smallest_eigenvalue


@dataclass(frozen=True)
class LoewnerResult(Shown):
    """Whether A − B is positive semidefinite.

    Attributes
    ----------
    dominates: True (certified: λ_min(A − B) ≥ ``lower`` ≥ 0), False (``witness`` proves
        vᵀ(A − B)v < 0 for exactly the given matrices), or None: λ_min(A − B) is too near 0 for
        float64 to decide, as it is whenever A − B is singular.
    lower, upper: an interval around λ_min(A − B).
    witness: the vector v (N,) of a refutation, as stored; witness_value: an enclosure of
        vᵀ(A − B)v/vᵀv from ball arithmetic.
    method: the proof.
    """

    dominates: bool | None
    lower: float
    upper: float
    method: str
    witness: Tensor | None = field(default=None, repr=False, compare=False)
    witness_value: tuple[float, float] | None = None

    def __bool__(self) -> bool:
        return self.dominates is True

    def __str__(self) -> str:
        interval = f"λ_min(A − B) {enclosure(self.lower, self.upper)}"
        if self.dominates is None:
            return f"A ⪰ B is open: {interval}"
        if self.dominates:
            return f"A ⪰ B, certified: {interval} ({self.method})"
        assert self.witness_value is not None
        low, high = self.witness_value
        return f"A ⪰ B fails: vᵀ(A − B)v/vᵀv {enclosure(low, high)} ({self.method})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the witness as a list."""
        return {
            "dominates": self.dominates, "lower": self.lower, "upper": self.upper,
            "method": self.method, "witness_value": self.witness_value,
            "witness": None if self.witness is None else self.witness.tolist(),
        }  # fmt: skip


def certify_loewner(A: Any, B: Any = None) -> LoewnerResult:
    """Decide A ⪰ B for symmetric matrices or kernels; ``B=None`` stands for 0.

    A kernel stands for the matrix that its ``covers`` names, for example the exact kernel of its stored
    factors. A matrix M stands for (M + Mᵀ)/2 of its stored entries. A Cholesky factorisation (Rump, BIT 46,
    2006) or a tighter bound based on it proves A ⪰ B; the rounding of the subtraction and of forming kernels
    is subtracted. A vector with a negative quadratic form refutes it. For factors and matrices the form is
    evaluated in ball arithmetic, which needs python-flint; for other kernels it must exceed the error of
    their tiles.

    Parameters
    ----------
    A, B: kernels, symmetric (N, N) matrices, or ``None`` for the zero matrix.

    Returns
    -------
    LoewnerResult, with the bound or the vector.

    Raises ValueError for shapes that differ or are not square, ImportError where a refutation
    cannot be verified because python-flint is missing.
    """
    left, right = as_kernel(A), None if B is None else as_kernel(B)
    made, error_left = _dense(left, "A")
    taken, error_right = _dense(right, "B") if right is not None else (torch.zeros_like(made), 0.0)
    if made.shape != taken.shape:
        raise ValueError(f"A and B must have one shape, got {left.shape} and {taken.shape}")
    difference = made - taken
    difference = (difference + difference.T) / 2
    found = smallest_eigenvalue(difference)
    frobenius = sum(float(torch.linalg.matrix_norm(m, "fro")) for m in (made, taken, difference))
    slack = (error_left + error_right + 2 * U * frobenius) * (1 + 2.0**-20)
    lower, upper = found.lower - slack, found.upper + slack
    if lower >= 0:
        return LoewnerResult(True, lower, upper, found.method)
    if found.value < 0:
        vector = found.vector
        if vector is None:
            vector = torch.linalg.eigh(difference)[1][:, 0]
        if not all(_exact(M) for M in (left, right) if M is not None):
            if upper < 0:
                return LoewnerResult(False, lower, upper, found.method, vector, (lower, upper))
            return LoewnerResult(None, lower, upper, found.method)
        low, high = _enclose(left, right, vector)
        if high < 0:
            return LoewnerResult(False, lower, min(upper, high), "Rayleigh quotient in ball "
                                 f"arithmetic at {balls.PRECISION} bits", vector, (low, high))  # fmt: skip
    return LoewnerResult(None, lower, upper, found.method)


def _dense(M: Kernel, name: str) -> tuple[Tensor, float]:
    if M.shape[0] != M.shape[1]:
        raise ValueError(f"{name} must be square, got shape {M.shape}")
    if isinstance(M, MatrixKernel):
        return M.matrix.to(torch.float64), M.entry_error() * float(M.matrix.diagonal().sum())
    wide = M.to(torch.float64)
    return wide.dense(), wide.forming_error()


def _exact(M: Kernel) -> bool:
    """Whether M stands for the numbers that it stores."""
    if isinstance(M, MatrixKernel):
        return M.entry_error() == 0
    return isinstance(M, HadamardKernel | Term) and all(isinstance(t, Term) for t in M.terms)


def _enclose(A: Kernel, B: Kernel | None, vector: Tensor) -> tuple[float, float]:
    """Bounds on vᵀ(A − B)v/vᵀv."""
    with balls.precision():
        v = balls.matrix(vector)
        form = _form(A, v)
        if B is not None:
            form = form - _form(B, v)
        return balls.bounds(form / (v.transpose() * v)[0, 0])


def _form(M: Kernel, v: Any) -> Any:
    """vᵀMv as a ball; for a kernel Σ_t s_t ‖Fᵀ diag(v) B‖_F² from its stored factors."""
    if isinstance(M, MatrixKernel):
        return balls.quadratic(balls.matrix(M.matrix.to(torch.float64)), v)
    assert isinstance(M, HadamardKernel | Term)
    module = balls.flint()
    total = module.arb(0)
    for term in M.terms:
        first, *rest = (balls.matrix(f.rows) for f in term.factors)
        n, width = first.nrows(), first.ncols()
        weighted = module.arb_mat(n, width, [
            first[i, j] * v[i, 0] for i in range(n) for j in range(width)
        ])  # fmt: skip
        ones = module.arb_mat(n, 1, [1] * n)
        core = weighted.transpose() * (rest[0] if rest else ones)
        square = module.arb(0)
        for entry in core.entries():
            square += entry * entry
        total += module.arb(term.scale) * square
    return total

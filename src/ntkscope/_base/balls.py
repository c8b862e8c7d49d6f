"""Ball arithmetic (Arb, through python-flint): numbers that come with a proved radius.

A float64 is a ball of radius 0, so what is computed from stored matrices here is a statement about
exactly those matrices. python-flint is an extra: ``pip install "ntkscope[exact]"``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ntkscope._base.extras import needs

PRECISION = 256  # bits


def flint() -> Any:
    """The module. Raises ImportError that says how to install it."""
    with needs("exact"):
        import flint
    return flint


@contextmanager
def precision(bits: int = PRECISION) -> Iterator[Any]:
    """python-flint at ``bits`` of working precision."""
    module = flint()
    before = module.ctx.prec
    module.ctx.prec = bits
    try:
        yield module
    finally:
        module.ctx.prec = before


def matrix(values: Tensor) -> Any:
    """A stored matrix (or vector, as a column) as exact balls."""
    module = flint()
    table = values.double()
    table = table[:, None] if table.ndim == 1 else table
    rows, columns = table.shape
    return module.arb_mat(rows, columns, [float(x) for x in table.reshape(-1).tolist()])


def entrywise(m: Any, function: Any) -> Any:
    """``function`` of every entry."""
    module = flint()
    return module.arb_mat(m.nrows(), m.ncols(), [function(x) for x in m.entries()])


def quadratic(m: Any, v: Any) -> Any:
    """vᵀ M v."""
    return (v.transpose() * m * v)[0, 0]


def bounds(ball: Any) -> tuple[float, float]:
    """Two floats around a ball, rounded outwards; the same one twice where it is that float."""
    low, high = float(ball.lower()), float(ball.upper())
    if not flint().arb(low) <= ball.lower():
        low = math.nextafter(low, -math.inf)
    if not flint().arb(high) >= ball.upper():
        high = math.nextafter(high, math.inf)
    return low, high


def exact(ball: Any) -> tuple[int, ...]:
    """Mantissas and exponents of centre and radius: what its decimals may round away."""
    return tuple(int(part) for end in (ball.mid(), ball.rad()) for part in end.man_exp())


def power(x: Any, exponent: int) -> Any:
    """x^n by products: arb's own power of a ball around 0 can be NaN."""
    total = flint().arb(1)
    for _ in range(exponent):
        total = total * x
    return total


def midpoint(m: Any) -> Tensor:
    """The centres, as float64."""
    values = [float(x.mid()) for x in m.entries()]
    return torch.tensor(values, dtype=torch.float64).reshape(m.nrows(), m.ncols())


def rayleigh(m: Any) -> Any:
    """vᵀMv/vᵀv ≥ λ_min of a symmetric matrix, at the vector that minimises it in floating point."""
    centres = midpoint(m)
    v = matrix(torch.linalg.eigh((centres + centres.T) / 2)[1][:, 0])
    return quadratic(m, v) / (v.transpose() * v)[0, 0]


def smallest_eigenvalue(m: Any) -> Any:
    """λ_min of a symmetric matrix of balls: a Rayleigh quotient above it, elimination below.

    Raises ArithmeticError where no lower bound could be proved.
    """
    above = rayleigh(m)
    centres = midpoint(m)
    scale = max(float(centres.abs().max()), 1e-300) * m.nrows()
    for relative in (1e-15, 1e-13, 1e-11, 1e-8):
        shift = float(above.mid()) - relative * scale
        if definite(m, shift):
            return flint().arb(shift).union(above)
    raise ArithmeticError("no lower bound of the smallest eigenvalue could be proved")


def definite(m: Any, shift: float) -> bool:
    """M − shift·I ≻ 0, by elimination: every pivot is provably positive."""
    module = flint()
    n = m.nrows()
    rows = [[m[a, b] - (module.arb(shift) if a == b else 0) for b in range(n)] for a in range(n)]
    for k in range(n):
        if not rows[k][k] > 0:
            return False
        for a in range(k + 1, n):
            factor = rows[a][k] / rows[k][k]
            for b in range(k, n):
                rows[a][b] -= factor * rows[k][b]
    return True

"""Ball arithmetic (Arb, through python-flint): numbers that come with a proved radius.

A float64 is a ball of radius 0, so what is computed from stored matrices here is a statement about
exactly those matrices. python-flint is an extra: ``pip install "ntkscope[exact]"``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

PRECISION = 256  # bits


def flint() -> Any:
    """The module. Raises ImportError that says how to install it."""
    try:
        import flint as module
    except ImportError:
        raise ImportError(
            "rigorous confirmation needs python-flint, which is not installed; "
            'pip install "ntkscope[exact]"'
        ) from None
    return module


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
    """Two floats around a ball, rounded outwards."""
    import math

    low, high = float(ball.lower()), float(ball.upper())
    return math.nextafter(low, -math.inf), math.nextafter(high, math.inf)

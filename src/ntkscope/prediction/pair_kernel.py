"""What each degree of a zonal kernel keeps in the difference of two points, and in their sum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.prediction.caps import above_smallest
from ntkscope.prediction.gegenbauer import Expansion


@dataclass(frozen=True)
class Kind:
    """One way in which two points nearly coincide.

    signs: of P_r(cos θ) in what the pair keeps of degree r. values: κ of the pair at the angles from
    ``SMALLEST`` up, with its sign. at_zero: the same at angle 0.
    """

    signs: Array
    values: Array
    at_zero: float


def kept(expansion: Expansion, near: Array, far: Array, theta: Array, exponent: int) -> Array:
    """(3, R+2, n): what each degree keeps in x − y for near pairs, and in x ∓ y for opposite ones.

    ``near`` is κ at the angles of ``theta`` from ``SMALLEST`` up, ``far`` at π minus them and at π.
    ``exponent`` is that of κ(1) − κ(cos θ) ~ θ^p at small θ.
    """
    degrees = len(expansion.coefficients)
    plain = np.ones((degrees, 1))
    alternating = np.where(np.arange(degrees)[:, None] % 2, -1.0, 1.0)
    opposite, at_pi = far[:-1], float(far[-1])
    kinds = (
        Kind(plain, near, expansion.total),
        Kind(alternating, opposite, at_pi),
        Kind(-alternating, -opposite, -at_pi),
    )
    P = expansion.polynomials(above_smallest())
    return np.array([_kept(kind, expansion, P, theta, exponent) for kind in kinds])


def _kept(kind: Kind, expansion: Expansion, P: Array, theta: Array, exponent: int) -> Array:
    """(R+2, n): c_r(1 ∓ P_r) of every degree, and the tail in the last row.

    Below ``SMALLEST``, where a difference of kernels has lost its digits, a degree grows like θ² and
    the tail like θ^p.
    """
    total, c = expansion.total, expansion.coefficients[:, None]
    parts, start = c * (1.0 - kind.signs * P), c * (1.0 - kind.signs)
    rest = (total - kind.values) - parts.sum(axis=0)
    rest_start = total - kind.at_zero - start.sum() if kind.at_zero != total else 0.0
    first, grown = np.vstack([start, [[rest_start]]]), np.vstack([parts, rest])
    small = theta[: len(theta) - P.shape[1]] / above_smallest()[0]
    power = np.vstack([np.broadcast_to(small**2, (len(P), len(small))), small**exponent])
    return np.hstack([first + (grown[:, :1] - first) * power, grown])

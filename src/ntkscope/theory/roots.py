"""The one root that the predictor needs, without the 0.2 s that ``import scipy.optimize`` takes."""

from __future__ import annotations

import math
from collections.abc import Callable

_EPS = 2.0**-52
_STEPS = 200


def root(f: Callable[[float], float], low: float, high: float, xtol: float) -> float:
    """x in [low, high] with f(x) = 0 to within ``xtol``, by Chandrupatla's method (1997).

    Inverse quadratic interpolation where the last three points show that it will do, bisection
    elsewhere. Raises ValueError unless f changes its sign between the ends.
    """
    a, b = high, low
    fa, fb = f(a), f(b)
    if fa == 0 or fb == 0:
        return a if fa == 0 else b
    if not fa * fb < 0:
        raise ValueError(
            f"f has one sign at both ends: {fb:.3g} at {low:.6g}, {fa:.3g} at {high:.6g}"
        )
    t = 0.5
    for _ in range(_STEPS):
        x = a + t * (b - a)
        fx = f(x)
        # a is the newest point, b across the root from it, c the one before
        if (fx > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, fc, b, fb = b, fb, a, fa
        a, fa = x, fx
        best, fbest = (a, fa) if abs(fa) < abs(fb) else (b, fb)
        least = (2.0 * _EPS * abs(best) + 0.5 * xtol) / abs(b - a)
        if least > 0.5 or fbest == 0:
            return best
        t = _fraction(a, b, c, fa, fb, fc)
        t = min(max(t, least), 1.0 - least)
    raise ValueError(f"no root found within {_STEPS} steps of [{low:.6g}, {high:.6g}]")


def _fraction(a: float, b: float, c: float, fa: float, fb: float, fc: float) -> float:
    """How far from a towards b the next point goes."""
    xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
    if not (phi * phi < xi and (1.0 - phi) ** 2 < 1.0 - xi):
        return 0.5
    t = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
    return t if math.isfinite(t) else 0.5

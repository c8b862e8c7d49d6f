"""A root of a function of one number, without the import of a library of optimisers."""

from __future__ import annotations

from collections.abc import Callable

_STEPS = 200


def find_root(f: Callable[[float], float], low: float, high: float, tolerance: float) -> float:
    """x with f(x) = 0 to within ``tolerance``, between two ends where f has different signs.

    Inverse quadratic interpolation where it is safe, bisection elsewhere (Chandrupatla 1997). Raises
    ValueError where the ends have one sign, or where f is not finite.
    """
    a, fa, b, fb = high, f(high), low, f(low)
    if not fa * fb <= 0.0:
        raise ValueError(f"no root between {low:.6g} and {high:.6g}: f is {fb:.3g} and {fa:.3g}")
    share = 0.5
    for _ in range(_STEPS):
        best, least = (a, fa) if abs(fa) < abs(fb) else (b, fb)
        if least == 0.0 or abs(b - a) <= tolerance:
            return best
        x = a + share * (b - a)
        fx = f(x)
        if (fx > 0.0) == (fa > 0.0):
            c, fc = a, fa
        else:
            c, fc, b, fb = b, fb, a, fa
        a, fa = x, fx
        share = _next_share(a, fa, b, fb, c, fc)
        margin = 0.5 * tolerance / max(abs(b - a), tolerance)
        share = min(1.0 - margin, max(margin, share))
    raise ValueError(f"no root between {low:.6g} and {high:.6g} in {_STEPS} steps")


def _next_share(a: float, fa: float, b: float, fb: float, c: float, fc: float) -> float:
    """Where in [a, b] to look next: by the parabola through three points, or in the middle."""
    if fc in (fa, fb) or fa == fb or c == b:
        return 0.5
    xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
    if not (phi * phi < xi and (1.0 - phi) ** 2 < 1.0 - xi):
        return 0.5
    ahead = fa / (fb - fa) * fc / (fb - fc)
    return ahead + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)

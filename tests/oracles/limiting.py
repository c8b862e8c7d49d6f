"""Limiting kernels entry by entry with mpmath: slow, and short enough to check by eye."""

from __future__ import annotations

from collections.abc import Callable

import mpmath as mp
import numpy as np


def relu_dual(a, b, c):
    """(E φφ, E φ′φ′) of ReLU: √(ab)(sin θ + (π − θ) cos θ)/2π and (π − θ)/2π."""
    if a == 0 or b == 0:
        return mp.mpf(0), mp.mpf(0)
    rho = c / mp.sqrt(a * b)
    rho = max(mp.mpf(-1), min(mp.mpf(1), rho))
    theta = mp.acos(rho)
    value = mp.sqrt(a * b) * (mp.sin(theta) + (mp.pi - theta) * rho) / (2 * mp.pi)
    return value, (mp.pi - theta) / (2 * mp.pi)


def gaussian_dual(f: Callable, a, b, c):
    """E f(u)f(v), (u, v) ~ N(0, [[a, c], [c, b]]), by two nested quadratures."""
    a, b, c = mp.mpf(a), mp.mpf(b), mp.mpf(c)
    slope = c / mp.sqrt(a)
    rest = mp.sqrt(max(b - slope**2, mp.mpf(0)))
    cuts = [-9, -5, -2, 0, 2, 5, 9]
    if rest < mp.mpf(10) ** -20:
        return mp.quad(lambda z: f(mp.sqrt(a) * z) * f(slope * z) * mp.npdf(z), cuts)

    def outer(z):
        inner = mp.quad(lambda w: f(slope * z + rest * w) * mp.npdf(w), cuts)
        return f(mp.sqrt(a) * z) * inner * mp.npdf(z)

    return mp.quad(outer, cuts)


def ntk_entry(xx, yy, xy, dual, sizes, betas, input_scale=1, bias_std=None):
    """The kernel at one pair from ⟨x,x⟩, ⟨y,y⟩, ⟨x,y⟩, by the recursion for a plain network."""
    bias = 0 if bias_std is None else 1
    var = mp.mpf(0) if bias_std is None else mp.mpf(bias_std) ** 2
    A = [mp.mpf(v) * input_scale for v in (xx, yy, xy)]
    theta = A[2] + bias
    for n, beta, beta_next in zip(sizes, betas, betas[1:], strict=False):
        C = [mp.mpf(beta) ** 2 * v + var for v in A]
        value, slope = dual(C[0], C[1], C[2])
        A = [n * dual(C[0], C[0], C[0])[0], n * dual(C[1], C[1], C[1])[0], n * value]
        theta = theta * n * mp.mpf(beta_next) ** 2 * slope + A[2] + bias
    return theta


def trapezoid_dual(f: Callable, a, b, rho, step):
    """E f(u)f(v) by the trapezoidal rule on the plane, in mpmath's precision; f analytic.

    Its error is e^{−2πs/step} for a strip of half-width s without poles of f.
    """
    a, b, rho, step = mp.mpf(a), mp.mpf(b), mp.mpf(rho), mp.mpf(step)
    rest = mp.sqrt(1 - rho**2)
    reach = int(mp.sqrt(2 * mp.mp.prec * mp.log(2)) / step) + 1
    nodes = [k * step for k in range(-reach, reach + 1)]
    weight = [mp.npdf(z) * step for z in nodes]
    total = mp.mpf(0)
    for z, w in zip(nodes, weight, strict=True):
        centre = mp.sqrt(b) * rho * z
        inner = mp.fsum(
            f(centre + mp.sqrt(b) * rest * y) * p for y, p in zip(nodes, weight, strict=True)
        )
        total += w * f(mp.sqrt(a) * z) * inner
    return total


def longdouble_dual(f: Callable, a: float, b: float, rho: float, one_minus_rho: float) -> float:
    """The same in numpy's extended precision, for wide ranges of variances."""
    x = np.longdouble
    # poles of tanh, σ and softplus lie no nearer than π/2 divided by the standard deviation
    step = x(min(0.4, 0.19 / np.sqrt(max(a, b, 0.2))))
    z = np.arange(-int(13 / step), int(13 / step) + 1).astype(x) * step
    w = np.exp(-z * z / 2) * step / np.sqrt(2 * x(np.pi))
    w = w / w.sum()  # x(np.pi) is π to double only
    rest = np.sqrt(x(one_minus_rho) * (1 + x(rho)))
    v = np.sqrt(x(b)) * (x(rho) * z[:, None] + rest * z[None, :])
    return (w * f(np.sqrt(x(a)) * z)) @ (f(v) @ w)

"""Probabilities with explicit constants, where the papers write 1 − exp(−Ω(·)).

Each function bounds the probability that an event fails, in terms of widths and of what a law of the
data is known to satisfy.
"""

from __future__ import annotations

import math
from functools import cache

from ntkscope.data import Distribution, Gaussian, Sphere

_HALF_DEVIATION = 20.0  # 4 Var f_j²/(E f_j²)² of a ReLU neuron: Var = 5s⁴/4, mean s²/2


def relu_layer(n: int) -> float:
    """P(‖φ(Wᵀf)‖² is not within half of its mean n β²‖f‖²/2), W of n independent Gaussian columns.

    Chernoff's bound with E e^{tσ(g)²} = ½ + ½(1 − 2t)^{-1/2}, g ~ N(0, 1), or Chebyshev's 20/n. The
    ratio to ‖f‖² does not depend on f, so layers and inputs need no union beyond the sum.
    """
    upper, lower = _relu_rates()
    return min(1.0, _HALF_DEVIATION / n, math.exp(-n * upper) + math.exp(-n * lower))


@cache
def _relu_rates() -> tuple[float, float]:
    """(c, c′): n neurons exceed 3n/4 with probability e^{−cn} at most, fall below n/4 with e^{−c′n}."""

    def log_moment(t: float) -> float:
        return math.log(0.5 + 0.5 / math.sqrt(1.0 - 2.0 * t))

    above = max(0.75 * t - log_moment(t) for t in (0.002 * s for s in range(1, 200)))
    below = max(-0.25 * t - log_moment(-t) for t in (0.01 * s for s in range(1, 200)))
    return above, below


def lipschitz(law: Distribution | None, t: float, constant: float) -> float | None:
    """P(h(x) − E h ≤ −t) for an h with ‖h‖_Lip ≤ ``constant``; None where nothing is known of the law.

    On Gaussian and spherical data exp(−t²/2C‖h‖²), C the constant of the law's log-Sobolev inequality,
    which is that of Poincaré's; elsewhere Cantelli's C‖h‖²/(C‖h‖² + t²).
    """
    C = None if law is None else law.poincare
    if C is None:
        return None
    if t <= 0:
        return 1.0
    variance = C * constant**2
    if isinstance(law, Gaussian | Sphere):
        return math.exp(-(t**2) / (2.0 * variance)) if variance > 0 else 0.0
    return variance / (variance + t**2)


def input_norm(law: Distribution | None) -> float | None:
    """P(‖x‖² is not within half of E‖x‖²), ‖x‖ being 1-Lipschitz and E‖x‖ ≥ √(E‖x‖² − C)."""
    if law is None or law.poincare is None:
        return None
    m, C = law.moments().norm_sq, law.poincare
    if isinstance(law, Sphere):
        return 0.0
    below = lipschitz(law, math.sqrt(max(0.0, m - C)) - math.sqrt(0.5 * m), 1.0)
    above = lipschitz(law, math.sqrt(1.5 * m) - math.sqrt(m), 1.0)
    return None if below is None or above is None else min(1.0, below + above)


def features(law: Distribution | None, widths: tuple[int, ...]) -> float | None:
    """P(some ‖f_l(x)‖², l ≤ k, is not within half of its mean given f_{l−1}); ``widths`` n_1 … n_k."""
    data = input_norm(law)
    return None if data is None else min(1.0, data + sum(relu_layer(n) for n in widths))


def operator_product(widths: tuple[int, ...]) -> float:
    """P(‖Π_{l=p}^q W_lΣ_l(x)‖² > 9^{q−p+1} Πn_l/min n_l Πβ_l²) at a fixed x; ``widths`` n_{p−1} … n_q.

    Eq. 42's induction with Chevet's inequality in place of nets: for A independent of W_q,
    ‖A W_q‖ ≤ β_q‖A‖(√n_{p−1} + √n_q + s) with probability 1 − e^{−s²/2}; here s² = max(n_{p−1}, n_q).
    """
    return min(1.0, sum(math.exp(-0.5 * s) for s in _joints(widths)))


def _joints(widths: tuple[int, ...]) -> list[int]:
    """max(n_{p−1}, n_q) of every application of Chevet's inequality in eq. 42's induction."""
    if len(widths) == 2:
        return [max(widths)]
    cut = narrowest_inside(widths)
    if cut is None:
        return [*_joints(widths[:-1]), max(widths[0], widths[-1])]
    return _joints(widths[: cut + 1]) + _joints(widths[cut:])


def narrowest_inside(widths: tuple[int, ...]) -> int | None:
    """Where eq. 42 and eq. 58 cut: the narrowest inner layer, unless both ends or the first are narrower.

    The cases of the proofs: j = argmin inside; j the last and the next-narrowest inside; else none.
    """
    inner = range(1, len(widths) - 1)
    best = min(inner, key=lambda l: widths[l])
    return best if widths[best] <= widths[0] else None


def lipschitz_map(widths: tuple[int, ...], betas: tuple[float, ...]) -> tuple[float, float]:
    """(a bound on ‖h_{p→q}‖²_Lip, the probability that it fails); widths n_p … n_q, betas β_{p+1} … β_q.

    Eq. 58's induction. Where the first layer is narrowest, all R cells of the inner layers in R^{n_p}
    are taken together: ‖h_{p→q}‖ ≤ ‖h_{p→q−1}‖ β_q (√n_p + √n_q + √(2 log R) + s), with
    ‖Π_{l<q} W_lΣ_l‖ ≤ ‖h_{p→q−1}‖ for every pattern. That is the repair of eq. 61, which quotes a bound
    for one fixed x.
    """
    top = max(widths[0], widths[-1])
    if len(widths) == 2:
        size = math.sqrt(widths[0]) + math.sqrt(widths[1]) + math.sqrt(top)
        return (betas[0] * size) ** 2, math.exp(-0.5 * top)
    cut = narrowest_inside(widths)
    if cut is not None:
        first, fails = lipschitz_map(widths[: cut + 1], betas[:cut])
        second, also = lipschitz_map(widths[cut:], betas[cut:])
        return first * second, min(1.0, fails + also)
    before, fails = lipschitz_map(widths[:-1], betas[:-1])
    cells = sum(log_regions(n, widths[0]) for n in widths[1:-1])
    size = math.sqrt(widths[0]) + math.sqrt(widths[-1]) + math.sqrt(2.0 * cells + top)
    return before * (betas[-1] * size) ** 2, min(1.0, fails + math.exp(-0.5 * top))


def log_regions(n: int, d: int) -> float:
    """log of 2 Σ_{j<d} C(n−1, j), the cells of n hyperplanes through 0 in R^d."""
    logs = [math.lgamma(n) - math.lgamma(j + 1) - math.lgamma(n - j) for j in range(min(d, n))]
    top = max(logs)
    return math.log(2.0) + top + math.log(sum(math.exp(x - top) for x in logs))

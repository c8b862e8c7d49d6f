"""Zonal kernels on the sphere: κ(cos θ) = Σ_r c_r P_r(cos θ), and how many harmonics each degree has.

P_r is the Gegenbauer polynomial of dimension d with P_r(1) = 1 (Chebyshev for d = 2, Legendre for
d = 3), D_r the number of spherical harmonics of degree r in R^d. For x, y uniform on the sphere
E[P_r²] = 1/D_r, so c_r = D_r E[κ P_r] (Müller, *Analysis of Spherical Symmetries*, 1998).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ntkscope._base.arrays import Array

Kappa = Callable[[Array], Array]
"""θ in [0, π] → κ(cos θ): the kernel of two inputs of one norm at angle θ."""

MAX_DEGREE = 400
_EPS = float(np.finfo(np.float64).eps)
_ENOUGH = 12.0  # ln(N/D_r) below −12: degree r acts on N samples as a multiple of the identity


@dataclass(frozen=True)
class Expansion:
    """Coefficients of a zonal kernel on the sphere in R^d.

    Attributes
    ----------
    dim: d.
    coefficients: c_0, …, c_R, in the units of κ.
    log_multiplicities: ln D_0, …, ln D_R.
    total: κ(1) = Σ_r c_r.
    tail: Σ_{r>R} c_r, from κ(1) by subtraction.
    noise: bounds on the rounding errors of the coefficients: 4nu √(D_r E κ²) for n nodes, and
        that of D_r.
    error: bound on the rounding error of ``tail``: when it is not far below ``tail``, the tail
        has lost its digits and a prediction from it says so.
    complete: whether degree R + 1 has far more harmonics than there are samples.
    """

    dim: int
    coefficients: Array
    log_multiplicities: Array
    total: float
    tail: float
    noise: Array
    error: float
    complete: bool

    @property
    def rank(self) -> float:
        """Σ D_r over the degrees that are there; inf when the tail is."""
        if self.tail > self.error:
            return float("inf")
        live = self.coefficients > self.noise
        return float(np.sum(np.exp(self.log_multiplicities[live])))

    def polynomials(self, theta: Array) -> Array:
        """P_0, …, P_R at the angles θ, shape (R+1, len(θ))."""
        return polynomials(self.dim, len(self.coefficients) - 1, np.cos(theta))


def log_multiplicities(dim: int, degree: int) -> Array:
    """ln D_0, …, ln D_degree; finite for any d ≥ 2.

    D_r = ((2r + d − 2)/r)·C(r + d − 3, r − 1), D_0 = 1, summed from the ratios D_{r+1}/D_r: a
    difference of two ln Γ would lose the digits that ln Γ(d) has before the point.
    """
    r = np.arange(1.0, degree)
    grows = np.log1p(2.0 / (2 * r + dim - 2)) + np.log((r + dim - 2) / (r + 1))
    return np.cumsum(np.concatenate(([0.0], [np.log(dim)], grows)))[: degree + 1]


def polynomials(dim: int, degree: int, x: Array) -> Array:
    """P_0, …, P_degree at x, normalised to P_r(1) = 1, by the three-term recursion.

    (r + d − 2) P_{r+1} = (2r + d − 2) x P_r − r P_{r−1}; it is stable on [−1, 1].
    """
    out = np.empty((degree + 1, *np.shape(x)))
    out[0] = 1.0
    if degree:
        out[1] = x
    for r in range(1, degree):
        out[r + 1] = ((2 * r + dim - 2) * x * out[r] - r * out[r - 1]) / (r + dim - 2)
    return out


def degrees_needed(dim: int, n_samples: int | float) -> int:
    """The degree beyond which D_r ≫ N, at most ``MAX_DEGREE``."""
    logs = log_multiplicities(dim, MAX_DEGREE)
    beyond = np.flatnonzero(logs > np.log(n_samples) + _ENOUGH)
    return int(beyond[0]) if len(beyond) else MAX_DEGREE


def nodes(dim: int, n_samples: int | float) -> Array:
    """The angles at which :func:`expand_values` wants κ, the last one 0."""
    _check_dim(dim)
    return np.append(_rule(dim, degrees_needed(dim, n_samples))[0], 0.0)


def law_of_angle(dim: int, n_samples: int | float) -> tuple[Array, Array]:
    """Quadrature nodes θ of the angle between two uniform points, and their weights (sum 1)."""
    _check_dim(dim)
    theta, weight, _ = _rule(dim, degrees_needed(dim, n_samples))
    return theta, weight


def expand(kappa: Kappa, dim: int, n_samples: int | float) -> Expansion:
    """The expansion of ``kappa`` on the sphere in R^dim, far enough for ``n_samples`` points.

    The integrals run over θ, where the kernel of a kinked activation is analytic although it is
    not in cos θ: Gauss-Legendre converges geometrically, for every d ≥ 2.

    Raises ValueError for d < 2 (a sphere of two points) and for a κ that is not finite.
    """
    return expand_values(kappa(nodes(dim, n_samples)), dim, n_samples)


def expand_values(values: Array, dim: int, n_samples: int | float) -> Expansion:
    """The same from κ at :func:`nodes`."""
    _check_dim(dim)
    _, weight, table = _rule(dim, degrees_needed(dim, n_samples))
    if not np.all(np.isfinite(values)):
        raise ValueError("the kernel is not finite at these norms: it overflows float64")
    at_nodes, total = values[:-1], float(values[-1])
    logs = log_multiplicities(dim, len(table) - 1)
    # √D_r P_r is orthonormal: scale before summing, so that no product under- or overflows
    root = np.exp(0.5 * logs)
    coefficients = root * ((root[:, None] * table) @ (weight * at_nodes))
    scale = float(np.sqrt(np.sum(weight * at_nodes**2)))
    # a sum of n products with weights and polynomials that are each known to about n u,
    # times D_r, known to about (r + ln D_r) u
    noise = 2.0 * len(at_nodes) * _EPS * scale * root
    noise += (np.arange(len(logs)) + logs) * _EPS * np.abs(coefficients)
    return Expansion(
        dim=dim,
        coefficients=coefficients,
        log_multiplicities=logs,
        total=total,
        tail=total - float(np.sum(coefficients)),
        noise=noise,
        error=4.0 * _EPS * abs(total) + float(np.sum(noise)),
        complete=bool(logs[-1] > np.log(n_samples) + 0.25 * _ENOUGH),
    )


def _check_dim(dim: int) -> None:
    if dim < 2:
        raise ValueError(
            f"dim must be at least 2, got {dim}: the sphere in R^1 has two points, "
            "and N > 2 samples repeat them"
        )


@lru_cache(maxsize=32)
def _rule(dim: int, degree: int) -> tuple[Array, Array, Array]:
    """Nodes θ, weights of the law of the angle (they sum to 1), and P_r at the nodes."""
    # sin^{d−2} θ·P_r² lives within (12 + 2√R)/√d of the equator; for small d that is [0, π]
    half = min(np.pi / 2, (12.0 + 2.0 * np.sqrt(degree)) / np.sqrt(dim))
    x, w = np.polynomial.legendre.leggauss(degree + 120)
    theta = np.pi / 2 + half * x
    with np.errstate(divide="ignore"):
        log_density = (dim - 2) * np.log(np.sin(theta)) if dim > 2 else np.zeros_like(theta)
    weight = w * np.exp(log_density)
    weight /= weight.sum()
    return theta, weight, polynomials(dim, degree, np.cos(theta))

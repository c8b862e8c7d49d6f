"""The limiting kernel of inputs of one norm as a power series of their correlation, enclosed.

K(x, y) = Σ_p κ_p ρ^p with κ_p ≥ 0, for any activation and depth (Murray et al. 2023): the recursion of
:mod:`ntkscope.kernels.limiting.recursion` on series in ρ in place of matrices. A layer composes
f(c) = Σ_r α_r² c^r with the correlation c(ρ) of the layer before. With c = c_0 + q s(ρ), q = 1 − c_0 and
s(0) = 0, f(c) = Σ_j f_j s^j and

    f_j = Σ_r α_r² C(r, j) c_0^{r−j} q^j,

binomial probabilities, which Pascal's rule gives without a difference. As every number is positive,
a rounded sum or product is off by a known factor, and both ends of every coefficient are carried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array
from ntkscope.activations.activation import Activation
from ntkscope.activations.hermite import hermite_coefficients
from ntkscope.kernels.limiting.recursion import Layer, Scales, assemble, scales_of
from ntkscope.networks.network import Network
from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Result, Tabular

U = 2.0**-53
_DOWN_UP = np.array([[-1.0], [1.0]])
_MAX_TERMS = 1 << 15  # Hermite coefficients of a layer
_SMALLEST = 1e-290  # products above it are no denormals, whose rounding is not relative


@dataclass(frozen=True, eq=False)
class PowerSeries(Drawn, Tabular, Result, also=("degree", "rest")):
    """κ_0, …, κ_P of K(x, y) = Σ_p κ_p ρ^p, in the units of ``limiting_ntk``.

    Attributes
    ----------
    lower, upper: (P+1,) arrays that enclose the coefficients.
    total: (lower, upper) of Σ_p κ_p = K(x, x).
    norm: ‖x‖ of the inputs.
    rigorous: whether the Hermite coefficients come from a closed form with a proved error, so that
        the ends are proved; elsewhere their error is a quadrature's own estimate.
    """

    lower: Array
    upper: Array
    total: tuple[float, float]
    norm: float
    rigorous: bool

    @property
    def degree(self) -> int:
        """P."""
        return len(self.lower) - 1

    @property
    def rest(self) -> tuple[float, float]:
        """(lower, upper) of Σ_{p>P} κ_p."""
        n = len(self.lower) + 2
        low = self.total[0] - float(self.upper.sum()) * (1 + n * U)
        high = self.total[1] - float(self.lower.sum()) * (1 - n * U)
        return max(0.0, low * (1 - 2 * U)), max(0.0, high * (1 + 2 * U))

    def __call__(self, rho: Any) -> tuple[Array, Array]:
        """(lower, upper) of K at correlations ρ in [−1, 1], arrays of ρ's shape.

        The terms above P add at most |ρ|^{P+1} of their sum. Raises ValueError for other ρ.
        """
        x = np.asarray(rho, dtype=np.float64)
        if not bool((np.abs(x) <= 1).all()):
            raise ValueError("correlations must be within [-1, 1]")
        middle = np.polynomial.polynomial.polyval(x, 0.5 * (self.lower + self.upper))
        power: Array = np.abs(x) ** (self.degree + 1) * (1 + 4 * (self.degree + 1) * U)
        rounding = 3 * (self.degree + 4) * U * self.total[1]
        spread = 0.5 * float((self.upper - self.lower).sum()) + rounding
        low, high = self.rest
        above = high * power
        # a term κ_p ρ^p above P lies in [0, κ_p ρ^{P+1}] for ρ ≥ 0, and is κ_p at ρ = 1
        below = np.where(x < 0, -above, np.where(x == 1, low, 0.0))
        ends: Array = np.stack([middle + below - spread, middle + above + spread])
        return ends[0], ends[1]

    def _rows(self) -> list[dict[str, Any]]:
        pairs = zip(self.lower.tolist(), self.upper.tolist(), strict=True)
        return [{"power": p, "lower": low, "upper": high} for p, (low, high) in enumerate(pairs)]

    def _chart(self) -> Chart:
        """The coefficients that are above 0, in the middle of their intervals."""
        p = np.flatnonzero(self.lower > 0)
        middle = (self.lower[p] + self.upper[p]) / 2
        half = ((self.upper[p] - self.lower[p]) / 2).tolist()
        return charts.curves(
            "power p of the correlation", "κ_p", p, {"κ_p": middle}, log=(False, True),
            errors={"κ_p": half},
        )  # fmt: skip

    def __repr__(self) -> str:
        low, high = self.rest
        kind = "enclosed" if self.rigorous else "to the quadrature's estimate"
        return (
            f"PowerSeries(degree={self.degree}, norm={self.norm:g}, K(x, x)={self.total[0]:.6g}, "
            f"above the degree {100 * low / self.total[1]:.3g} … {100 * high / self.total[0]:.3g} %, "
            f"{kind})"
        )


def power_series(net: Network, degree: int = 100, norm: float | None = None) -> PowerSeries:
    """The coefficients κ_0, …, κ_degree of the limiting kernel in the correlation of two inputs.

    Parameters
    ----------
    net: a network without skip connections; widths may be infinite.
    degree: P, from 0 to 2000.
    norm: ‖x‖ of both inputs, √d unless given.

    Returns
    -------
    PowerSeries, each coefficient as an interval.

    Raises
    ------
    ValueError
        For a residual network (its kernel depends on more than ρ), a degree or norm out of range, a
        network without a wide limit, and an activation whose Hermite series is not known far
        enough.
    """
    if isinstance(degree, bool) or not isinstance(degree, int):
        raise TypeError(f"degree must be an integer, got {degree!r}")
    if not 0 <= degree <= 2000:
        raise ValueError(f"degree must be within 0 … 2000, got {degree}")
    size = float(net.dim**0.5 if norm is None else norm)
    if not 0 < size < 1e100:
        raise ValueError(f"norm must be positive and below 1e100, got {size:g}")
    if net.residual:
        raise ValueError(
            "a residual network's kernel depends on more than norms and correlations (the sums of "
            "the coordinates enter through the skip connections); use residual=0"
        )
    scales = scales_of(net, net.n_outputs)
    layers = series_layers(scales, net.activation, size * size, degree)
    found = assemble(scales, layers, ("ntk",))["ntk"][0].ends
    return PowerSeries(
        found[0, :-1], found[1, :-1], (float(found[0, -1]), float(found[1, -1])), size,
        net.activation.homogeneity == 1,
    )  # fmt: skip


class Series:
    """Coefficients of degrees 0 … P and, behind them, the sum of all: rows are lower, upper ends."""

    def __init__(self, ends: Array) -> None:
        self.ends = ends

    def __add__(self, other: Series | float) -> Series:
        ends = self.ends.copy()
        if isinstance(other, Series):
            ends += other.ends
        else:
            ends[:, [0, -1]] += other
        return Series(_widened(ends, 2))

    def __mul__(self, other: Series | float) -> Series:
        if not isinstance(other, Series):
            return Series(_widened(self.ends * other, 2))
        ends = self.ends * other.ends
        for row, a, b in zip(ends, self.ends, other.ends, strict=True):
            row[:-1] = np.convolve(a[:-1], b[:-1])[: len(row) - 1]
        return Series(_widened(ends, ends.shape[1] + 1))

    def __iadd__(self, other: Series | float) -> Series:  # in place, as a matrix
        self.ends = (self + other).ends
        return self

    def __imul__(self, other: Series | float) -> Series:
        self.ends = (self * other).ends
        return self


def _widened(ends: Array, roundings: int) -> Array:
    """The ends of positive numbers that went through so many roundings."""
    ends = ends * (1 + (1 + 1e-6) * roundings * U * _DOWN_UP)
    ends[0, ends[0] < _SMALLEST] = 0.0
    ends[1, (ends[1] > 0) & (ends[1] < _SMALLEST)] = _SMALLEST
    return ends


def series_layers(scales: Scales, phi: Activation, norm_sq: float, degree: int) -> Iterator[Layer]:
    """A_0, then (Ė^l, A_l): series in place of matrices."""
    start = np.zeros((2, degree + 2))
    start[:, [min(1, degree), -1]] = scales.input * norm_sq
    if degree == 0:
        start[:, 0] = 0.0
    features = Series(_widened(start, 4))
    yield Layer(features, None)
    for n, beta_sq in zip(scales.sizes, scales.betas_sq, strict=False):
        covariance = features * beta_sq + scales.bias_var
        value, slope = _through(phi, covariance)
        features = value * n
        yield Layer(features, slope)


def _through(phi: Activation, covariance: Series) -> tuple[Series, Series]:
    """(E[φφ], E[φ′φ′]) of Gaussians with the covariance Σ_p C_p ρ^p."""
    low, high = covariance.ends[:, -1]
    correlation = _widened(covariance.ends / np.array([[high], [low]]), 3)
    at_zero = np.minimum(correlation[:, :1], 1.0)
    rest = np.maximum(1.0 - at_zero, _SMALLEST)
    inner = _widened(correlation[:, 1:-1] / rest, 3)
    degree = inner.shape[1]
    terms = _terms(degree, float(at_zero.max()))
    weights = [_weights(phi, covariance.ends[:, -1:], terms, f) for f in (False, True)]
    tables = _taylor(weights, at_zero, rest, degree)
    powers = _powers(inner)
    value, slope = (
        Series(np.concatenate([_widened(_sums(f, powers), degree + 2), w.moment], 1))
        for f, w in zip(tables, weights, strict=True)
    )
    return value, slope


def _powers(s: Array) -> Array:
    """s^0, …, s^P of Σ_{p≥1} s_p ρ^p, given as ends (2, P): (2, P+1, P+1)."""
    degree = s.shape[1]
    powers = np.zeros((2, degree + 1, degree + 1))
    powers[:, 0, 0] = 1.0
    for j in range(1, degree + 1):
        for end in range(2):
            # the power before starts at degree j − 1
            product = np.convolve(powers[end, j - 1, j - 1 : -1], s[end, : degree - j + 1])
            powers[end, j, j:] = product[: degree - j + 1]
        powers[:, j] = _widened(powers[:, j], degree + 2)
    return powers


def _sums(table: Array, powers: Array) -> Array:
    return np.einsum("ej,ejp->ep", table, powers)


def _terms(degree: int, at_zero: float) -> int:
    """R such that a binomial of R draws with success 1 − c_0 is above ``degree`` but for e^{−40}."""
    if at_zero == 0.0:
        return degree
    enough = (degree + 12.0 * degree**0.5 + 60.0) / max(1.0 - at_zero, 1e-12)
    if enough > _MAX_TERMS:
        raise ValueError(
            f"the correlation of any two inputs exceeds {at_zero:.6g} at a layer, so its series needs "
            f"more than {_MAX_TERMS} Hermite coefficients; use fewer layers or a lower degree"
        )
    return int(enough) + 1


@dataclass(frozen=True)
class _Weights:
    """Ends (2, R+1) of α_r², a bound on Σ_{r>R} α_r², and the ends (2, 1) of Σ_r α_r² = E f²."""

    ends: Array
    missing: float
    moment: Array


def _weights(phi: Activation, variance: Array, order: int, derivative: bool) -> _Weights:
    """Of φ or φ′ at a variance known by its ends (2, 1).

    A homogeneous φ is taken at variance 1 and scaled by both ends; another one in their middle.
    """
    homogeneous = phi.homogeneity == 1
    at = np.ones(1) if homogeneous else variance.mean(0)
    factor = variance if homogeneous and not derivative else np.ones((2, 1))
    table = hermite_coefficients(phi, order, at, derivative=derivative)
    sizes = np.abs(table.values[0])
    moment = float(table.second_moment[0])
    ends = np.stack([np.maximum(sizes - table.error, 0.0), sizes + table.error]) ** 2
    slack = 2 * table.error * (moment**0.5 + table.error) + 16 * U * moment
    missing = max(0.0, moment - float(ends[0].sum()) * (1 - (order + 4) * U)) + slack
    total = np.array([[moment - slack], [moment + slack]])
    return _Weights(
        _widened(ends * factor, 6), missing * float(factor[1, 0]), _widened(total * factor, 2)
    )


def _taylor(weights: list[_Weights], at_zero: Array, rest: Array, degree: int) -> list[Array]:
    """Σ_r α_r² P(Bin(r, 1 − c_0) = j) for each of the weights: ends (2, degree+1).

    The terms above R are at most what is missing there times the probability at R + 1, since it
    falls in r beyond its largest at r = j/(1 − c_0).
    """
    terms = weights[0].ends.shape[1] - 1
    rows = np.zeros((2, terms + 2, degree + 1))
    rows[:, 0, 0] = 1.0
    for r in range(1, terms + 2):
        rows[:, r, 0] = at_zero[:, 0] * rows[:, r - 1, 0]
        rows[:, r, 1:] = at_zero * rows[:, r - 1, 1:] + rest * rows[:, r - 1, :-1]
        if r % 64 == 0:
            rows[:, r][rows[:, r] < _SMALLEST] = 0.0
    made = []
    for w in weights:
        total = np.einsum("er,erj->ej", w.ends, rows[:, :-1])
        lost = (terms + 2) ** 2 * _SMALLEST * (1 + float(w.moment[1, 0]))
        total[1] += w.missing * rows[1, -1] + lost
        made.append(_widened(total, 6 * (terms + 2)))
    return made

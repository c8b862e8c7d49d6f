"""The coefficients of activations in orthonormal and generalised Hermite polynomials.

For z ~ N(0, 1) and any variance a, E[φ(√a z) h_r(z)] is the coefficient of φ at the polynomial
H_r^{[a]}(x) = a^{-r/2} h_r(x/√a), up to the power of a that :class:`Coefficients` explains
(Nguyen et al. 2021, eq. 8; Banerjee et al. 2023, Definition 4.1 with its corrections).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ntkscope._base.arrays import Array, as_numpy, is_numpy, like, namespace
from ntkscope.activations.activation import Activation, Elementwise
from ntkscope.activations.expectation import DENSITY, REACH
from ntkscope.activations.polynomials import functions_on_grid, hermite_polynomials
from ntkscope.activations.registry import activation as resolve_activation
from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Result, Tabular

_U = float(np.finfo(np.float64).eps) / 2
_ROUNDING = 64 * _U  # what a sum over the nodes loses, relative to √E f²
_MAX_NODES = 1 << 15
_CHUNK = 1 << 22  # entries of a (variances × nodes) table that are held at once
_MOST_SUMMED = 10_000  # the order of a summary


@dataclass(frozen=True, eq=False)
class Coefficients(Drawn, Tabular, Result):
    """α_r(a) = E[φ(√a z) h_r(z)], z ~ N(0, 1), for every variance a.

    They satisfy E[φ(u)φ(v)] = Σ_r α_r(a) α_r(b) ρ^r for u ~ N(0, a), v ~ N(0, b) of correlation ρ.
    ``generalised`` is μ_r^{[a]} = α_r(a) a^{−r/2}, for which the same sum is Σ μ_r^{[a]} μ_r^{[b]} C^r
    with the covariance C.

    All arrays are of one kind: NumPy's where the variances were, tensors elsewhere.

    Attributes
    ----------
    values: (V, R+1), a row for each variance.
    variances: (V,).
    second_moment: (V,) E φ(√a z)², by quadrature of its own.
    error: a bound on the absolute error of an entry of ``values``, as the quadrature estimates it.
    """

    values: Any
    variances: Any
    second_moment: Any
    error: float

    @property
    def order(self) -> int:
        return int(self.values.shape[1]) - 1

    def _rows(self) -> list[dict[str, Any]]:
        pairs = zip(self.variances.tolist(), self.values.tolist(), strict=True)
        return [
            {"variance": a, "order": r, "value": v} for a, row in pairs for r, v in enumerate(row)
        ]

    def _chart(self) -> Chart:
        """|α_r| over r, a curve for each variance."""
        sizes = zip(self.variances.tolist(), abs(self.values).tolist(), strict=True)
        found = {f"variance {a:g}": row for a, row in sizes}
        return charts.curves(
            "order r", "|α_r|", range(self.order + 1), found, log=(False, True),
            errors={name: [self.error] * len(row) for name, row in found.items()},
        )  # fmt: skip

    @property
    def generalised(self) -> Any:
        """(V, R+1) μ_r^{[a]} = E_{x~N(0,a)}[φ(x) H_r^{[a]}(x)]; needs every variance positive."""
        a, values = as_numpy(self.variances), as_numpy(self.values)
        if bool((a <= 0).any()):
            raise ValueError("generalised coefficients need positive variances, got 0")
        return like(self.values, values * a[:, None] ** (-0.5 * np.arange(values.shape[1])))

    @property
    def tails(self) -> Any:
        """(V, R+1) Σ_{s>r} α_s² for every r: what a sum that stops at r leaves out at ρ = 1.

        By Parseval, from E φ²; it cannot be seen below about 1e-15 of E φ².
        """
        squares = as_numpy(self.values) ** 2
        left = as_numpy(self.second_moment)[:, None] - np.cumsum(squares, 1)
        # summed from the end the known part keeps its digits; the unknown rest is left[:, -1]
        known = np.cumsum(squares[:, ::-1], 1)[:, ::-1]
        rest = np.maximum(left[:, -1:], 0.0)
        return like(self.values, np.concatenate([known[:, 1:], np.zeros_like(rest)], 1) + rest)

    def series(self, x: Any, order: int | None = None) -> Any:
        """Σ_{r≤order} μ_r^{[a]} a^r H_r^{[a]}(x) for the first variance: φ's partial sum at x."""
        top = self.order if order is None else order
        if not 0 <= top <= self.order:
            raise ValueError(f"order must be within 0 … {self.order}, got {top}")
        values, a = as_numpy(self.values)[0, : top + 1], float(self.variances[0])
        points = as_numpy(x)
        if a == 0:
            return like(x, np.full_like(points, values[0]))
        return like(x, np.tensordot(values, hermite_polynomials(top, points / math.sqrt(a)), 1))


def hermite_coefficients(
    phi: str | Activation | Elementwise,
    order: int,
    variance: float | Sequence[float] | Any = 1.0,
    *,
    derivative: bool = False,
) -> Coefficients:
    """The coefficients α_0, …, α_order of an activation, or of φ′, at one variance or many.

    Closed forms for positively homogeneous activations (ReLU: Nguyen et al. 2021, eq. 8), erf and
    sin; quadrature for the rest, which halves its step until two steps agree.

    Variances in a NumPy array give NumPy arrays; everything else gives tensors.

    Parameters
    ----------
    phi: a name, an :class:`Activation` or a callable.
    order: the highest order.
    variance: of the Gaussian argument, one number or several.
    derivative: the coefficients of φ′ in place of φ.

    Returns
    -------
    Coefficients, with the error of the quadrature.

    Raises ValueError for a negative variance or order, and for an activation whose E φ² is not
    finite.
    """
    activation = resolve_activation(phi)
    if isinstance(order, bool) or not isinstance(order, int):
        raise TypeError(f"order must be an integer, got {order!r}")
    if order < 0:
        raise ValueError(f"order must be at least 0, got {order}")
    a = _variances(variance)
    check_variances(a)
    closed = closed_coefficients(activation, order, a, derivative)
    if closed is not None:
        return closed
    return Quadrature(activation, derivative).coefficients(a, order)


def _variances(variance: Any) -> Any:
    if is_numpy(variance):
        return np.atleast_1d(as_numpy(variance))
    import torch

    return torch.atleast_1d(torch.as_tensor(variance, dtype=torch.float64))


def check_variances(a: Any) -> None:
    """Raise ValueError unless every variance is finite and at least 0."""
    if not bool((namespace(a).isfinite(a) & (a >= 0)).all()):
        raise ValueError(f"variances must be finite and at least 0, got {float(a.min())} at least")


def closed_coefficients(
    phi: Activation, order: int, a: Any, derivative: bool
) -> Coefficients | None:
    """The coefficients where they have a closed form, None elsewhere."""
    if phi.hermite is None:
        return None
    values, moment = phi.hermite(order, as_numpy(a), derivative)
    error = 2.0 * _U * float((np.abs(values) * np.arange(4.0, order + 5.0)).max())
    return Coefficients(like(a, values), a, like(a, moment), error)


class Quadrature:
    """Integrals of f = φ or φ′ against Gaussians of many variances, on nodes chosen once.

    An analytic f takes the trapezoidal rule on the line, which converges geometrically; between
    kinks Gauss-Legendre panels stand on each variance's own nodes.
    """

    def __init__(self, phi: Activation, derivative: bool = False) -> None:
        self.phi = phi
        self.f: Elementwise = phi.derivative if derivative else phi.phi
        self.what = f"φ′ of {phi}" if derivative else f"{phi}"
        self.kinks = phi.kinks
        self._steps: dict[tuple[int, bytes], tuple[float, float]] = {}

    def moments(self, variances: Any) -> tuple[Any, float]:
        """E f(√a z)² for every a, as they are, and the largest relative error."""
        a = as_numpy(variances)
        step, error = self._step(a, 0)
        return like(variances, self._tables(a, 0, step)[1]), error

    def coefficients(self, variances: Any, order: int) -> Coefficients:
        """α_0, …, α_order for every a."""
        a = as_numpy(variances)
        step, error = self._step(a, order)
        values, moment = self._tables(a, order, step)
        scale = math.sqrt(float(moment.max()))
        return Coefficients(
            like(variances, values), variances, like(variances, moment), error * scale
        )

    def _tables(self, a: Array, order: int, step: float) -> tuple[Array, Array]:
        """:meth:`_table` in parts that fit in the memory set aside for one."""
        rows = max(1, _CHUNK // math.ceil(2 * REACH / step))
        parts = [self._table(a[i : i + rows], order, step) for i in range(0, len(a), rows)]
        values, moment = (np.concatenate(column) for column in zip(*parts, strict=True))
        return values, moment

    def _step(self, a: Array, order: int) -> tuple[float, float]:
        """A step at which half the step changes nothing, and the relative error that is left."""
        probes = np.unique(np.quantile(a, np.linspace(0, 1, 5)))
        key = (order, probes.tobytes())
        if key not in self._steps:
            self._steps[key] = self._find_step(probes, order)
        return self._steps[key]

    def _find_step(self, probes: Array, order: int) -> tuple[float, float]:
        step = 2.0 * math.pi / (math.sqrt(order + 1.0) + 20.0)
        values, moment = self._table(probes, order, step)
        while True:
            step *= 0.5
            finer, finer_moment = self._table(probes, order, step)
            size = np.maximum(finer_moment, np.finfo(np.float64).tiny)
            off = float((np.abs(finer - values).max(1) / np.sqrt(size)).max())
            error = max(off, float((np.abs(finer_moment - moment) / size).max()))
            if error <= _ROUNDING or 4 * REACH / step > _MAX_NODES:
                return step, max(error, _ROUNDING)
            values, moment = finer, finer_moment

    def _table(self, a: Array, order: int, step: float) -> tuple[Array, Array]:
        """((V, order+1) coefficients, (V,) second moments) at one step."""
        reach = self._reach(float(a.max()))
        root = np.sqrt(a)[:, None]
        if not self.kinks:
            half = math.ceil(reach / step)
            z = np.arange(-half, half + 1.0) * step
            weights = np.full_like(z, step * DENSITY)
        else:
            z, weights = _panels(self.kinks, root, reach, 4.0 * step)
        decay = np.exp(-0.25 * z * z)
        f, mirrored = (self._evaluate(x) * decay for x in (root * z, -root * z))
        moment = ((f * f) * weights).sum(1)
        vanishing = _vanishing(f, mirrored, weights, moment)
        f = f * weights
        on_grid = z.ndim == 1
        values = (
            f @ functions_on_grid(order, half, step).T if on_grid else _project_by_row(f, z, order)
        )
        values[:, vanishing] = 0.0
        return values, moment

    def _evaluate(self, x: Array) -> Array:
        out = self.f(x)
        if not isinstance(out, np.ndarray) or out.shape != x.shape:
            got = tuple(out.shape) if isinstance(out, np.ndarray) else type(out).__name__
            raise ValueError(
                f"activation {self.what} must keep the shape: got {got} for {tuple(x.shape)}"
            )
        if not bool(np.isfinite(out).all()):
            where = float(np.abs(x[~np.isfinite(out)]).min())
            raise ValueError(
                f"activation {self.what} is not finite at |z| = {where:.4g}, so E φ² is not finite "
                "or cannot be computed in float64; use an activation of slower growth"
            )
        return np.asarray(out, dtype=np.float64)

    def _reach(self, largest: float) -> float:
        """Where f(√a z)² e^{−z²/2} has died out. Raises ValueError where it does not."""
        z = np.linspace(0.0, REACH, 157)
        both = self._evaluate(math.sqrt(largest) * np.concatenate([z, -z])).reshape(2, -1)
        # ψ_r ≤ 1 leaves a single e^{−z²/4} beside f, so that is the factor that must die
        size = np.abs(both).max(0) * np.exp(-0.25 * z * z)
        alive = np.flatnonzero(size > 1e-3 * _U * size.max())
        last = int(alive[-1]) if len(alive) else 0
        if last >= len(z) - 1:
            raise ValueError(
                f"E φ² is not finite for {self.what} at variance {largest:.6g} (φ² grows as fast "
                "as the Gaussian density falls); use a smaller variance or another activation"
            )
        return max(10.0, float(math.ceil(float(z[last + 1]))))


def _vanishing(f: Array, mirrored: Array, weights: Array, moment: Array) -> slice:
    """The orders at which the coefficients are 0: even ones of an odd f, odd ones of an even f.

    Rounding may part f(z) and ∓f(−z). Where it does so by less than 8u of f, in the norm of E f²,
    those coefficients are below 4u √E f², which their error has room for.
    """
    for sign, first in ((1.0, 0), (-1.0, 1)):
        apart = (((f + sign * mirrored) ** 2) * weights).sum(1)
        if bool((apart <= (8.0 * _U) ** 2 * moment).all()):
            return slice(first, None, 2)
    return slice(0)


def _panels(
    kinks: tuple[float, ...], root: Array, reach: float, width: float
) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights, (V, M): panels of at most ``width`` between the kinks."""
    cuts = np.array(kinks) / np.maximum(root, np.finfo(np.float64).tiny)
    cuts = np.sort(np.clip(cuts, -reach, reach), axis=1)
    ends = np.full_like(root, reach)
    edges = np.concatenate([-ends, cuts, ends], 1)
    count = math.ceil(2.0 * reach / width)
    share = np.arange(count) / count
    low = edges[:, :-1, None] + share * (edges[:, 1:] - edges[:, :-1])[:, :, None]
    size = ((edges[:, 1:] - edges[:, :-1]) / count)[:, :, None, None]
    nodes, weights = np.polynomial.legendre.leggauss(12)
    z = low[..., None] + size * ((nodes + 1.0) / 2.0)
    w = np.broadcast_to(size * (0.5 * weights * DENSITY), z.shape)
    return z.reshape(len(root), -1), w.reshape(len(root), -1)


def _project_by_row(f: Array, z: Array, order: int) -> Array:
    """Σ_m f_im ψ_r(z_im) for each row's own nodes, without an R×V×M table."""
    out = np.empty((len(f), order + 1))
    before, now = np.zeros_like(z), np.exp(-0.25 * z * z)
    for r in range(order + 1):
        out[:, r] = np.einsum("im,im->i", f, now)
        before, now = now, (z * now - math.sqrt(r) * before) / math.sqrt(r + 1.0)
    return out


def summary(phi: str | Activation | Elementwise, order: int, variance: float) -> dict[str, Any]:
    """What the command line shows: coefficients, tails, c_{φ,σ0} = E φ², ν_0² = σ_0²/c, partial sums."""
    activation = resolve_activation(phi)
    if order > _MOST_SUMMED:
        raise ValueError(f"a summary goes up to order {_MOST_SUMMED}, got {order}")
    table = hermite_coefficients(activation, order, np.array([variance], dtype=np.float64))
    c = float(table.second_moment[0])
    spread = 2.0 * math.sqrt(variance)
    x = np.linspace(-2.0 * spread, 2.0 * spread, 201)
    orders = sorted({max(0, round(order * share)) for share in (0.125, 0.25, 0.5, 1.0)})
    return {
        "activation": str(activation),
        "variance": float(variance),
        "coefficients": table.values[0].tolist(),
        "generalised": table.generalised[0].tolist() if variance > 0 else None,
        "tails": table.tails[0].tolist(),
        "error": table.error,
        "second_moment": c,
        "nu0_sq": variance / c if c > 0 else None,
        "partial_sums": {
            "x": x.tolist(),
            "phi": activation(x).tolist(),
            "spread": spread,
            "orders": {str(r): table.series(x, r).tolist() for r in orders},
        },
    }

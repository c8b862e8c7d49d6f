"""Orthonormal and generalised Hermite polynomials, and the coefficients of activations in them.

For z ~ N(0, 1) and any variance a, E[φ(√a z) h_r(z)] is the coefficient of φ at the polynomial
H_r^{[a]}(x) = a^{-r/2} h_r(x/√a), up to the power of a that :class:`Coefficients` explains
(Nguyen et al. 2021, eq. 8; Banerjee et al. 2023, Definition 4.1 with its corrections).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.activations.activation import Activation, Elementwise
from ntkscope.activations.activation import activation as resolve_activation

_REACH = 39.0  # the standard normal density is 0 in float64 beyond it
_U = torch.finfo(torch.float64).eps / 2
_ROUNDING = 64 * _U  # what a sum over the nodes loses, relative to √E f²
_MAX_NODES = 1 << 15
_CHUNK = 1 << 22  # entries of a (variances × nodes) table that are held at once
_DENSITY = 1.0 / math.sqrt(2.0 * math.pi)


@dataclass(frozen=True)
class Expectation:
    """E[f(z)] with the quadrature's own error estimate."""

    value: float
    error: float


def gaussian_expectation(
    f: Elementwise, variance: float = 1.0, kinks: tuple[float, ...] = ()
) -> Expectation:
    """E f(z) for z ~ N(0, variance), by adaptive quadrature split at the kinks.

    Slow and independent of the tables below. Raises ValueError if the variance is negative or the
    integral is not finite.
    """
    if not variance >= 0:
        raise ValueError(f"variance must be at least 0, got {variance}")
    if variance == 0:
        return Expectation(float(f(torch.zeros((), dtype=torch.float64))), 0.0)
    from scipy.integrate import quad  # 0.2 s that those who need no quadrature need not wait

    scale = math.sqrt(variance)

    def integrand(z: float) -> float:
        value = float(f(torch.tensor(scale * z, dtype=torch.float64)))
        return value * math.exp(-0.5 * z * z) * _DENSITY

    cuts = sorted({-_REACH, 0.0, _REACH, *(k / scale for k in kinks if abs(k / scale) < _REACH)})
    total, error = 0.0, 0.0
    for low, high in itertools.pairwise(cuts):
        # the mass sits within ten standard deviations; a cut there keeps quad from missing it
        inner = sorted({low, high, *(c for c in (-8.0, -2.0, 2.0, 8.0) if low < c < high)})
        for a, b in itertools.pairwise(inner):
            value, bar = quad(integrand, a, b, epsabs=0.0, epsrel=1e-13, limit=200)
            total, error = total + value, error + bar
    if not math.isfinite(total):
        raise ValueError(f"E f(z) is not finite for z ~ N(0, {variance})")
    return Expectation(total, error)


@lru_cache(maxsize=1024)
def second_moment(phi: Activation, variance: float) -> float:
    """c_{φ,σ} = E φ(z)² for z ~ N(0, σ²); Banerjee et al. 2023, Theorem 4.1."""
    return gaussian_expectation(lambda z: phi(z) ** 2, variance, phi.kinks).value


def hermite_functions(order: int, z: Float[Tensor, "*nodes"]) -> Float[Tensor, R * nodes]:
    """ψ_r(z) = h_r(z) e^{−z²/4} for r = 0, …, order; bounded by 1, so no order overflows.

    h_r are orthonormal for N(0, 1): h_{r+1} = (z h_r − √r h_{r−1})/√(r+1).
    """
    if order < 0:
        raise ValueError(f"order must be at least 0, got {order}")
    table = torch.empty(order + 1, *z.shape, dtype=z.dtype, device=z.device)
    torch.exp(-0.25 * z * z, out=table[0])
    if order:
        torch.mul(z, table[0], out=table[1])
    for r in range(1, order):
        torch.mul(z, table[r], out=table[r + 1])
        table[r + 1].sub_(table[r - 1], alpha=math.sqrt(r)).mul_(1.0 / math.sqrt(r + 1.0))
    return table


def hermite_polynomials(
    order: int, x: Float[Tensor, "*points"], variance: float = 1.0
) -> Float[Tensor, R * points]:
    """H_r^{[a]}(x) = a^{−r/2} h_r(x/√a), r = 0, …, order; E H_r H_s = a^{−r} δ_rs for N(0, a)."""
    if not (math.isfinite(variance) and variance > 0):
        raise ValueError(f"variance must be positive and finite, got {variance}")
    if order < 0:
        raise ValueError(f"order must be at least 0, got {order}")
    table = torch.empty(order + 1, *x.shape, dtype=x.dtype, device=x.device)
    table[0] = 1.0
    if order:
        table[1] = x / variance
    for r in range(1, order):
        # the recurrence of h_r with every z = x/√a and every step weighed by a^{−1/2}
        table[r + 1] = (x * table[r] - math.sqrt(r) * table[r - 1]) / (
            variance * math.sqrt(r + 1.0)
        )
    return table


@functools.lru_cache(maxsize=16)
def _functions_on_grid(order: int, half: int, step: float) -> Tensor:
    """ψ_r on the nodes of a trapezoidal rule: φ, φ′ and every layer share them."""
    z = torch.arange(-half, half + 1, dtype=torch.float64) * step
    return hermite_functions(order, z)


@dataclass(frozen=True, eq=False)
class Coefficients:
    """α_r(a) = E[φ(√a z) h_r(z)], z ~ N(0, 1), for every variance a.

    They satisfy E[φ(u)φ(v)] = Σ_r α_r(a) α_r(b) ρ^r for u ~ N(0, a), v ~ N(0, b) of correlation ρ.
    ``generalised`` is μ_r^{[a]} = α_r(a) a^{−r/2}, for which the same sum is Σ μ_r^{[a]} μ_r^{[b]} C^r
    with the covariance C.

    Attributes
    ----------
    values: (V, R+1), a row for each variance.
    variances: (V,).
    second_moment: (V,) E φ(√a z)², by quadrature of its own.
    error: a bound on the absolute error of an entry of ``values``, as the quadrature estimates it.
    """

    values: Float[Tensor, "V R"]
    variances: Float[Tensor, V]
    second_moment: Float[Tensor, V]
    error: float

    @property
    def order(self) -> int:
        return int(self.values.shape[1]) - 1

    @property
    def generalised(self) -> Float[Tensor, "V R"]:
        """μ_r^{[a]} = E_{x~N(0,a)}[φ(x) H_r^{[a]}(x)]; needs every variance positive."""
        if bool((self.variances <= 0).any()):
            raise ValueError("generalised coefficients need positive variances, got 0")
        powers = torch.arange(self.values.shape[1], dtype=self.values.dtype)
        return self.values * self.variances[:, None] ** (-0.5 * powers)

    @property
    def tails(self) -> Float[Tensor, "V R"]:
        """Σ_{s>r} α_s² for every r: what a sum that stops at r leaves out at ρ = 1.

        By Parseval, from E φ²; it cannot be seen below about 1e-15 of E φ².
        """
        left = self.second_moment[:, None] - torch.cumsum(self.values**2, 1)
        # summed from the end the known part keeps its digits; the unknown rest is left[:, -1]
        known = torch.flip(torch.cumsum(torch.flip(self.values**2, (1,)), 1), (1,))
        rest = torch.clamp(left[:, -1:], min=0.0)
        shifted = torch.cat([known[:, 1:], torch.zeros_like(rest)], 1)
        return shifted + rest

    def series(self, x: Float[Tensor, "*points"], order: int | None = None) -> Tensor:
        """Σ_{r≤order} μ_r^{[a]} a^r H_r^{[a]}(x) for the first variance: φ's partial sum at x."""
        top = self.order if order is None else order
        if not 0 <= top <= self.order:
            raise ValueError(f"order must be within 0 … {self.order}, got {top}")
        a = float(self.variances[0])
        if a == 0:
            return torch.full_like(x, float(self.values[0, 0]))
        table = hermite_polynomials(top, x / math.sqrt(a))
        return torch.tensordot(self.values[0, : top + 1].to(x.dtype), table, dims=1)


def hermite_coefficients(
    phi: str | Activation | Elementwise,
    order: int,
    variance: float | Sequence[float] | Float[Tensor, V] = 1.0,
    *,
    derivative: bool = False,
) -> Coefficients:
    """The coefficients α_0, …, α_order of an activation, or of φ′, at one variance or many.

    Closed forms for positively homogeneous activations (ReLU: Nguyen et al. 2021, eq. 8), erf and
    sin; quadrature for the rest, which halves its step until two steps agree.

    Raises ValueError for a negative variance or order, and for an activation whose E φ² is not
    finite.
    """
    activation = resolve_activation(phi)
    if isinstance(order, bool) or not isinstance(order, int):
        raise TypeError(f"order must be an integer, got {order!r}")
    if order < 0:
        raise ValueError(f"order must be at least 0, got {order}")
    a = torch.atleast_1d(torch.as_tensor(variance, dtype=torch.float64))
    check_variances(a)
    closed = closed_coefficients(activation, order, a, derivative)
    if closed is not None:
        return closed
    return Quadrature(activation, derivative).coefficients(a, order)


def check_variances(a: Tensor) -> None:
    """Raise ValueError unless every variance is finite and at least 0."""
    if not bool((torch.isfinite(a) & (a >= 0)).all()):
        raise ValueError(f"variances must be finite and at least 0, got {float(a.min())} at least")


def homogeneous_parts(phi: Activation) -> tuple[float, float] | None:
    """(p, q) with φ(z) = p z + q|z|, for a positively homogeneous φ; None for any other."""
    if phi.homogeneity != 1:
        return None
    plus, minus = phi(torch.tensor([1.0, -1.0], dtype=torch.float64)).tolist()
    return (plus - minus) / 2.0, (plus + minus) / 2.0


def closed_coefficients(
    phi: Activation, order: int, a: Tensor, derivative: bool
) -> Coefficients | None:
    """The coefficients where they have a closed form, None elsewhere."""
    parts = homogeneous_parts(phi)
    if parts is not None:
        values, moment = _homogeneous_closed(*parts, order, a, derivative)
    elif phi.name in ("erf", "sin") and not phi.custom:
        values, moment = (_erf_closed if phi.name == "erf" else _sin_closed)(order, a, derivative)
    else:
        return None
    grades = torch.arange(4.0, order + 5.0, dtype=values.dtype)
    error = 2.0 * _U * float((values.abs() * grades).max())
    return Coefficients(values, a, moment, error)


def _absolute_coefficients(order: int) -> list[float]:
    """E[|z| h_r(z)]: twice ReLU's at even r (Nguyen et al. 2021, eq. 8), 0 at odd r."""
    values = [0.0] * (order + 1)
    for r in range(0, order + 1, 2):
        values[r] = (
            math.sqrt(2.0 / math.pi)
            if r == 0
            else -values[r - 2] * (r - 3) / math.sqrt((r - 1.0) * r)
        )
    return values


def _homogeneous_closed(
    p: float, q: float, order: int, a: Tensor, derivative: bool
) -> tuple[Tensor, Tensor]:
    modulus = _absolute_coefficients(order + 1)
    if derivative:
        # φ′ = p + q sign(z), and E[sign h_r] = √(r+1) E[|z| h_{r+1}]; no variance enters
        row = [q * math.sqrt(r + 1.0) * modulus[r + 1] for r in range(order + 1)]
        row[0] += p
        values = torch.tensor(row, dtype=a.dtype).repeat(len(a), 1)
        return values, torch.full_like(a, p * p + q * q)
    row = [q * m for m in modulus[: order + 1]]
    if order:
        row[1] += p
    return torch.sqrt(a)[:, None] * torch.tensor(row, dtype=a.dtype), (p * p + q * q) * a


def _erf_closed(order: int, a: Tensor, derivative: bool) -> tuple[Tensor, Tensor]:
    t = torch.sqrt(2.0 * a / (1.0 + 2.0 * a))
    values = torch.zeros(len(a), order + 1, dtype=a.dtype)
    # E[φ(u)φ(v)] = (2/π) asin(t_a t_b ρ), E[φ′φ′] = (4/π)/√((1+2a)(1+2b)) (1 − (t_a t_b ρ)²)^{-1/2}
    ratio, power = 1.0, 1.0
    for k in range((order + 2) // 2):
        r = 2 * k if derivative else 2 * k + 1
        if r > order:
            break
        # ratio = (2k)!/(4^k k!²), the coefficient of (1 − x²)^{-1/2}
        c = ratio if derivative else ratio / (2 * k + 1)
        values[:, r] = power * math.sqrt(c) * t**r
        ratio *= (2 * k + 1) / (2 * k + 2)
        power = -power
    if derivative:
        values *= torch.sqrt(4.0 / math.pi / (1.0 + 2.0 * a))[:, None]
        return values, 4.0 / (math.pi * torch.sqrt(1.0 + 4.0 * a))
    values *= math.sqrt(2.0 / math.pi)
    return values, (2.0 / math.pi) * torch.atan2(2.0 * a, torch.sqrt(1.0 + 4.0 * a))


def _sin_closed(order: int, a: Tensor, derivative: bool) -> tuple[Tensor, Tensor]:
    values = torch.zeros(len(a), order + 1, dtype=a.dtype)
    for r in range(0 if derivative else 1, order + 1, 2):
        # i^r a^{r/2} e^{−a/2}/√r! is E[e^{i√a z} h_r]; in logarithms, since a^r and r! overflow
        log = 0.5 * torch.special.xlogy(torch.full_like(a, float(r)), a) - 0.5 * math.lgamma(r + 1)
        values[:, r] = (-1.0) ** (r // 2) * torch.exp(log - 0.5 * a)
    decay = torch.expm1(-2.0 * a)
    return values, 1.0 + 0.5 * decay if derivative else -0.5 * decay


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
        self._steps: dict[tuple[int, float], tuple[float, float]] = {}

    def moments(self, a: Float[Tensor, V]) -> tuple[Float[Tensor, V], float]:
        """E f(√a z)² for every a, and the largest relative error."""
        step, error = self._step(a, 0)
        parts = [self._table(part, 0, step)[1] for part in a.split(self._rows(step))]
        return torch.cat(parts), error

    def coefficients(self, a: Float[Tensor, V], order: int) -> Coefficients:
        """α_0, …, α_order for every a."""
        step, error = self._step(a, order)
        parts = [self._table(part, order, step) for part in a.split(self._rows(step))]
        values, moment = (torch.cat(column) for column in zip(*parts, strict=True))
        scale = float(moment.max().sqrt())
        return Coefficients(values, a, moment, error * scale)

    def _rows(self, step: float) -> int:
        return max(1, _CHUNK // math.ceil(2 * _REACH / step))

    def _step(self, a: Tensor, order: int) -> tuple[float, float]:
        """A step at which half the step changes nothing, and the relative error that is left."""
        key = (order, float(a.max()))
        if key not in self._steps:
            self._steps[key] = self._find_step(a, order)
        return self._steps[key]

    def _find_step(self, a: Tensor, order: int) -> tuple[float, float]:
        probes = torch.unique(torch.quantile(a, torch.linspace(0, 1, 5, dtype=a.dtype)))
        step = 2.0 * math.pi / (math.sqrt(order + 1.0) + 20.0)
        values, moment = self._table(probes, order, step)
        while True:
            step *= 0.5
            finer, finer_moment = self._table(probes, order, step)
            scale = torch.sqrt(finer_moment).clamp_min(torch.finfo(a.dtype).tiny)
            off = ((finer - values).abs().amax(1) / scale).max()
            off_moment = ((finer_moment - moment).abs() / scale**2).max()
            error = max(float(off), float(off_moment))
            if error <= _ROUNDING or 4 * _REACH / step > _MAX_NODES:
                return step, max(error, _ROUNDING)
            values, moment = finer, finer_moment

    def _table(self, a: Tensor, order: int, step: float) -> tuple[Tensor, Tensor]:
        """((V, order+1) coefficients, (V,) second moments) at one step."""
        reach = self._reach(float(a.max()))
        root = torch.sqrt(a)[:, None]
        if not self.kinks:
            half = math.ceil(reach / step)
            z = torch.arange(-half, half + 1, dtype=a.dtype, device=a.device) * step
            weights = torch.full_like(z, step * _DENSITY)
        else:
            z, weights = _panels(self.kinks, root, reach, 4.0 * step)
        root_density = torch.exp(-0.25 * z * z)
        f = self._evaluate(root * z) * root_density
        moment = ((f * f) * weights).sum(1)
        f = f * weights
        if z.ndim == 1:
            return f @ _functions_on_grid(order, half, step).to(z.device).T, moment
        return _project_by_row(f, z, order), moment

    def _evaluate(self, x: Tensor) -> Tensor:
        out = self.f(x)
        if not isinstance(out, Tensor) or out.shape != x.shape:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"activation {self.what} must keep the shape: got {got} for {tuple(x.shape)}"
            )
        if not bool(torch.isfinite(out).all()):
            where = float(x[~torch.isfinite(out)].abs().min())
            raise ValueError(
                f"activation {self.what} is not finite at |z| = {where:.4g}, so E φ² is not finite "
                "or cannot be computed in float64; use an activation of slower growth"
            )
        return out.to(x.dtype)

    def _reach(self, largest: float) -> float:
        """Where f(√a z)² e^{−z²/2} has died out. Raises ValueError where it does not."""
        z = torch.linspace(0.0, _REACH, 157, dtype=torch.float64)
        both = self._evaluate(math.sqrt(largest) * torch.cat([z, -z])).reshape(2, -1)
        # ψ_r ≤ 1 leaves a single e^{−z²/4} beside f, so that is the factor that must die
        size = both.abs().amax(0) * torch.exp(-0.25 * z * z)
        alive = torch.nonzero(size > 1e-3 * _U * size.max())
        last = int(alive[-1]) if len(alive) else 0
        if last >= len(z) - 1:
            raise ValueError(
                f"E φ² is not finite for {self.what} at variance {largest:.6g} (φ² grows as fast "
                "as the Gaussian density falls); use a smaller variance or another activation"
            )
        return max(10.0, float(math.ceil(float(z[last + 1]))))


def _panels(
    kinks: tuple[float, ...], root: Tensor, reach: float, width: float
) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights, (V, M): panels of at most ``width`` between the kinks."""
    cuts = torch.tensor(kinks, dtype=root.dtype) / root.clamp_min(torch.finfo(root.dtype).tiny)
    cuts = torch.sort(cuts.clamp(-reach, reach), dim=1).values
    ends = torch.full_like(root, reach)
    edges = torch.cat([-ends, cuts, ends], 1)
    count = math.ceil(2.0 * reach / width)
    share = torch.arange(count, dtype=root.dtype) / count
    low = edges[:, :-1, None] + share * (edges[:, 1:] - edges[:, :-1])[:, :, None]
    size = ((edges[:, 1:] - edges[:, :-1]) / count)[:, :, None, None]
    nodes, weights = _legendre()
    z = low[..., None] + size * nodes
    w = (size * weights * _DENSITY).expand_as(z)
    return z.reshape(len(root), -1), w.reshape(len(root), -1)


def _legendre() -> tuple[Tensor, Tensor]:
    """The 12-point Gauss-Legendre rule on [0, 1]."""
    from numpy.polynomial.legendre import leggauss

    nodes, weights = (torch.from_numpy(x) for x in leggauss(12))
    return (nodes + 1.0) / 2.0, weights / 2.0


def _project_by_row(f: Tensor, z: Tensor, order: int) -> Tensor:
    """Σ_m f_im ψ_r(z_im) for each row's own nodes, without an R×V×M table."""
    out = torch.empty(len(f), order + 1, dtype=f.dtype)
    before, now = torch.zeros_like(z), torch.exp(-0.25 * z * z)
    for r in range(order + 1):
        out[:, r] = torch.linalg.vecdot(f, now)
        after = (z * now - math.sqrt(r) * before) / math.sqrt(r + 1.0)
        before, now = now, after
    return out


def summary(phi: str | Activation | Elementwise, order: int, variance: float) -> dict[str, Any]:
    """What the command line shows: coefficients, tails, c_{φ,σ0} = E φ², ν_0² = σ_0²/c, partial sums."""
    activation = resolve_activation(phi)
    table = hermite_coefficients(activation, order, variance)
    c = float(table.second_moment[0])
    spread = 2.0 * math.sqrt(variance)
    x = torch.linspace(-2.0 * spread, 2.0 * spread, 201, dtype=torch.float64)
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

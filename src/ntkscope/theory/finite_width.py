"""λ_min of the empirical NTK from the widths alone: a deterministic equivalent, part by part.

K = Σ_k (F_k F_kᵀ) ∘ (B_{k+1} B_{k+1}ᵀ). Features and signals split into what all neurons share (a
constant in x), what is linear in the layer's input, and the rest, in which neurons are independent.
A product of such parts is a Gram matrix of p random features with a zonal limit Σ_r c_{g,r} P_r, so
by the Marchenko-Pastur argument applied to features of unequal strength u,

    C_r = Σ_g c_{g,r} E[u/(1 + u δ_g)],    δ_g = (N m/p_g) Σ_r c_{g,r}/(1 + γ_r C_r m),

and K has the resolvent of the zonal kernel Σ_r C_r P_r (compare Fan and Wang 2020, whose iterated
Marchenko-Pastur law is the case of a single part). ‖f_k‖²‖b_{k+1}‖² also varies from row to row by
the neurons' fourth moments; that spread enters as row scales, log-normal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from ntkscope.activations import Activation
from ntkscope.hermite import hermite_coefficients
from ntkscope.kernels.zonal import zonal_layers
from ntkscope.networks import Network
from ntkscope.theory import gegenbauer
from ntkscope.theory.resolvent import Resolvent

Array = NDArray[np.float64]

_SURE = 1e18  # "features" of a part that is not random
_QUANTILES = 40

# lowest and highest mean of measured / predicted over the grid in docs/prediction.md, rounded out
_MEASURED = {
    ("smooth", 2): (0.90, 1.10),
    ("smooth", 3): (0.75, 1.15),
    ("kinked", 2): (0.90, 1.05),
    ("kinked", 3): (0.70, 1.05),
}


@dataclass(frozen=True)
class _Part:
    """One part of a layer's Gram matrix.

    values: on the quadrature nodes, θ = 0 last. count: independent features. random: whether they
    are drawn. strengths: squared sizes of the features, of mean 1. spread: relative variance of the
    squared norm from row to row.
    """

    values: Array
    count: float
    random: bool
    strengths: Array
    spread: float


@dataclass(frozen=True)
class FiniteWidth:
    """What the widths do to the smallest eigenvalue.

    value: λ_min of the empirical kernel. limit: λ_min of the limiting kernel by the same solver.
    spread: relative variance of the rows' scale.
    lower, upper: the range of measured / predicted on the grid of docs/prediction.md, for networks
        of this kind.
    """

    value: float
    limit: float
    spread: float
    lower: float
    upper: float


def finite_width(
    net: Network,
    n_samples: int | float,
    norm_sq: float | None = None,
    log_variance: float = 0.0,
) -> FiniteWidth:
    """λ_min of ``empirical_ntk`` on N inputs uniform on the sphere of squared radius ``norm_sq`` (d).

    ``log_variance`` is what unequal norms add to the variance of the logarithm of the rows' scale.

    Raises ValueError outside the domain on which it was measured (:func:`outside`).
    """
    reason = outside(net, n_samples)
    if reason:
        raise ValueError(f"no finite-width prediction: {reason}")
    N = float(n_samples)
    groups = _groups(net, N, float(net.dim) if norm_sq is None else norm_sq)
    value, spread = _Solver(net.dim, N, groups).smallest(log_variance)
    wide = _Part(sum_values(groups), _SURE, False, np.ones(1), 0.0)
    limit, _ = _Solver(net.dim, N, [wide]).smallest(log_variance)
    lower, upper = _MEASURED["kinked" if net.activation.kinks else "smooth", min(net.depth, 3)]
    return FiniteWidth(value, limit, spread, lower, upper)


def outside(net: Network, n_samples: int | float) -> str:
    """Why ``net`` lies outside the domain in which the law was measured; empty inside it."""
    if not net.finite:
        return "it needs finite widths"
    narrow = min(net.widths[1:-1])
    faults = [
        (net.depth > 4, f"measured for 2 to 4 layers, got {net.depth}"),
        (net.dim < 50, f"measured for d ≥ 50, got {net.dim}"),
        (narrow < 100, f"measured for hidden widths of at least 100, got {int(narrow)}"),
        (net.n_outputs != 1, f"it needs a single output, got {net.n_outputs}"),
        (net.weights != "gaussian", f"it needs Gaussian weights, got {net.weights}"),
        (net.bias_std is not None, "it covers networks without biases"),
        (bool(net.residual), "it covers plain networks, without residual connections"),
        (net.paired, "it does not cover paired initializations"),
    ]
    if any(fault for fault, _ in faults):
        return "; ".join(text for fault, text in faults if fault)
    if net.n_parameters < 10 * n_samples:
        return (
            f"measured for at least ten parameters a sample, got {net.n_parameters} for "
            f"N = {n_samples:.0f}"
        )
    harmonics = 0.5 * net.dim * (net.dim + 1)
    if n_samples > 0.5 * harmonics:
        return f"measured for N ≤ d²/4, got N = {n_samples:.0f} and d = {net.dim}"
    return ""


def sum_values(parts: list[_Part]) -> Array:
    """The limiting kernel: the sum of all parts."""
    return np.asarray(np.sum([part.values for part in parts], axis=0))


def _groups(net: Network, N: float, norm_sq: float) -> list[_Part]:
    """The parts of every term of the kernel."""
    d = net.dim
    theta, weight, _ = gegenbauer._rule(d, gegenbauer.degrees_needed(d, N))

    def constant(values: Array) -> float:
        return float(weight @ values[:-1])

    size = torch.tensor([norm_sq], dtype=torch.float64)
    layers = list(zonal_layers(net, size, torch.from_numpy(theta)))
    A = [layer.features[0].numpy() for layer in layers]
    slopes = [layer.slope[0].numpy() for layer in layers[1:] if layer.slope is not None]
    widths = [float(n) for n in net.widths]
    features = _features(net, A, widths, constant)
    signals = _signals(net, A, slopes, widths, constant)
    groups = []
    for k in range(net.depth):
        for f in features[k]:
            for b in signals[k]:
                groups.append(_product(f, b))
    return groups


def _product(f: _Part, b: _Part) -> _Part:
    values = f.values * b.values
    if not (f.random or b.random):
        return _Part(values, _SURE, False, np.ones(1), 0.0)
    u = np.outer(f.strengths, b.strengths).reshape(-1)
    if len(u) > _QUANTILES:
        u = np.array([part.mean() for part in np.array_split(np.sort(u), _QUANTILES)])
    return _Part(values, f.count * b.count, True, u, f.spread + b.spread)


def _features(
    net: Network, A: list[Array], widths: list[float], constant: Any
) -> list[list[_Part]]:
    """F_0, …, F_{L−1}, each as a constant, a linear and a remaining part."""
    one = np.ones(1)
    out = [[_Part(A[0], widths[0], False, one, 0.0)]]
    for k in range(1, net.depth):
        n = widths[k]
        variance = net.betas[k - 1] ** 2 * float(A[k - 1][-1])
        rho = A[k - 1] / A[k - 1][-1]
        mean = constant(A[k])
        first = float(hermite_coefficients(net.activation, 1, variance).values[0, 1]) ** 2
        unit = float(A[k][-1]) / _moment(net.activation, variance)
        linear = unit * first * (rho - constant(rho))
        if k == 1:
            linear = unit * first * rho
        count = min(widths[k - 1], n)
        rest = A[k] - mean - linear
        out.append(
            [
                _Part(np.full_like(rho, mean), 1.0, False, one, 0.0),
                _Part(
                    linear, count, True, _marchenko_pastur(count / max(widths[k - 1], n)), 2.0 / n
                ),
                _Part(
                    rest,
                    n,
                    True,
                    one,
                    _fourth(net.activation, variance, constant(rho), False)[0] / n,
                ),
            ]
        )
    return out


def _signals(
    net: Network, A: list[Array], slopes: list[Array], widths: list[float], constant: Any
) -> list[list[_Part]]:
    """B_1, …, B_L: a constant part and those that vary with the input."""
    one = np.ones(1)
    chi = _chi_squared()
    out = [[_Part(np.ones_like(A[0]), 1.0, False, one, 0.0)]]
    for l in range(net.depth - 1, 0, -1):
        n = widths[l]
        size = net.betas[l] ** 2 * (n if net.parameterization == "standard" else 1.0)
        fixed = sum_values([p for p in out[0] if not p.random])
        moving = [p for p in out[0] if p.random]
        variance = net.betas[l - 1] ** 2 * float(A[l - 1][-1])
        shared = constant(A[l - 1] / A[l - 1][-1])
        frozen, drawn = _fourth(net.activation, variance, shared, True)
        mean = constant(slopes[l - 1])
        vary = slopes[l - 1] - mean
        parts = [
            _Part(size * fixed * mean, 1.0, False, one, 0.0),
            _Part(size * fixed * vary, n, True, chi, 3.0 * frozen / n),
        ]
        if moving:
            kernel = sum_values(moving)
            share = np.array([p.values[-1] for p in moving]) / kernel[-1]
            below = float(share @ np.array([p.spread for p in moving]))
            count = min(n, max(p.count for p in moving))
            strengths = chi if count < n or widths[l + 1] <= n else one
            parts += [
                _Part(size * kernel * mean, count, True, strengths, 2.0 / n + below),
                _Part(size * kernel * vary, n, True, one, (3.0 * drawn - 1.0) / n + below),
            ]
        out.insert(0, parts)
    return out


def _moment(phi: Activation, variance: float) -> float:
    return float(hermite_coefficients(phi, 1, variance).second_moment[0])


@lru_cache(maxsize=4)
def _gauss_hermite(n: int) -> tuple[Array, Array]:
    z, w = np.polynomial.hermite_e.hermegauss(n)
    return z, w / w.sum()


def _fourth(phi: Activation, variance: float, shared: float, slope: bool) -> tuple[float, float]:
    """(E Var_x ψ²/(E ψ²)², E ψ⁴/(E ψ²)²) of ψ = φ or φ′ less its mean over x.

    A share of a neuron's variance is the same for all inputs: its own mean, which is drawn.
    """
    z, w = _gauss_hermite(80)
    shared = min(max(shared, 0.0), 1.0)
    at = math.sqrt(variance) * (
        math.sqrt(shared) * z[:, None] + math.sqrt(1.0 - shared) * z[None, :]
    )
    f = phi.derivative if slope else phi.phi
    values = f(torch.from_numpy(at)).numpy()
    values = values - (values @ w)[:, None]
    if not slope:
        values = values - ((values * z) @ w)[:, None] * z
    second, fourth = (values**2) @ w, (values**4) @ w
    total = float(w @ second)
    if total <= 1e-14 * float(w @ (f(torch.from_numpy(at)).numpy() ** 2 @ w)):
        return 0.0, 1.0
    return float(w @ (fourth - second**2)) / total**2, float(w @ fourth) / total**2


def _chi_squared() -> Array:
    """Quantiles of the square of a Gaussian weight, of mean 1."""
    u = chi2.ppf((np.arange(_QUANTILES) + 0.5) / _QUANTILES, 1)
    return np.asarray(u / u.mean())


def _marchenko_pastur(ratio: float) -> Array:
    """Quantiles of the nonzero eigenvalues of a Wishart matrix of this aspect ratio, of mean 1."""
    low, high = (1.0 - math.sqrt(ratio)) ** 2, (1.0 + math.sqrt(ratio)) ** 2
    angle = (np.arange(2000) + 0.5) / 2000 * math.pi
    x = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)
    mass = np.cumsum(np.sin(angle) ** 2 / x)
    u = np.interp((np.arange(_QUANTILES) + 0.5) / _QUANTILES, mass / mass[-1], x)
    return np.asarray(u / u.mean())


class _Solver:
    """C_r and δ_g at a given m, and the edge over rows of unequal scale."""

    def __init__(self, dim: int, N: float, parts: list[_Part]) -> None:
        found = [gegenbauer.expand_values(part.values, dim, N) for part in parts]
        self.c = np.array([np.append(e.coefficients, e.tail) for e in found])
        self.gamma = np.append(np.exp(math.log(N) - found[0].log_multiplicities), 0.0)
        self.N = N
        self.p = np.array([part.count for part in parts])
        longest = max(len(part.strengths) for part in parts)
        self.u = np.array(
            [
                np.resize(np.sort(p.strengths), longest)
                if len(p.strengths) in (1, longest)
                else np.interp(
                    np.linspace(0, 1, longest),
                    np.linspace(0, 1, len(p.strengths)),
                    np.sort(p.strengths),
                )
                for p in parts
            ]
        )
        self.spread = np.array([part.spread for part in parts])

    def attenuated(self, m: Array) -> tuple[Array, Array]:
        """(C_r, what is left of every part), each with one row for every m."""
        load = self.N / self.p * m[:, None]
        delta = np.zeros((len(m), len(self.p)))
        for step in range(400):
            left = np.mean(self.u / (1.0 + self.u * delta[:, :, None]), axis=2)
            C = left @ self.c
            new = np.maximum(
                load * ((1.0 / (1.0 + self.gamma * C * m[:, None])) @ self.c.T), 1e-300
            )
            if step:  # alternating from above and below: the geometric mean settles
                new = np.sqrt(new * delta)
            if bool(np.all(np.abs(new - delta) <= 1e-8 * new)):
                break
            delta = new
        return C, left

    def smallest(self, log_variance: float) -> tuple[float, float]:
        """(λ_min, relative variance of the rows' scale at it)."""
        scale = float(self.c.sum())
        ms = np.geomspace(0.3 / scale, 1e5 / scale, 48)
        C, left = self.attenuated(ms)
        z = np.sum(C / (1.0 + self.gamma * C * ms[:, None]), axis=1) - 1.0 / ms
        best = int(np.argmax(z))
        m = float(ms[best])
        parts = left[best] * (self.c @ (1.0 / (1.0 + self.gamma * C[best] * m)))
        spread = float((parts / parts.sum()) @ np.sqrt(self.spread)) ** 2
        log_variance += math.log1p(spread)
        if log_variance < 1e-6:
            return float(z[best]), spread
        t, w = _log_normal(log_variance, self.N)
        values = [
            Resolvent(self.N, self.gamma, t[:, None] * row, w, t).state(float(x)).z
            for x, row in zip(ms, C, strict=True)
        ]
        return max(values), spread


def _log_normal(log_variance: float, N: float) -> tuple[Array, Array]:
    """Row scales of mean 1: the smallest 16 of N alone, the rest by Gauss-Legendre in probability."""
    s = math.sqrt(log_variance)
    alone = int(min(16, N))
    start = alone / N
    q, w = (np.arange(alone) + 0.5) / N, np.full(alone, 1.0 / N)
    if start < 1.0:
        x, gauss = np.polynomial.legendre.leggauss(32)
        q = np.append(q, start + 0.5 * (1.0 - start) * (x + 1.0))
        w = np.append(w, 0.5 * (1.0 - start) * gauss)
    t = np.exp(s * norm.ppf(q) - 0.5 * s * s)
    return t / float(w @ t), w / w.sum()

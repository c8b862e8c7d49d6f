"""λ_min of the empirical NTK from the widths alone: a deterministic equivalent, layer by layer.

Part g of the kernel is a Gram matrix that passes the stages s_1, s_2, … of p_s random features each
and has the zonal limit Σ_r c_{g,r} P_r. By the Marchenko-Pastur argument, applied to every stage
with the others in place, a stage leaves τ = E[u/(1 + δ)] of a part, u its features' squared strength:

    C_r = Σ_g c_{g,r} Π_s τ_{g,s},    δ_s = Σ_{g through s} u (N m/p_s) Π_{s′≠s} τ_{g,s′} Σ_r c_{g,r}/(1 + γ_r C_r m),

and K has the resolvent of the zonal kernel Σ_r C_r P_r. A single part with one stage a layer is the
iterated Marchenko-Pastur law of Fan and Wang 2020. The squared norms of the rows vary; in each
layer their variance is the neurons' fourth moment over their number. Log-normal row scales model it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv, ndtri

from ntkscope._base.arrays import Array
from ntkscope.networks.network import Network
from ntkscope.prediction import gegenbauer
from ntkscope.prediction.random_features import Part, parts_of, sum_values
from ntkscope.prediction.resolvent import TRACY_WIDOM_MEAN, Resolvent

_QUANTILES = 40
_COARSE = 48  # values of m in five decades
_FINE = 9  # points about the largest z

# lowest and highest mean of measured / predicted over the grid in docs/reference/prediction-tables.md, rounded out
_MEASURED = {2: (0.92, 1.04), 3: (0.82, 1.24)}  # by depth, 3 standing for more


@dataclass(frozen=True)
class FiniteWidth:
    """What the widths do to the smallest eigenvalue.

    value: λ_min of the empirical kernel. limit: λ_min of the limiting kernel by the same solver.
    spread: variance of the logarithm of the rows' scale.
    lower, upper: the range of measured / predicted on the grid of docs/reference/prediction-tables.md.
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
    groups = parts_of(net, N, float(net.dim) if norm_sq is None else norm_sq)
    value, spread = _Solver(net.dim, N, groups).smallest(log_variance)
    wide = Part(sum_values(groups))
    limit, _ = _Solver(net.dim, N, [wide]).smallest(log_variance)
    return FiniteWidth(value, limit, spread, *_MEASURED[min(net.depth, 3)])


def outside(net: Network, n_samples: int | float) -> str:
    """Why ``net`` lies outside the domain in which the law was measured; empty inside it."""
    if not net.finite:
        return "it needs finite widths"
    narrow = min(net.widths[1:-1])
    faults = [
        (net.depth > 6, f"measured for 2 to 6 layers, got {net.depth}"),
        (net.dim < 30, f"measured for d ≥ 30, got {net.dim}"),
        (narrow < 60, f"measured for hidden widths of at least 60, got {int(narrow)}"),
        (net.n_outputs != 1, f"it needs a single output, got {net.n_outputs}"),
        (net.weights != "gaussian", f"it needs Gaussian weights, got {net.weights}"),
        (net.bias_std is not None, "it covers networks without biases"),
        (bool(net.residual), "it covers plain networks, without residual connections"),
        (net.paired, "it does not cover paired initializations"),
    ]
    if any(fault for fault, _ in faults):
        return "; ".join(text for fault, text in faults if fault)
    if net.n_parameters < 5 * n_samples:
        return (
            f"measured for at least five parameters a sample, got {net.n_parameters} for "
            f"N = {n_samples:.0f}"
        )
    harmonics = 0.5 * net.dim * (net.dim + 1)
    if n_samples > harmonics:
        return f"measured for N ≤ d(d+1)/2, got N = {n_samples:.0f} and d = {net.dim}"
    return ""


def _chi_squared() -> Array:
    """Quantiles of the square of a Gaussian weight, of mean 1."""
    u = 2.0 * gammaincinv(0.5, (np.arange(_QUANTILES) + 0.5) / _QUANTILES)
    return np.asarray(u / u.mean())


class _Solver:
    """C_r and the loads δ at a given m, and the edge over rows of unequal scale."""

    def __init__(self, dim: int, N: float, parts: list[Part]) -> None:
        found = [gegenbauer.expand_values(part.values, dim, N) for part in parts]
        # Gram matrices have coefficients ≥ 0: what is below is rounding of a difference
        self.c = np.array([np.append(e.coefficients, e.tail) for e in found]).clip(min=0.0)
        self.gamma = np.append(np.exp(math.log(N) - found[0].log_multiplicities), 0.0)
        self.N = N
        layers = max(np.size(part.spread) for part in parts)
        self.spread = np.array([np.broadcast_to(part.spread, layers) for part in parts])
        counts = {stage.key: stage.count for part in parts for stage in part.stages}
        self.keys = list(counts)
        self.p = np.array(list(counts.values()))
        self.places = [
            (g, t, self.keys.index(stage.key), stage.weighted)
            for g, part in enumerate(parts)
            for t, stage in enumerate(part.stages)
        ]
        self.longest = max((len(part.stages) for part in parts), default=0)
        self.chi = _chi_squared()

    def attenuated(self, m: Array) -> tuple[Array, Array]:
        """(C_r, what is left of every part), each with one row for every m."""
        M, G, S = len(m), len(self.c), len(self.p)
        tau = np.ones((M, G, max(1, self.longest)))
        loads = np.zeros((2, M, S))
        for step in range(600):
            left = tau.prod(axis=2)
            C = left @ self.c
            base = (self.N * m[:, None]) * ((1.0 / (1.0 + self.gamma * C * m[:, None])) @ self.c.T)
            new = np.zeros((2, M, S))
            for g, t, s, weighted in self.places:
                new[int(weighted), :, s] += base[:, g] * left[:, g] / tau[:, g, t] / self.p[s]
            # alternating from above and below: the geometric mean settles
            new = np.sqrt(new * loads) if step else new
            done = bool(np.all(np.abs(new - loads) <= 1e-8 * np.abs(new)))
            loads = new
            total = 1.0 + loads[0][:, :, None] + self.chi * loads[1][:, :, None]
            plain, weighted_left = (1.0 / total).mean(axis=2), (self.chi / total).mean(axis=2)
            for g, t, s, weighted in self.places:
                tau[:, g, t] = (weighted_left if weighted else plain)[:, s]
            if done:
                left = tau.prod(axis=2)
                return left @ self.c, left
        raise ValueError("no finite-width prediction: the equations of the widths did not settle")

    def smallest(self, log_variance: float) -> tuple[float, float]:
        """(λ_min, variance of the logarithm of the rows' scale at it)."""
        scale = float(self.c.sum())
        reach = 1e5
        while True:
            ms = np.geomspace(0.3, reach, _COARSE * round(math.log(reach) / math.log(1e5))) / scale
            C, left = self.attenuated(ms)
            z = np.sum(C / (1.0 + self.gamma * C * ms[:, None]), axis=1) - 1.0 / ms
            best = int(np.argmax(z))
            if best < len(ms) - 1:
                break
            reach *= 1e5  # λ_min is that small beside the trace
            if reach > 1e15:
                raise ValueError(
                    "no finite-width prediction: λ_min is below 1e-15 of the trace, where float64 "
                    "has no digits left"
                )
        parts = left[best] * (self.c @ (1.0 / (1.0 + self.gamma * C[best] * ms[best])))
        # what one layer does to all parts adds up row by row; layers do not know of one another
        spread = float(np.sum(((parts / parts.sum()) @ np.sqrt(self.spread)) ** 2))
        rows = _log_normal(log_variance + spread, self.N)
        z, _ = self._curve(ms, C, *rows)
        best = min(max(int(np.argmax(z)), 1), len(ms) - 2)
        fine = np.geomspace(ms[best - 1], ms[best + 1], _FINE)
        z, trace = self._curve(fine, self.attenuated(fine)[0], *rows)
        return _edge(trace, z, self.N), spread

    def _curve(self, ms: Array, C: Array, t: Array, w: Array) -> tuple[Array, Array]:
        """z and (1/N) tr (K − z)^{-1} at every m, for rows of scales t with weights w."""
        z, trace = np.empty(len(ms)), np.empty(len(ms))
        for k, (m, row) in enumerate(zip(ms, C, strict=True)):
            state = Resolvent(self.N, self.gamma, t[:, None] * row, w, t).state(float(m))
            z[k], trace[k] = state.z, float(np.sum(w / (state.S - state.z)))
        return z, trace


def _edge(m: Array, z: Array, N: float) -> float:
    """The maximum of z(m), and above it the mean of the Tracy-Widom law on the edge's scale."""
    i = min(max(int(np.argmax(z)), 1), len(z) - 2)
    bend, slope, top = np.polyfit(m[i - 1 : i + 2] - m[i], z[i - 1 : i + 2], 2)
    if bend >= 0.0:
        return float(z[i])
    scale = float(-bend) ** (1.0 / 3.0) * N ** (-2.0 / 3.0)
    return float(top - slope**2 / (4.0 * bend)) + TRACY_WIDOM_MEAN * scale


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
    t = np.exp(s * ndtri(q) - 0.5 * s * s)
    return t / float(w @ t), w / w.sum()

"""λ_min and the spectrum of a limiting kernel on random inputs, without data and without a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ntkscope._base.specs import unknown
from ntkscope.kernels.limiting.zonal import zonal_ntk
from ntkscope.networks.network import Network
from ntkscope.prediction import closest_pair, gegenbauer
from ntkscope.prediction.finite_width import finite_width
from ntkscope.prediction.norms import Norms, resolve
from ntkscope.prediction.resolvent import (
    TRACY_WIDOM_MEAN,
    TRACY_WIDOM_SD,
    Edge,
    Resolvent,
)

Array = NDArray[np.float64]

MAX_SAMPLES = 1e15
_INTERPOLATION = 7  # nodes in ln t for activations that are not homogeneous


@dataclass(frozen=True)
class Degree:
    """A degree of the kernel and its part in λ_min: c_r, D_r (as log10) and the share."""

    degree: str
    coefficient: float
    log10_harmonics: float | None
    share: float


@dataclass(frozen=True)
class Prediction:
    """A predicted λ_min, in the units of the kernel it predicts.

    Attributes
    ----------
    value: the expected λ_min of one random instance.
    error: one standard deviation of an instance around ``value``, with what the method is
        uncertain by.
    lower, upper: where nine instances of ten are expected.
    edge: the lower edge of the bulk; ``value`` is below it where close pairs decide.
    regime: "bulk", "closest pair", "mixed" or "zero".
    pair_probability: the probability that some pair of samples sets λ_min.
    pair_angle: the median smallest angle between two samples, in radians.
    degrees: the degrees that make up λ_min, the largest first; ">R" is the tail.
    reason: why, in a sentence. validity: what holds and what does not.
    reliable: False where the method is known to fail or has lost its digits.
    """

    value: float
    error: float
    lower: float
    upper: float
    edge: float
    regime: str
    pair_probability: float
    pair_angle: float
    degrees: tuple[Degree, ...]
    reason: str
    validity: str
    reliable: bool
    n_samples: int | float
    dim: int
    network: str
    data: str
    kernel: str = "limiting"

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        if self.regime == "zero":
            return f"λ_min = 0 exactly ({self.kernel} kernel): {self.reason}"
        return (
            f"λ_min ≈ {self.value:.6g} ± {self.error:.2g} ({self.kernel} kernel, {self.regime}): "
            f"{self.reason}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "value": self.value,
            "error": self.error,
            "lower": self.lower,
            "upper": self.upper,
            "edge": self.edge,
            "regime": self.regime,
            "pair_probability": self.pair_probability,
            "pair_angle": self.pair_angle,
            "degrees": [vars(d).copy() for d in self.degrees],
            "reason": self.reason,
            "validity": self.validity,
            "reliable": self.reliable,
            "n_samples": self.n_samples,
            "dim": self.dim,
            "network": self.network,
            "data": self.data,
            "kernel": self.kernel,
        }


@dataclass(frozen=True)
class SpectrumPrediction:
    """The predicted spectrum: ``density`` per unit of ln λ at ``eigenvalues``, of total mass 1.

    ``edge`` is the lower end of the bulk. The density is smoothed over a relative width of
    ``smoothing``, so sharp edges are rounded by that much.
    """

    eigenvalues: Array
    density: Array
    edge: float
    smoothing: float
    prediction: Prediction = field(repr=False)

    def quantile(self, q: float) -> float:
        """The eigenvalue below which a share q of the spectrum lies."""
        mass = np.concatenate(
            [[0.0], np.cumsum(_trapezoids(self.density, np.log(self.eigenvalues)))]
        )
        return float(np.exp(np.interp(q * mass[-1], mass, np.log(self.eigenvalues))))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "eigenvalues": self.eigenvalues.tolist(),
            "density": self.density.tolist(),
            "edge": self.edge,
            "smoothing": self.smoothing,
            "prediction": self.prediction.to_dict(),
        }


@dataclass(frozen=True)
class _Kernel:
    """Everything that a prediction is made of."""

    network: Network
    n_samples: int | float
    dim: int
    norms: Norms
    expansion: gegenbauer.Expansion
    kappa: gegenbauer.Kappa
    resolvent: Resolvent
    low: Resolvent | None = None  # with the smallest norms at their 16% and 84% quantiles
    high: Resolvent | None = None


def predict_smallest_eigenvalue(
    net: Network,
    n_samples: int | float,
    dim: int | None = None,
    data: Any = "sphere",
    kernel: str = "limiting",
) -> Prediction:
    """The expected λ_min of ``limiting_ntk(net, X)`` for random X, in a few milliseconds.

    Parameters
    ----------
    net: any depth, activation and parameterization, without residual connections.
    n_samples: N, from 2 to 1e15.
    dim: d, the number of inputs; ``net.dim`` unless given, which replaces it.
    data: ``"sphere"`` (radius √d, or ``"sphere:radius=r"``), ``"gaussian"`` for N(0, I_d), or the
        rows' norms with directions uniform on the sphere.
    kernel: ``"limiting"``, or ``"empirical"`` for λ_min of ``empirical_ntk(net.sample(seed), X)``
        at the network's widths, within the range that was measured for it.

    Raises ValueError for arguments outside their range, a network without a wide limit, widths
    that the finite-width law does not cover, or coefficients that overflow; TypeError for
    arguments of the wrong type.
    """
    if kernel not in ("limiting", "empirical"):
        raise ValueError(unknown("kernel", kernel, ("limiting", "empirical")))
    made = _kernel(net, n_samples, dim, data)
    if kernel == "empirical":
        return _empirical(made)
    return _limiting(made)


def _limiting(made: _Kernel) -> Prediction:
    if made.expansion.rank < made.n_samples:
        return _zero(made)
    return _predict(made, made.resolvent.edge())


def predict_spectrum(
    net: Network,
    n_samples: int | float,
    dim: int | None = None,
    data: Any = "sphere",
    points: int = 400,
) -> SpectrumPrediction:
    """The expected density of the eigenvalues of ``limiting_ntk(net, X)``, by the same equation.

    Arguments and errors as in :func:`predict_smallest_eigenvalue`; ``points`` is the size of the
    grid, logarithmic from below λ_min to above λ_max.
    """
    if points < 10:
        raise ValueError(f"points must be at least 10, got {points}")
    kernel = _kernel(net, n_samples, dim, data)
    prediction = _limiting(kernel)
    if prediction.regime == "zero":
        raise ValueError(f"no density on a logarithmic scale where λ_min is 0: {prediction.reason}")
    c = kernel.resolvent.weights @ kernel.resolvent.c
    top = float(np.sum(c * np.maximum(1.0, 4.0 * kernel.resolvent.gamma)))
    grid = np.geomspace(0.5 * prediction.value, 2.0 * top, points)
    smoothing = 0.1 * math.log(grid[1] / grid[0])
    density = kernel.resolvent.density(grid, smoothing) * grid
    mass = float(np.trapezoid(density, np.log(grid)))
    return SpectrumPrediction(grid, density / mass, prediction.edge, smoothing, prediction)


def _kernel(net: Network, n_samples: int | float, dim: int | None, data: Any) -> _Kernel:
    if not isinstance(net, Network):
        raise TypeError(
            f"net must be a Network, got {type(net).__name__}; a sampled MLP has it as .network"
        )
    N = _samples(n_samples)
    if dim is not None and dim != net.dim:
        if isinstance(dim, bool) or not isinstance(dim, int):
            raise TypeError(f"dim must be an integer, got {dim!r}")
        net = net.with_widths((dim, *net.widths[1:]))
    d = net.dim
    norms = resolve(data, N, d)
    typical = float(norms.weights @ norms.t)
    kappa = zonal(net, typical * d)
    expansion = gegenbauer.expand(kappa, d, N)
    gamma = np.append(np.exp(math.log(N) - expansion.log_multiplicities), 0.0)
    rows = _coefficients(net, norms, typical, expansion, N)
    return _Kernel(
        net, N, d, norms, expansion, kappa,
        *(Resolvent(N, gamma, c, norms.weights, scales) for c, scales in rows),
    )  # fmt: skip


def _samples(n_samples: Any) -> float:
    if isinstance(n_samples, bool) or not isinstance(n_samples, (int, float, np.integer)):
        raise TypeError(f"n_samples must be a number, got {n_samples!r}")
    if not (
        math.isfinite(n_samples) and 2 <= n_samples <= MAX_SAMPLES and n_samples == int(n_samples)
    ):
        raise ValueError(
            f"n_samples must be an integer from 2 to {MAX_SAMPLES:.0e}, got {n_samples}"
        )
    return float(n_samples)


def zonal(net: Network, norm_sq: float) -> gegenbauer.Kappa:
    """θ → κ(cos θ) of ``net`` for inputs of one norm."""

    def kappa(theta: Array) -> Array:
        size = torch.tensor([norm_sq], dtype=torch.float64)
        return np.asarray(zonal_ntk(net, size, torch.from_numpy(theta))[0].numpy())

    return kappa


def _coefficients(
    net: Network, norms: Norms, typical: float, expansion: gegenbauer.Expansion, N: float
) -> list[tuple[Array, Array | None]]:
    """((T, R+2) c_r(t), t of a homogeneous kernel) for the norms and for each of their spread."""
    mean = np.append(expansion.coefficients, expansion.tail)
    if norms.equal:
        return [(mean[None, :], None)]
    every = (norms.t, *norms.spread)
    if net.activation.homogeneity == 1 and net.bias_std is None:
        return [(t[:, None] * mean / typical, t / float(norms.weights @ t)) for t in every]
    # c_r(t) is smooth in ln t, so Chebyshev nodes between the extremes carry it
    low, high = (math.log(float(f(np.concatenate(every)))) for f in (np.min, np.max))
    x = np.cos((np.arange(_INTERPOLATION) + 0.5) * math.pi / _INTERPOLATION)
    sizes = np.exp(0.5 * (low + high) + 0.5 * (high - low) * x) * expansion.dim
    theta = gegenbauer.nodes(expansion.dim, N)
    values = zonal_ntk(net, torch.from_numpy(sizes), torch.from_numpy(theta)).numpy()
    found = [gegenbauer.expand_values(row, expansion.dim, N) for row in values]
    table = np.array([np.append(e.coefficients, e.tail) for e in found])
    fit = np.polynomial.chebyshev.chebfit(x, table, _INTERPOLATION - 1)
    at = [(2.0 * np.log(t) - low - high) / (high - low) for t in every]
    return [(np.asarray(np.polynomial.chebyshev.chebval(y, fit).T), None) for y in at]


def _zero(kernel: _Kernel) -> Prediction:
    """λ_min = 0, for κ a polynomial with fewer harmonics than samples unless told otherwise."""
    found = kernel.expansion
    live = np.flatnonzero(found.coefficients > found.noise)
    reason = (
        f"the kernel is a polynomial of degree {int(live[-1])} in the inputs, of rank "
        f"{found.rank:,.0f} < N = {kernel.n_samples:,.0f}"
    )
    return Prediction(
        0.0, 0.0, 0.0, 0.0, 0.0, "zero", 0.0,
        closest_pair.expected_angle(kernel.dim, kernel.n_samples), (), reason, "exact", True,
        kernel.n_samples, kernel.dim, str(kernel.network), kernel.norms.text,
    )  # fmt: skip


def _predict(kernel: _Kernel, edge: Edge) -> Prediction:
    exponent = 2 if kernel.network.activation.smooth else 1
    law = closest_pair.survival(
        kernel.resolvent, edge, kernel.expansion, kernel.kappa, exponent, kernel.dim
    )
    shift, norms_sd = _norm_spread(kernel, edge)
    # where no pair decides, the smallest eigenvalue sits above the edge by the Tracy-Widom mean
    above = TRACY_WIDOM_MEAN * edge.scale * (1.0 - law.decided_by_pair)
    value = (law.mean + above) * shift
    rounding = _rounding(kernel, law.decided_by_pair, value)
    spread = math.hypot(law.sd, TRACY_WIDOM_SD * edge.scale, norms_sd * value)
    bulk = float(law.z[-1])
    # what the edge moved by is known to first order, and half of it is kept as an error
    moved = (edge.value - bulk) * (1.0 - law.decided_by_pair)
    method = 0.5 * (above + moved) + 0.25 * min(bulk - law.mean, law.mean) + rounding
    pull = 1.0 - law.mean / bulk if bulk > 0 else 1.0
    regime = "bulk" if pull < 0.02 else "mixed" if pull < 0.2 else "closest pair"
    reach = 1.645 * math.hypot(TRACY_WIDOM_SD * edge.scale, norms_sd * value) + method
    angle = closest_pair.expected_angle(kernel.dim, kernel.n_samples)
    reliable = bool(
        edge.value > 0
        and rounding < 0.05 * value
        and not (regime == "closest pair" and exponent == 2)
    )
    return Prediction(
        value=value,
        error=math.hypot(spread, method),
        lower=max(shift * law.quantile(0.05) - reach, 0.0),
        upper=shift * law.quantile(0.95) + reach,
        edge=bulk,
        regime=regime,
        pair_probability=law.decided_by_pair,
        pair_angle=angle,
        degrees=_degrees(kernel, edge),
        reason=_reason(regime, angle, bulk),
        validity=_validity(kernel, regime, rounding, value),
        reliable=reliable,
        n_samples=kernel.n_samples,
        dim=kernel.dim,
        network=str(kernel.network),
        data=kernel.norms.text,
    )


def _rounding(kernel: _Kernel, decided_by_pair: float, value: float) -> float:
    """What rounding may have done: to the tail, or, where a pair decides, to κ(1) − κ(cos θ).

    Below ``SMALLEST`` that difference is its value there times a power of the angle, and keeps
    the relative error it has there.
    """
    error = kernel.expansion.error
    lost = kernel.expansion.total - float(kernel.kappa(np.array([closest_pair.SMALLEST]))[0])
    of_pair = error * min(1.0, value / lost) if lost > 0 else error
    return (1.0 - decided_by_pair) * error + decided_by_pair * of_pair


def _norm_spread(kernel: _Kernel, edge: Edge) -> tuple[float, float]:
    """(mean, relative spread) of the edge over draws of the smallest norms, relative to ``edge``."""
    if kernel.low is None or kernel.high is None or edge.value <= 0:
        return 1.0, 0.0
    low, high = (r.near(edge.state).z / edge.value for r in (kernel.low, kernel.high))
    return (low + high + 1.0) / 3.0, 0.5 * (high - low)


def _empirical(made: _Kernel) -> Prediction:
    """The limiting prediction, times what the widths leave of it."""
    net = made.network
    if net.finite and net.n_parameters < made.n_samples:
        reason = (
            f"N = {made.n_samples:,.0f} samples exceed the {net.n_parameters:,} parameters, so the "
            "kernel is singular"
        )
        return replace(_zero(made), reason=reason, kernel="empirical")
    if made.expansion.rank < made.n_samples:
        if net.finite and net.activation.name == "identity":
            return replace(_zero(made), kernel="empirical")  # linear in the inputs at any width
        raise ValueError("no finite-width prediction: it is a share of λ_min of the limit, 0 here")
    typical = float(made.norms.weights @ made.norms.t)
    size, log_variance = _row_scales(made)
    law = finite_width(net, made.n_samples, typical * made.dim, log_variance)
    limit = _limiting(made)
    value = size * law.value
    share = value / limit.value
    method = value * max(1.0 - law.lower, law.upper - 1.0)
    return replace(
        limit,
        value=value,
        error=math.hypot(share * limit.error, method),
        lower=law.lower * share * limit.lower,
        upper=law.upper * share * limit.upper,
        edge=share * limit.edge,
        reason=f"the widths leave {100 * share:.3g}% of the limiting kernel's; {limit.reason}",
        validity=(
            f"{limit.validity}; finite widths: measured / predicted was {law.lower:.2f} to "
            f"{law.upper:.2f} on networks of this kind, and one draw of the weights varies besides"
        ),
        kernel="empirical",
    )


def _row_scales(made: _Kernel) -> tuple[float, float]:
    """What unequal norms do to S: its mean relative to equal norms, and the variance of ln S."""
    if made.norms.equal:
        return 1.0, 0.0
    state, w = made.resolvent.edge().state, made.norms.weights
    mean = np.append(made.expansion.coefficients, made.expansion.tail)
    equal = float(mean @ (1.0 / (1.0 + made.resolvent.gamma * state.a)))
    logs = np.log(state.S)
    return float(w @ state.S) / equal, float(w @ logs**2 - (w @ logs) ** 2)


def _degrees(kernel: _Kernel, edge: Edge) -> tuple[Degree, ...]:
    """The parts of S at the edge, those that make up 99% of it."""
    mean = kernel.resolvent.weights @ kernel.resolvent.c
    parts = mean / (1.0 + kernel.resolvent.gamma * edge.state.a)
    total = float(parts.sum())
    logs = kernel.expansion.log_multiplicities / math.log(10.0)
    last = len(mean) - 1
    chosen, covered = [], 0.0
    for index in np.argsort(-parts):
        if covered > 0.99 * total:
            break
        covered += float(parts[index])
        chosen.append(
            Degree(
                degree=f">{last - 1}" if index == last else str(int(index)),
                coefficient=float(mean[index]),
                log10_harmonics=None if index == last else float(logs[index]),
                share=float(parts[index]) / total,
            )
        )
    return tuple(chosen)


def _reason(regime: str, angle: float, edge: float) -> str:
    if regime == "bulk":
        return "the lower edge of the bulk sets it; close pairs of samples do not"
    if regime == "mixed":
        return (
            f"the closest pairs of samples (about {angle:.3g} rad) pull it below the bulk's edge "
            f"{edge:.4g}"
        )
    return (
        f"the closest pair of samples decides (about {angle:.3g} rad apart); "
        f"the bulk ends at {edge:.4g}"
    )


def _validity(kernel: _Kernel, regime: str, rounding: float, value: float) -> str:
    parts = ["directions uniform on the sphere, rows independent"]
    if rounding >= 0.05 * value:
        parts.append(
            f"float64 cannot resolve this value: the tail of the expansion is known to {rounding:.2g}"
        )
    if not kernel.expansion.complete:
        parts.append(
            f"d = {kernel.dim} is so low that N points resolve more than "
            f"{gegenbauer.MAX_DEGREE} degrees: the bulk's edge is not resolved, the closest pair is"
        )
    if regime == "closest pair" and kernel.network.activation.smooth:
        parts.append(
            "a smooth kernel in low dimension: clusters of more than two points count, and the value "
            "may be too large by a factor of several"
        )
    elif regime == "closest pair":
        parts.append("one instance varies as much as the closest pair does: see the interval")
    homogeneous = kernel.network.activation.homogeneity == 1 and kernel.network.bias_std is None
    if not kernel.norms.equal and not homogeneous:
        parts.append("unequal norms enter to leading order: c_r(t, t′) ≈ √(c_r(t, t) c_r(t′, t′))")
    if kernel.dim < 50 and regime != "closest pair":
        parts.append("d < 50: expect several per cent")
    return "; ".join(parts)


def _trapezoids(y: Array, x: Array) -> Array:
    return 0.5 * (y[1:] + y[:-1]) * np.diff(x)

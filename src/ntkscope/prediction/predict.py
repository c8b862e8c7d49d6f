"""λ_min and the spectrum of a limiting kernel on random inputs, without data and without a fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from ntkscope._base.specs import unknown
from ntkscope.networks.network import Network
from ntkscope.prediction import caps, closest_pair
from ntkscope.prediction.finite_width import finite_width
from ntkscope.prediction.model import Model, model_of
from ntkscope.prediction.resolvent import TRACY_WIDOM_MEAN, TRACY_WIDOM_SD, Edge
from ntkscope.prediction.result import Prediction, SpectrumPrediction
from ntkscope.prediction.wording import degrees_of, reason_of, validity_of


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

    Returns
    -------
    Prediction, with its error and the regime that decides.

    Raises ValueError for arguments outside their range, a network without a wide limit, widths
    that the finite-width law does not cover, or coefficients that overflow; TypeError for
    arguments of the wrong type.
    """
    if kernel not in ("limiting", "empirical"):
        raise ValueError(unknown("kernel", kernel, ("limiting", "empirical")))
    made = model_of(net, n_samples, dim, data)
    found = _empirical(made) if kernel == "empirical" else _limiting(made)
    diagonal = float(made.resolvent.weights @ made.resolvent.c.sum(axis=1))
    return replace(found, diagonal=diagonal)


def _limiting(made: Model) -> Prediction:
    if made.expansion.rank >= made.n_samples:
        return _predict(made, made.resolvent.edge())
    return _zero(made) if made.network.activation.linear else _lost(made)


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

    Parameters
    ----------
    net, n_samples, dim, data: as in :func:`predict_smallest_eigenvalue`.
    points: of the grid of eigenvalues.

    Returns
    -------
    SpectrumPrediction: the density on that grid.
    """
    if points < 10:
        raise ValueError(f"points must be at least 10, got {points}")
    kernel = model_of(net, n_samples, dim, data)
    prediction = _limiting(kernel)
    if prediction.regime in ("zero", "below rounding"):
        raise ValueError(
            f"no density on a logarithmic scale where λ_min is {prediction.regime}: {prediction.reason}"
        )
    c = kernel.resolvent.weights @ kernel.resolvent.c
    top = float(np.sum(c * np.maximum(1.0, 4.0 * kernel.resolvent.gamma)))
    grid = np.geomspace(0.5 * prediction.value, 2.0 * top, points)
    smoothing = 0.1 * math.log(grid[1] / grid[0])
    density = kernel.resolvent.density(grid, smoothing) * grid
    mass = float(np.trapezoid(density, np.log(grid)))
    return SpectrumPrediction(grid, density / mass, prediction.edge, smoothing, prediction)


def _zero(kernel: Model) -> Prediction:
    """λ_min = 0, for κ a polynomial with fewer harmonics than samples unless told otherwise.

    That κ is a polynomial is known of a linear activation; of no other can coefficients tell it.
    """
    found = kernel.expansion
    live = np.flatnonzero(found.coefficients > found.noise)
    reason = (
        f"the kernel is a polynomial of degree {int(live[-1])} in the inputs, of rank "
        f"{found.rank:,.0f} < N = {kernel.n_samples:,.0f}"
    )
    return Prediction(
        0.0, 0.0, 0.0, 0.0, 0.0, "zero", 0.0,
        caps.expected_angle(kernel.dim, kernel.n_samples), (), reason, "exact", True,
        kernel.n_samples, kernel.dim, str(kernel.network), kernel.norms.text,
    )  # fmt: skip


def _lost(kernel: Model) -> Prediction:
    """Between 0 and what the coefficients that rounding hides can add up to.

    K = A + B with rank A < N; on the null space of A some vᵀBv is at most tr B/(N − rank A). With
    unequal norms the rank is not known, and the smallest K_ii stays.
    """
    found, N = kernel.expansion, kernel.n_samples
    hidden = found.coefficients <= found.noise
    noise = float(np.sum((found.coefficients + found.noise)[hidden])) + found.tail + found.error
    upper = N / (N - found.rank) * noise
    if not kernel.norms.equal:
        upper = float(np.min(kernel.resolvent.c.sum(axis=1)))
    reason = (
        f"the degrees that rounding leaves have {found.rank:,.0f} < N = {N:,.0f} harmonics, the "
        "others cannot be told from 0"
    )
    return Prediction(
        0.0, upper, 0.0, upper, 0.0, "below rounding", 0.0, caps.expected_angle(kernel.dim, N),
        (), reason, "the interval alone", False, N, kernel.dim, str(kernel.network), kernel.norms.text,
    )  # fmt: skip


def _predict(kernel: Model, edge: Edge) -> Prediction:
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
    angle = caps.expected_angle(kernel.dim, kernel.n_samples)
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
        degrees=degrees_of(kernel, edge),
        reason=reason_of(regime, angle, bulk),
        validity=validity_of(kernel, regime, rounding, value),
        reliable=reliable,
        n_samples=kernel.n_samples,
        dim=kernel.dim,
        network=str(kernel.network),
        data=kernel.norms.text,
    )


def _rounding(kernel: Model, decided_by_pair: float, value: float) -> float:
    """What rounding may have done: to the tail, or, where a pair decides, to κ(1) − κ(cos θ).

    Below ``SMALLEST`` that difference is its value there times a power of the angle, and keeps
    the relative error it has there.
    """
    error = kernel.expansion.error
    lost = kernel.expansion.total - float(kernel.kappa(np.array([caps.SMALLEST]))[0])
    of_pair = error * min(1.0, value / lost) if lost > 0 else error
    return (1.0 - decided_by_pair) * error + decided_by_pair * of_pair


def _norm_spread(kernel: Model, edge: Edge) -> tuple[float, float]:
    """(mean, relative spread) of the edge over draws of the smallest norms, relative to ``edge``."""
    if kernel.low is None or kernel.high is None or edge.value <= 0:
        return 1.0, 0.0
    low, high = (r.near(edge.state).z / edge.value for r in (kernel.low, kernel.high))
    return (low + high + 1.0) / 3.0, 0.5 * (high - low)


def _empirical(made: Model) -> Prediction:
    """The limiting prediction, times what the widths leave of it."""
    net = made.network
    if net.finite and net.n_parameters < made.n_samples:
        reason = (
            f"N = {made.n_samples:,.0f} samples exceed the {net.n_parameters:,} parameters, so the "
            "kernel is singular"
        )
        return replace(_zero(made), reason=reason, kernel="empirical")
    if made.expansion.rank < made.n_samples:
        if net.finite and net.activation.linear:
            return replace(_zero(made), kernel="empirical")  # linear in the inputs at any width
        raise ValueError(
            "no finite-width prediction: it is a share of λ_min of the limit, which is 0 or below "
            "rounding here"
        )
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


def _row_scales(made: Model) -> tuple[float, float]:
    """What unequal norms do to S: its mean relative to equal norms, and the variance of ln S."""
    if made.norms.equal:
        return 1.0, 0.0
    state, w = made.resolvent.edge().state, made.norms.weights
    mean = np.append(made.expansion.coefficients, made.expansion.tail)
    equal = float(mean @ (1.0 / (1.0 + made.resolvent.gamma * state.a)))
    logs = np.log(state.S)
    return float(w @ state.S) / equal, float(w @ logs**2 - (w @ logs) ** 2)

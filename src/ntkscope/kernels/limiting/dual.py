"""Dual activations: E[φ(u)φ(v)] and E[φ′(u)φ′(v)] for Gaussians of variances a, b and correlation ρ.

Closed forms where they exist; the Hermite series Σ α_r(a) α_r(b) ρ^r for the rest, with the order
chosen from the accuracy that is asked for.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ntkscope._base.specs import unknown
from ntkscope.activations.activation import Activation, Elementwise
from ntkscope.activations.hermite import check_variances
from ntkscope.activations.registry import activation as resolve_activation
from ntkscope.kernels.limiting.series import Expansion

ACCURACY = 1e-14


class Dual(NamedTuple):
    """E[φ(u)φ(v)] and E[φ′(u)φ′(v)], element by element."""

    value: Tensor
    derivative: Tensor


def dual_activation(
    phi: str | Activation | Elementwise,
    variance_a: Any,
    variance_b: Any,
    covariance: Any = None,
    *,
    rho: Any = None,
    one_minus_rho: Any = None,
    method: str = "auto",
    accuracy: float = ACCURACY,
) -> Dual:
    """E[φ(u)φ(v)], E[φ′(u)φ′(v)] for (u, v) ~ N(0, [[a, C], [C, b]]), broadcast over tensors.

    Parameters
    ----------
    phi: a name, an :class:`Activation` or a callable.
    variance_a, variance_b: a and b, at least 0.
    covariance, rho, one_minus_rho: one of the three: C, ρ = C/√(ab), or 1 − ρ, which keeps the
        digits of nearly parallel pairs.
    method: ``"auto"``, ``"closed"`` or ``"series"``.
    accuracy: the truncation error allowed to the series, relative to √(E φ(u)² E φ(v)²).

    Returns
    -------
    Dual, with both expectations and their error.

    Closed forms: positively homogeneous φ (Cho and Saul 2009), erf (Williams 1997), sin, GELU
    (Tsuchida et al. 2021). Raises ValueError for |C| > √(ab), negative variances, E φ² = ∞, a
    method that the activation has not, or an accuracy that cannot be reached.
    """
    activation = resolve_activation(phi)
    if method not in ("auto", "closed", "series"):
        raise ValueError(unknown("method", method, ("auto", "closed", "series")))
    a, b = (torch.as_tensor(v, dtype=torch.float64) for v in (variance_a, variance_b))
    check_variances(a)
    check_variances(b)
    delta = _one_minus_rho(a, b, covariance, rho, one_minus_rho)
    a, b, delta = torch.broadcast_tensors(a, b, delta)
    closed = activation.dual
    if method == "closed" and closed is None:
        raise ValueError(f"activation {activation} has no closed form here; use method='series'")
    if closed is not None and method != "series":
        return Dual(*closed(a, b, delta))
    value, slope = (_by_series(activation, a, b, delta, d, accuracy) for d in (False, True))
    return Dual(value, slope)


def _one_minus_rho(a: Tensor, b: Tensor, covariance: Any, rho: Any, delta: Any) -> Tensor:
    given = [x for x in (covariance, rho, delta) if x is not None]
    if len(given) != 1:
        raise ValueError(f"give one of covariance, rho and one_minus_rho, got {len(given)} of them")
    value = torch.as_tensor(given[0], dtype=torch.float64)
    slack = 64 * torch.finfo(torch.float64).eps
    if covariance is not None:
        root = torch.sqrt(a * b)
        made = torch.where(root > 0, (root - value) / root, torch.ones_like(root * value))
        if bool((value.abs() > (1 + slack) * root).any()):
            raise ValueError("|covariance| exceeds √(variance_a · variance_b): no such Gaussian")
    else:
        made = 1.0 - value if rho is not None else value
    if not bool(((made >= -slack) & (made <= 2 + slack)).all()):
        raise ValueError(
            f"correlations must be within [-1, 1], got 1 − ρ up to {float(made.max()):.6g} "
            f"and down to {float(made.min()):.6g}"
        )
    return made.clamp(0.0, 2.0)  # what rounding put outside, by the check above


def _by_series(
    phi: Activation, a: Tensor, b: Tensor, delta: Tensor, derivative: bool, accuracy: float
) -> Tensor:
    shape = a.shape
    variances = torch.cat([a.reshape(-1), b.reshape(-1)])
    first = torch.arange(a.numel())
    expansion = Expansion(phi, variances, derivative, accuracy)
    return expansion.pairs(1.0 - delta.reshape(-1), first, first + len(first)).reshape(shape)

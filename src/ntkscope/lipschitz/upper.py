"""Upper bounds on the Lipschitz constant of a feature map, rounded up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ntkscope.lipschitz.maps import FeatureMap, slope_range

_WIDEST = 400  # hidden widths up to which the multipliers of the last bound are optimised


def upper_bounds(feature_map: FeatureMap, steps: int = 60) -> dict[str, float]:
    """Every upper bound that applies, by name; ``inf`` where φ′ is unbounded or not known.

    ``product``: Π ‖V_l‖ · M^{k-1}. ``averaged``: φ′ = c + r·e with |e| ≤ 1, expanded (Combettes
    and Pesquet 2020). ``multipliers``: the semidefinite bound of Fazlyab et al. 2019 with diagonal
    multipliers, layer by layer; any multipliers give a bound, ``steps`` gradient steps improve it.
    """
    slopes = slope_range(feature_map.activation)
    matrices = [m.double() for m in feature_map.matrices]
    if len(matrices) == 1:
        return {"operator norm": _norm(matrices[0])}
    if slopes is None:
        return {"product": math.inf}
    low, high = slopes
    found = {"product": _product(matrices, max(-low, high), feature_map.residual)}
    if not feature_map.residual and found["product"] > 0:
        found["averaged"] = _averaged(matrices, low, high)
        if low < high:
            found["multipliers"] = _multipliers(matrices, low, high, steps)
    return found


def _norm(matrix: Tensor) -> float:
    """‖V‖₂, raised by the backward error of the singular value solver."""
    u = torch.finfo(torch.float64).eps / 2
    return float(torch.linalg.matrix_norm(matrix, 2)) * (1 + 8 * max(matrix.shape) * u)


def _product(matrices: Sequence[Tensor], slope: float, residual: float) -> float:
    features = 1.0
    for matrix in matrices[:-1]:
        through = slope * _norm(matrix) * features
        features = features + abs(residual) * through if residual else through
    return _norm(matrices[-1]) * features


def _averaged(matrices: Sequence[Tensor], low: float, high: float) -> float:
    """θ_j = Σ_{i<j} (r θ_i) |c|^{j-i-1} ‖V_{i+1} ⋯ V_j‖, the i = 0 term without r θ_0."""
    centre, radius = abs(low + high) / 2, (high - low) / 2
    theta = [1.0]
    for j in range(1, len(matrices) + 1):
        chain: Tensor | None = None
        total = 0.0
        for i in range(j - 1, -1, -1):
            chain = matrices[i] if chain is None else matrices[i] @ chain
            front = radius * theta[i] if i else 1.0
            total += front * centre ** (j - i - 1) * _norm(chain)
        theta.append(total)
    return theta[-1]


def _multipliers(matrices: Sequence[Tensor], low: float, high: float, steps: int) -> float:
    hidden = [m.shape[1] for m in matrices[:-1]]
    logs = [torch.zeros(n, dtype=torch.float64, requires_grad=True) for n in hidden]
    gains = [torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in hidden]
    smallest = _rounded_up(_schur_chain(matrices, logs, gains, low, high), matrices, gains)
    optimiser = torch.optim.Adam([*logs, *gains], lr=0.05)
    for _ in range(steps if max(hidden) <= _WIDEST else 0):
        optimiser.zero_grad()
        bound = _schur_chain(matrices, logs, gains, low, high)
        smallest = min(smallest, _rounded_up(bound, matrices, gains))
        torch.autograd.backward(bound.log())
        optimiser.step()
        with torch.no_grad():
            for gain in gains:
                gain.clamp_(-4.0, 4.0)  # keeps 2T − w²P well conditioned
    return smallest


def _schur_chain(
    matrices: Sequence[Tensor], logs: list[Tensor], gains: list[Tensor], low: float, high: float
) -> Tensor:
    """The bound for the multipliers T_l = τ_l diag(e^{s_l}).

    With Δf = aΔg + wΔh, w = b − a, and ΔhᵀT(Δg − Δh) ≥ 0 (φ′ in [a, b]),
    ΔfᵀPΔf ≤ Δgᵀ[a²P + (awP + T)(2T − w²P)⁻¹(awP + T)]Δg whenever 2T ≻ w²P.
    """
    width = high - low
    P = matrices[-1] @ matrices[-1].T
    for index in range(len(matrices) - 2, -1, -1):
        t = torch.exp(logs[index])
        root = t.rsqrt()
        top = _largest(root[:, None] * P * root[None, :])
        # 2T ≻ w²P asks for 2τ > w² λ_max(e^{-s/2} P e^{-s/2})
        T = torch.diag(width**2 * top * (1 + torch.exp(gains[index])) / 2 * t)
        R = low * width * P + T
        factor = torch.linalg.cholesky(2 * T - width**2 * P)
        half = torch.linalg.solve_triangular(factor, R, upper=False)
        Q = low**2 * P + half.T @ half
        P = matrices[index] @ Q @ matrices[index].T
        P = (P + P.T) / 2
    return _largest(P).sqrt()


def _largest(P: Tensor) -> Tensor:
    """λ_max of a PSD matrix, differentiable: vᵀPv at the top eigenvector, which is enough here."""
    with torch.no_grad():
        _, vectors = torch.linalg.eigh(P)
        v = vectors[:, -1]
    return v @ P @ v


def _rounded_up(bound: Tensor, matrices: Sequence[Tensor], gains: list[Tensor]) -> float:
    u = torch.finfo(torch.float64).eps / 2
    slack = 0.0
    for matrix, gain in zip(matrices[:-1], gains, strict=True):
        condition = 1 + math.exp(-gain.item())  # of (2T − w²P) scaled by T
        slack += 8 * sum(matrix.shape) * u * condition
    return bound.item() * (1 + slack)

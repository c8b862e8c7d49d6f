"""‖∇²_θ f‖₂ over Banerjee's spectral ball: an explicit upper bound, and an ascent from below.

Along V = (V_1, …, V_L, u) with g_l = s_l W_l α_(l−1), s_l = 1/√m_(l−1) in "ntk", and δ_l = ∂f/∂α_l,

f̈ = 2 s_(L+1) u·α̇_L + Σ_l δ_l·(φ″(g_l) ∘ ġ_l²) + 2 Σ_(l≥2) s_l (φ′(g_l) ∘ δ_l)·V_l α̇_(l−1).

With w_l ≥ s_l‖W_l‖₂, M ≥ |φ′|, β ≥ |φ″|: ‖α_l‖ ≤ A_l = |φ(0)|√m_l + M w_l A_(l−1), ‖ġ_l‖ ≤ q_l·t with
t = (‖V_1‖, …, ‖u‖) and q_l = M w_l q_(l−1) + s_l A_(l−1) e_l, and ‖δ_l‖ ≤ S_l = s_(L+1)‖v‖ Π_(j>l) M w_j. So
|f̈| ≤ tᵀHt for a matrix H of L + 1 rows with entries ≥ 0, and ‖∇²f‖₂ ≤ λ_max(H).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network

_SHARES = (1.0, 0.3, 0.1)  # of the way to the ball's boundary


def hessian_bound(
    net: Network, operator_norms: Sequence[float], last_norm: float, input_norm: float
) -> float:
    """λ_max(H): no ‖∇²f(θ; x)‖₂ exceeds it where ‖s_l W_l‖₂, ‖v‖ and ‖x‖ are at most as given.

    operator_norms: of s_1 W_1, …, s_L W_L. The activation's M and β must be finite; plain networks only.
    """
    phi, scales = net.activation, net.scales
    M, beta = phi.lipschitz, phi.lipschitz_derivative
    if M is None or beta is None:
        return math.inf
    hidden = len(operator_norms)
    below = [math.prod(M * w for w in operator_norms[l + 1 :]) for l in range(hidden)]
    signals = [scales[hidden] * last_norm * product for product in below]
    H = np.zeros((hidden + 1, hidden + 1))
    reach, size = np.zeros(hidden + 1), input_norm
    for l in range(hidden):
        unit = np.eye(hidden + 1)[l]
        H += M * M * signals[l] * scales[l] * (np.outer(unit, reach) + np.outer(reach, unit))
        reach = M * operator_norms[l] * reach + scales[l] * size * unit
        size = abs(phi.at_zero) * math.sqrt(net.widths[l + 1]) + M * operator_norms[l] * size
        H += beta * signals[l] * np.outer(reach, reach)
    last = np.eye(hidden + 1)[hidden]
    H += M * scales[hidden] * (np.outer(last, reach) + np.outer(reach, last))
    # entries ≥ 0 and a symmetric matrix of a few rows: eigvalsh is right to a few u ‖H‖_F
    return float(np.linalg.eigvalsh(H)[-1]) + 1e-13 * float(np.linalg.norm(H))


def second_derivative(
    net: Network, weights: Sequence[Tensor], x: Tensor, V: Sequence[Tensor]
) -> Tensor:
    """f̈ along V at the raw ``weights`` and one sample x (d,), by the formula above."""
    phi, scales = net.activation, net.scales
    a, moved, twice = x, torch.zeros_like(x), torch.zeros_like(x)
    for W, D, s in zip(weights[:-1], V[:-1], scales[:-1], strict=True):
        g, rate = s * (a @ W), s * (a @ D + moved @ W)
        bend = s * (2 * moved @ D + twice @ W)
        slope = phi.derivative(g)
        a, moved, twice = phi(g), slope * rate, phi.second(g) * rate.square() + slope * bend
    return (scales[-1] * (2 * moved @ V[-1] + twice @ weights[-1])).sum()


def top_direction(net: Network, weights: Sequence[Tensor], x: Tensor) -> tuple[float, list[Tensor]]:
    """(VᵀHV, V) with ‖V‖ = 1 and |VᵀHV| near ‖∇²f‖₂, never above it: Lanczos on products H V."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    shapes = [w.shape for w in weights]
    size = sum(w.numel() for w in weights)

    def parts(flat: Tensor) -> list[Tensor]:
        pieces = torch.split(flat, [math.prod(s) for s in shapes])
        return [p.reshape(s) for p, s in zip(pieces, shapes, strict=True)]

    def product(v: np.ndarray) -> np.ndarray:
        flat = torch.tensor(v.reshape(-1), dtype=torch.float64, requires_grad=True)
        (grad,) = torch.autograd.grad(second_derivative(net, weights, x, parts(flat)), flat)
        return 0.5 * grad.numpy()

    start = np.random.default_rng(0).standard_normal(size)
    start = product(start)  # in the range, where the largest eigenvalues are
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    vectors = eigsh(operator, k=1, which="LM", v0=start, ncv=min(size, 12), tol=1e-2)[1]
    flat = torch.from_numpy(vectors[:, 0] / np.linalg.norm(vectors[:, 0]))
    V = parts(flat)
    return float(second_derivative(net, weights, x, V)), V


def hessian_ascent(
    model: MLP, x: Tensor, rho: float, rho1: float, steps: int = 2
) -> tuple[float, list[Tensor]]:
    """(|VᵀHV|, weights): a point of the ball where ‖∇²f(θ; x)‖₂ is at least that, by ascent from θ_0.

    Each step goes to the ball's point that is farthest along the gradient of VᵀHV at the present V:
    W_l + ρ P Qᵀ for a gradient P Σ Qᵀ, and v + ρ_1 ∇/‖∇‖ (Frank and Wolfe's step with the spectral norm),
    or a share of that; it stops where neither gains. ``x`` (d,); plain networks only.
    """
    net = model.network
    centre = [w.detach().to(torch.float64) for w in model.weights]
    weights = centre
    value, V = top_direction(net, weights, x)
    for _ in range(steps if rho or rho1 else 0):
        free = [w.clone().requires_grad_(True) for w in weights]
        grads = torch.autograd.grad(
            math.copysign(1.0, value) * second_derivative(net, free, x, V), free
        )
        moves = [rho * _polar(g) for g in grads[:-1]]
        moves.append(rho1 * grads[-1] / grads[-1].norm().clamp_min(1e-300))
        for share in _SHARES:
            moved = [w + share * move for w, move in zip(centre, moves, strict=True)]
            higher, along = top_direction(net, moved, x)
            if abs(higher) > abs(value):
                weights, value, V = moved, higher, along
                break
        else:
            break
    return abs(value), weights


def _polar(gradient: Tensor) -> Tensor:
    """P Qᵀ of the singular value decomposition P Σ Qᵀ: of spectral norm 1, and nearest in angle."""
    P, _, Qt = torch.linalg.svd(gradient, full_matrices=False)
    return P @ Qt

"""Fan and Wang's own recursion in t_l(z, w) and s_l, with an inner fixed point at every level: slow."""

from __future__ import annotations


def t(level, z, w, gamma, b_sq, atoms):
    """lim n^{-1} tr (z_{−1} + Σ_j z_j X_jᵀX_j)^{-1} (w_{−1} + Σ_j w_j X_jᵀX_j), j = 0 … level.

    z, w: lists of level + 2 complex numbers, the identity's first. gamma[l], b_sq[l] of layer l ≥ 1. atoms:
    the spectrum of X_0ᵀX_0.
    """
    if level == 0:
        return sum((w[0] + w[1] * x) / (z[0] + z[1] * x) for x in atoms) / len(atoms)
    s = solve_s(level, z, gamma, b_sq, atoms)
    below = lowered(level, z, s, b_sq)
    ratio = w[-1] / z[-1]
    rest = [a - ratio * c for a, c in zip(w[:-1], z[:-1], strict=True)]
    return ratio + t(level - 1, below, rest, gamma, b_sq, atoms)


def lowered(level, z, s, b_sq):
    """z with the last layer replaced by its covariance over s."""
    below = list(z[:-1])
    below[0] = below[0] + (1 - b_sq[level]) / s
    below[level] = below[level] + b_sq[level] / s
    return below


def solve_s(level, z, gamma, b_sq, atoms):
    """s = 1/z_l + γ_l t_{l−1}(z_prev(s), (1 − b², 0, …, 0, b²)), by damped iteration."""
    covariance = [0.0] * (level + 1)
    covariance[0] = 1 - b_sq[level]
    covariance[level] += b_sq[level]
    s = 1 / z[-1] + gamma[level] / z[0]
    for _ in range(2000):
        new = 1 / z[-1] + gamma[level] * t(
            level - 1, lowered(level, z, s, b_sq), covariance, gamma, b_sq, atoms
        )
        if abs(new - s) < 1e-13 * abs(s):
            return new
        s = 0.5 * (s + new)
    raise AssertionError("the oracle's iteration did not settle")


def ntk_transform(z, gamma, b, a, atoms):
    """m_NTK(z) at equal b = E σ′ and a = E σ′² in every layer; gamma: of the layers 1 … L."""
    L = len(gamma)
    q = [b ** (2 * (L - l)) for l in range(L)]
    shift = sum(a ** (L - l) - q[l] for l in range(L))
    padded = [0.0, *gamma]
    return t(L, [-z + shift, *q, 1.0], [1.0] + [0.0] * (L + 1), padded, [b * b] * (L + 1), atoms)

"""The wide limit of a residual network, entry by entry, by Gauss-Hermite quadrature in the plane."""

from __future__ import annotations

import itertools

import numpy as np

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def expectation(f, a, b, c):
    """E f(u)f(v), (u, v) ~ N(0, [[a, c], [c, b]])."""
    x = np.sqrt(a) * _NODES
    rest = np.sqrt(max(b - c * c / a, 0.0))
    y = c / np.sqrt(a) * _NODES[:, None] + rest * _NODES[None, :]
    return float((_WEIGHTS * f(x)) @ (f(y) @ _WEIGHTS))


def mean(f, a):
    return float(_WEIGHTS @ f(np.sqrt(a) * _NODES))


def residual_ntk(X, betas, alpha, f, slope):
    """A_l and Θ_L of f_l = f_{l−1} + α φ(W_lᵀ f_{l−1}), all layers of width d = X.shape[1].

    A_l = A_{l−1} + α² n E φφ + α(M μᵀ + μ Mᵀ), M_l = M_{l−1} + α n μ, Φ_l = Φ_{l−1} + α² n Ė ∘ Θ_l and
    Θ_{l+1} = A_l + β_{l+1}² Φ_l, the terms of Φ going on through the skip connections.
    """
    N, n = X.shape
    A = X @ X.T
    M, theta, through = X.sum(1), A.copy(), np.zeros((N, N))
    for beta, following in itertools.pairwise(betas):
        C = beta**2 * A
        value, bent = np.empty((N, N)), np.empty((N, N))
        for i in range(N):
            for j in range(N):
                arguments = C[i, i], C[j, j], C[i, j]
                value[i, j] = expectation(f, *arguments)
                bent[i, j] = expectation(slope, *arguments)
        mu = np.array([mean(f, C[i, i]) for i in range(N)])
        A = A + alpha**2 * n * value + alpha * (np.outer(M, mu) + np.outer(mu, M))
        M = M + alpha * n * mu
        through = through + alpha**2 * n * bent * theta
        theta = A + following**2 * through
    return theta

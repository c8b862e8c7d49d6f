"""The slow, obvious twins of ntkscope.theory: mpmath quadrature and binomials of whole numbers."""

from math import comb

import mpmath as mp


def multiplicity(dim: int, degree: int) -> int:
    """Homogeneous polynomials of a degree, less those that |x|² divides."""
    every = comb(degree + dim - 1, dim - 1)
    return every - comb(degree + dim - 3, dim - 1) if degree >= 2 else every


def polynomial(dim: int, degree: int, x):
    """P_r by Rodrigues' formula: (−1)^r/(2^r ((d−1)/2)_r) (1−x²)^{(3−d)/2} D^r (1−x²)^{r+(d−3)/2}."""
    half = mp.mpf(dim - 3) / 2
    value = mp.diff(lambda t: (1 - t * t) ** (degree + half), x, degree)
    return (
        (-1) ** degree * value * (1 - x * x) ** (-half)
        / (mp.mpf(2) ** degree * mp.rf(mp.mpf(dim - 1) / 2, degree))
    )  # fmt: skip


def coefficient(kappa, dim: int, degree: int) -> float:
    """c_r = D_r E[κ P_r] by adaptive quadrature over the angle at 30 digits."""
    with mp.workdps(30):

        def weight(t):
            return mp.sin(t) ** (dim - 2)

        def part(t):
            x = mp.cos(t)
            P = mp.legendre(degree, x) if dim == 3 else _recursion(dim, degree, x)
            return kappa(t) * P * weight(t)

        cuts = [0, mp.pi / 4, mp.pi / 2, 3 * mp.pi / 4, mp.pi]
        total = mp.quad(weight, cuts)
        return float(multiplicity(dim, degree) * mp.quad(part, cuts) / total)


def _recursion(dim: int, degree: int, x):
    before, now = mp.mpf(1), x
    if degree == 0:
        return before
    for r in range(1, degree):
        before, now = now, ((2 * r + dim - 2) * x * now - r * before) / (r + dim - 2)
    return now


def relu_kernel(t, depth: int):
    """The limiting NTK of ReLU on unit vectors, K^{(1)} = ρ, at angle t (Nguyen et al., eq. 9-17)."""
    K, rho = mp.cos(t), mp.cos(t)
    for _ in range(depth - 1):
        angle = mp.acos(rho)
        slope = (mp.pi - angle) / mp.pi
        rho = (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle)) / mp.pi
        K = K * slope + rho
    return K

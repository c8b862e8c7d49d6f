"""The limiting NTK of a ReLU network as a function of ρ in mpmath, and its Taylor coefficients at 0."""

from __future__ import annotations

import mpmath as mp


def relu_taylor(betas, sizes, norm_sq, bias_var, degree):
    """κ_0, …, κ_degree, by differences of the arccosine recursion at 60 digits."""
    with mp.workdps(60):
        trained = bias_var is not None
        var = mp.mpf(bias_var or 0)

        def kernel(rho):
            cross, own = norm_sq * rho, mp.mpf(norm_sq)
            theta = cross + (1 if trained else 0)
            for index, n in enumerate(sizes):
                c, v = betas[index] ** 2 * cross + var, betas[index] ** 2 * own + var
                t = mp.acos(c / v)
                slope = (mp.pi - t) / (2 * mp.pi)
                cross = n * v * (mp.sin(t) + (mp.pi - t) * mp.cos(t)) / (2 * mp.pi)
                own = n * v / 2
                theta = theta * n * betas[index + 1] ** 2 * slope + cross + (1 if trained else 0)
            return theta

        return mp.taylor(kernel, 0, degree)

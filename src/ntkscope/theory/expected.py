"""E_w[φ(Fw)φ(Fw)ᵀ] with its error."""

from __future__ import annotations

import torch
from torch import Tensor

from ntkscope.hermite import hermite_coefficients
from ntkscope.kernels.dual import dual_activation
from ntkscope.theory.instance import Instance, NotComputable
from ntkscope.theory.quantity import U

# what is asked of a Hermite series, the first that can be reached: slowly decaying ones cannot 1e-14
_ACCURACIES = (1e-14, 1e-12, 1e-10)


def expected_gram(i: Instance, k: int) -> tuple[Tensor, float]:
    """(E_w[φ(F_{k-1}w)φ(F_{k-1}w)ᵀ] for w ~ N(0, β_k² I), a bound on its error in the 2-norm).

    The covariance is wrong by (n+2)u √(ab) at an entry; E φ(u)φ(v) moves by at most sup φ′² times
    that, and the 2-norm of an error e_ij ≤ ε√(a_i a_j) is at most ε tr.
    """

    def make() -> tuple[Tensor, float]:
        covariance = i.gram(k - 1) * i.beta[k] ** 2
        variance = covariance.diagonal().clone()
        diagonal = hermite_coefficients(i.network.activation, 0, variance).second_moment
        rows, columns = torch.triu_indices(i.N, i.N, 1)
        bound = torch.sqrt(variance[rows] * variance[columns])
        # rounding may leave |C_ij| above √(C_ii C_jj) by the error that is counted below
        pairs = torch.clamp(covariance[rows, columns], -bound, bound)
        value = torch.diag(diagonal)
        accuracy = 0.0
        if i.N > 1:
            upper, accuracy = _pairs(i, variance[rows], variance[columns], pairs)
            value[rows, columns] = upper
            value[columns, rows] = upper
        slope = i.network.activation.lipschitz
        if slope is None:
            raise NotComputable("the Lipschitz constant of the activation is not known")
        inputs = (i.n[k - 1] + 4) * U * slope**2 * float(variance.sum())
        # a few tens of u of a closed form, or the series' accuracy
        return value, inputs + (256 * U + accuracy) * float(diagonal.sum())

    return i.held(("expected gram", k), make)


def _pairs(i: Instance, a: Tensor, b: Tensor, covariance: Tensor) -> tuple[Tensor, float]:
    for accuracy in _ACCURACIES:
        try:
            found = dual_activation(
                i.network.activation, a, b, covariance=covariance, accuracy=accuracy
            )
        except ValueError as error:
            reason = error
            continue
        return found.value, accuracy
    raise NotComputable(f"E φφᵀ cannot be had accurately ({reason})")

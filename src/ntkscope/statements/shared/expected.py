"""E_w[φ(Fw)φ(Fw)ᵀ] with its error."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope._base import memory
from ntkscope.activations.activation import Activation
from ntkscope.activations.hermite import hermite_coefficients
from ntkscope.kernels.limiting.dual import dual_activation
from ntkscope.kernels.limiting.series import Expansion
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import U

# what is asked of a Hermite series, the first that can be reached: slowly decaying ones cannot 1e-14
_ACCURACIES = (1e-14, 1e-12, 1e-10)


def expected_gram(i: Instance, k: int) -> tuple[Tensor, float]:
    """(E_w[φ(F_{k-1}w + b)φ(F_{k-1}w + b)ᵀ], its 2-norm error), w and b as layer k draws them."""

    def make() -> tuple[Tensor, float]:
        covariance = i.gram(k - 1) * i.beta[k] ** 2
        if i.network.bias_std:
            covariance = covariance + i.network.bias_std**2
        return dual_matrix(i.network.activation, covariance, i.n[k - 1])

    return i.held(("expected gram", k), make)


def dual_matrix(
    phi: Activation, covariance: Float[Tensor, "N N"], length: int
) -> tuple[Float[Tensor, "N N"], float]:
    """(E[φ(u_i)φ(u_j)], a bound on its 2-norm error) for u ~ N(0, C), C a Gram of ``length`` terms.

    C is wrong by (length + 2)u √(C_ii C_jj) at an entry; E φ(u)φ(v) moves by at most sup φ′² times
    that. An error e_ij ≤ ε√(a_i a_j) is at most ε tr in the 2-norm. Raises NotComputable where
    sup |φ′| is not known, or no Hermite series reaches 1e-10.
    """
    if phi.lipschitz is None:
        raise NotComputable("the Lipschitz constant of the activation is not known")
    a = covariance.diagonal().clone()
    roots = torch.sqrt(a)
    # rounding may leave |C_ij| above √(C_ii C_jj) by the error that is counted below
    rho = (covariance / torch.outer(roots, roots).clamp_min(1e-300)).clamp(-1.0, 1.0)
    rho.fill_diagonal_(0.0)
    value, accuracy = _entries(phi, a, rho)
    value = (value + value.T) / 2
    moments = hermite_coefficients(phi, 0, a).second_moment
    value.diagonal().copy_(moments)
    inputs = (length + 8) * U * phi.lipschitz**2 * float(a.sum())
    # a few tens of u of a closed form; a series' truncation and 8 times it for its coefficients
    return value, inputs + (256 * U + 9 * accuracy) * float(moments.sum())


def _entries(phi: Activation, a: Tensor, rho: Tensor) -> tuple[Tensor, float]:
    if phi.dual is not None:
        memory.require(40.0 * 8 * a.numel() ** 2, "the expected Gram matrix", "use fewer samples")
        return dual_activation(phi, a[:, None], a[None, :], rho=rho).value, 0.0
    everything = slice(0, len(a))
    for accuracy in _ACCURACIES:
        try:
            return Expansion(phi, a, False, accuracy).tile(rho, everything, everything), accuracy
        except ValueError as error:
            reason = error
    raise NotComputable(f"E φφᵀ cannot be had accurately ({reason})")

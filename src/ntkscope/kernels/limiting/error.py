"""How far a computed limiting kernel lies from the exact one: the recursion, run on bounds.

An error is relative to √(M_ii M_jj) of the matrix M that it is in, so that by Cauchy and Schwarz the
error of a sum of positive semidefinite matrices is the largest of its terms' and that of a Hadamard
product the sum of its factors'. A chain says what its layers are wrong by; here this goes through

    Θ_1 = A_0 + b,    Θ_{l+1} = Θ_l ∘ n_l β_{l+1}² Ė^l + A_l + b

(and Φ_l of a residual network), as :mod:`ntkscope.kernels.limiting.recursion` has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

U = 2.0**-53


class LayerError(NamedTuple):
    """Bounds on the errors of A_l and of Ė^l (0 for the inputs)."""

    features: float
    slope: float


def kernel_error(layers: Iterable[LayerError]) -> float:
    """A bound on the relative error of the entries of Θ_L, of its terms and of every A_l.

    Five roundings a layer stand for the products and sums of the recursion.
    """
    theta = 0.0
    for index, layer in enumerate(layers):
        # Φ_l = Φ_{l−1} + α² n Ė ∘ Θ_l of a residual network is no worse than its last summand
        through = theta + layer.slope * (1 + theta) + 5 * U if index else 0.0
        theta = max(through, layer.features) + 5 * U
    return theta * (1 + 2.0**-10)  # products of errors

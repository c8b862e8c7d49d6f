"""The limiting kernel of an instance, layer by layer, with the error of its entries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ntkscope.kernels.limiting.limiting_kernel import limiting_ntk
from ntkscope.networks.network import Network
from ntkscope.statements.instance import Instance, NotComputable
from ntkscope.statements.quantity import U


@dataclass(frozen=True)
class Wide:
    """K^(L) and the matrices it is made of.

    G: A_0 = XXᵀ, A_1, …, A_{L-1}, the limits of the features' Grams; for ReLU normalised as in
    Nguyen et al. eq. 10, where A_{l-1} is G^(l). dot: the L−1 factors Ġ^(2), …, Ġ^(L). K: the
    kernel. normalised: whether it is Nguyen's K^(L) (ReLU) or the limit in the network's units.
    relative: a bound on an entry's error relative to √(K_ii K_jj).
    """

    G: list[Tensor]
    dot: list[Tensor]
    K: Tensor
    normalised: bool
    relative: float

    def error(self, matrix: Tensor) -> float:
        """A bound on the error of a matrix of this kernel in the 2-norm: relative times trace."""
        return self.relative * float(matrix.diagonal().sum())

    def terms(self) -> list[Tensor]:
        """The L summands of eq. 17: A_{l-1} ∘ Ġ^(l+1) ∘ … ∘ Ġ^(L)."""
        found = []
        for l, gram in enumerate(self.G):
            term = gram.clone()
            for dot in self.dot[l:]:
                term *= dot
            found.append(term)
        return found


def wide(i: Instance) -> Wide:
    """The limiting kernel on the instance's data, computed once."""
    return i.held("wide", lambda: _wide(i))


def _wide(i: Instance) -> Wide:
    normalised = i.relu
    if not i.plain or i.network.paired:
        raise NotComputable("the recursion here is that of a plain network")
    infinite = [i.d, *(math.inf,) * (i.L - 1), 1]
    net = Network(infinite, "relu", "unit") if normalised else i.network
    try:
        covariances, dot, K = limiting_ntk(net, i.X, get=("G", "G_dot", "ntk"))
    except ValueError as reason:
        raise NotComputable(f"there is no limiting kernel ({reason})") from None
    grams = [c / b**2 for c, b in zip(covariances, net.betas, strict=True)]
    # closed forms cost some tens of u a layer, a Gram of d terms d·u, a series its accuracy
    relative = (256.0 + 8.0 * i.d) * i.L * U + (0.0 if normalised else 1e-13)
    return Wide(grams, dot, K, normalised, relative)


def unit_kernel(i: Instance) -> Tensor:
    """Π_{l<L} (2/n_l) K̄ for weights of variance 1, from the sampled weights by homogeneity.

    Dividing W_l by β_l divides the term of the kernel that belongs to W_k by Π_{l≠k} β_l².
    """
    if not i.relu or not i.plain:
        raise NotComputable("the normalised kernel of eq. 4 is that of a plain ReLU network")

    def make() -> Tensor:
        total = torch.zeros(i.N, i.N, dtype=torch.float64)
        for k in range(i.L):
            betas = math.prod(i.beta[l] ** 2 for l in range(1, i.L + 1) if l != k + 1)
            signals = i.B(k + 1) @ i.B(k + 1).T
            total += i.gram(k) * (0.5 * (signals + signals.T)) / betas
        return total * math.prod(2.0 / n for n in i.n[1 : i.L])

    return i.held("unit kernel", make)


def unit_error(i: Instance) -> float:
    """A bound on the rounding of :func:`unit_kernel` in the 2-norm."""
    length = max(i.n[k] + i.n[k + 1] for k in range(i.L)) + 4 * i.L
    return 2 * length * U * float(unit_kernel(i).diagonal().sum())

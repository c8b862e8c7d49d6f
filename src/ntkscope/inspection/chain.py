"""Lower bounds on λ_min of a limiting kernel, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope.kernels.limiting.limiting_kernel import limiting_ntk
from ntkscope.networks.network import Network
from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.result import Drawn, Shown, Tabular
from ntkscope.spectra.eigenvalue import Eigenvalue
from ntkscope.spectra.smallest import smallest_eigenvalue


@dataclass(frozen=True)
class ChainTerm:
    """One term A ∘ S of the kernel: λ_min(A ∘ S) ≥ λ_min(A) · min_i S_ii (Schur).

    ``layer`` is l, the layer of the term's weights; ``features`` λ_min of A = A_{l−1} + b;
    ``signal`` the smallest diagonal entry of S; ``lower`` their product, 0 where λ_min(A) cannot
    be told from zero.
    """

    layer: int
    features: Eigenvalue
    signal: float
    lower: float


@dataclass(frozen=True)
class Chain(Drawn, Tabular, Shown):
    """The terms, their sum ``lower`` ≤ λ_min(K), and λ_min(K) itself.

    Attributes
    ----------
    terms: each with its bound.
    lower: sum of the terms' bounds, at most λ_min(K).
    smallest: λ_min(K) with its interval.
    """

    terms: tuple[ChainTerm, ...]
    lower: float
    smallest: Eigenvalue

    def _rows(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.to_dict()["terms"]
        return found

    def _chart(self) -> Chart:
        names = [f"layer {t.layer}" for t in self.terms]
        return charts.bars(
            "part of the lower bound", names, {"λ_min(A) · min S_ii": [t.lower for t in self.terms]}
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "terms": [
                {
                    "layer": t.layer,
                    "features": t.features.to_dict(),
                    "signal": t.signal,
                    "lower": t.lower,
                }
                for t in self.terms
            ],
            "lower": self.lower,
            "smallest": self.smallest.to_dict(),
        }


def limiting_chain(net: Network, X: Any) -> Chain:
    """The λ_min chain of Nguyen et al. 2021, proof of Theorem 3.2, for any limiting kernel.

    Plain networks and residual ones alike: K = Σ_l (A_{l−1} + b) ∘ S_l with both factors positive
    semi-definite. Errors as in :func:`limiting_ntk`; NotEnoughMemoryError counts 2L + 1 matrices.

    Parameters
    ----------
    net: a network that has a wide limit.
    X: (N, d) samples.

    Returns
    -------
    Chain, with the bound of each term.
    """
    data = as_data(X, "X")
    N = len(data)
    memory.require(
        8.0 * N * N * (2 * net.depth + 2), f"the chain of an N = {N} kernel", "use fewer samples"
    )
    terms, covariances, K = limiting_ntk(net, data, get=("terms", "G", "ntk"), reduce=0)
    bias, variance = float(net.bias_std is not None), (net.bias_std or 0.0) ** 2
    found = []
    for layer, (term, covariance, beta) in enumerate(
        zip(terms, covariances, net.betas, strict=True), 1
    ):
        if beta == 0:
            raise ValueError(f"β_{layer} is 0, so layer {layer}'s features cannot be told from G")
        features = (covariance - variance) / beta**2 + bias
        diagonal = features.diagonal()
        # a zero row has no signal of its own; its features are 0 and so is λ_min
        seen = diagonal > 0
        signal = float((term.diagonal()[seen] / diagonal[seen]).min()) if bool(seen.any()) else 0.0
        least = smallest_eigenvalue(features)
        found.append(ChainTerm(layer, least, signal, max(0.0, least.lower) * signal))
    return Chain(tuple(found), sum(t.lower for t in found), smallest_eigenvalue(K))

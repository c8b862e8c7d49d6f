"""Spectra and smallest eigenvalues of the paper's networks, and what the laws say of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ntkscope.data import Sphere
from ntkscope.kernels.empirical import empirical_ntk
from ntkscope.networks.network import Network
from ntkscope.papers.fanwang2020.constants import constants_of, normalised
from ntkscope.papers.fanwang2020.law import linear_width_law
from ntkscope.prediction.finite_width import finite_width
from ntkscope.spectra.smallest import smallest_eigenvalue

EDGES = np.geomspace(0.01, 30.0, 61)  # of the histograms, in units of the mean eigenvalue
WIDTHS = (1.6, 1.0, 1.3, 0.8)  # hidden widths over n
DIM = 0.75  # d over n


def network(n: int, layers: int, gamma: float | None = None, activation: str = "tanh") -> Network:
    """L layers, σ centred and normalised, weights of variance 1; with γ every width and d are n/γ."""
    shape = [DIM, *WIDTHS[: layers - 1]] if gamma is None else [1 / gamma] * layers
    widths = [max(2, round(n * s)) for s in shape]
    return Network([*widths, 1], normalised(activation), [1.0] * layers, "ntk")


def spectra(seed: int, *, n: int, L: int, activation: str = "tanh") -> dict[str, float]:
    """Histograms of the CK's and the NTK's eigenvalues on random data: shares of n by bin."""
    net = network(n, L, activation=activation)
    X = Sphere(net.dim).sample(n, seed)
    K = empirical_ntk(net.sample(seed), X)
    last = K.term(len(K.terms) - 1).dense()
    made: dict[str, float] = {}
    for which, matrix in (("ck", last), ("ntk", K.dense())):
        values = torch.linalg.eigvalsh(matrix).numpy()
        mean = linear_width_law(net, n, kernel="ck" if which == "ck" else "ntk").mean
        counts = np.histogram(values / mean, EDGES)[0] / n
        made |= {f"{which}_{k}": float(c) for k, c in enumerate(counts)}
        made[f"{which}_outside"] = 1.0 - float(counts.sum())
    return made


def edges(
    seed: int, *, n: int, L: int, gamma: float = 0.0, activation: str = "tanh"
) -> dict[str, Any]:
    """λ_min beside r₊, the law's edge with its mean at this n, and our law of finite widths (0: outside)."""
    net = network(n, L, gamma or None, activation)
    X = Sphere(net.dim).sample(n, seed)
    least = smallest_eigenvalue(empirical_ntk(net.sample(seed), X))
    law = linear_width_law(net, n)
    try:
        ours = finite_width(net, n).value
    except ValueError:
        ours = 0.0
    return {
        "lambda_min": least.value, "lambda_min_error": least.error,
        "shift": constants_of(net).shift, "edge": law.edge(), "edge_n": law.edge(n), "ours": ours,
        "ranks": sum(int(w) for w in net.widths[:-1]),
    }  # fmt: skip

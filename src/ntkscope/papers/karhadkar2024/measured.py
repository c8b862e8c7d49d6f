"""λ_min of the limiting kernel, its floor and its ceiling, on data of a given separation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ntkscope import data
from ntkscope._base.inputs import as_seed
from ntkscope._base.specs import unknown
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel
from ntkscope.networks.network import Network
from ntkscope.papers.karhadkar2024 import geometry as g
from ntkscope.spectra.smallest import smallest_eigenvalue
from ntkscope.spectra.streamed import streamed_bound

LAWS = ("random", "clustered", "pairs", "digits")
_MEMBERS = 8  # rows of a cluster


def rows(law: str, N: int, d: int, size: float, seed: int) -> Tensor:
    """(N, d) unit rows.

    random: uniform. clustered: eight to a cluster, whose spread is ``size``. pairs: uniform, each with a
    partner at distance ``size``. digits: N of the 1797 images, scaled to norm 1.

    Raises ValueError for another law.
    """
    generator = as_seed(seed, f"rows {law}")

    def normal(n: int) -> Tensor:
        return torch.randn(n, d, generator=generator, dtype=torch.float64)

    if law == "random":
        X = normal(N)
    elif law == "clustered":
        centres = _unit(normal(math.ceil(N / _MEMBERS))).repeat_interleave(_MEMBERS, 0)[:N]
        X = centres + size * normal(N) / math.sqrt(d)
    elif law == "pairs":
        x, step = _unit(normal(N // 2)), normal(N // 2)
        step = _unit(step - (step * x).sum(1, keepdim=True) * x)
        angle = 2 * math.asin(size / 2)
        X = torch.cat([x, math.cos(angle) * x + math.sin(angle) * step])
    elif law == "digits":
        images = data.load("digits").X
        X = images[torch.randperm(len(images), generator=generator)[:N]]
    else:
        raise ValueError(unknown("law", law, LAWS))
    return _unit(X)


def _unit(X: Tensor) -> Tensor:
    return X / torch.linalg.vector_norm(X, dim=1, keepdim=True)


def measure(seed: int, *, law: str, N: int, d: int, size: float, depth: int) -> dict[str, float]:
    """δ, δ′, λ_min with its error, the certified floor, the pair's ceiling and the papers' λ.

    depth: L; the kernel is the paper's, on unit rows and at infinite widths.
    """
    X = rows(law, N, d, size, seed)
    found = g.measure(X)
    net = Network([X.shape[1], *[math.inf] * (depth - 1), 1], "relu", "unit")
    factor = 0.5 if depth == 2 else 1.0  # the shallow network has no √2
    least = smallest_eigenvalue(limiting_kernel(net, X))
    bound = streamed_bound(net, X)
    return {
        "delta": found.separation,
        "delta_prime": found.distance,
        "lambda_min": factor * least.value,
        "lambda_min_error": factor * least.error,
        "floor": factor * bound.lower,
        "ceiling": factor * bound.upper,
        "rate": g.rate(X.shape[1], found.delta, 2 if depth == 2 else 4).value,
    }

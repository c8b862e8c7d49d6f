"""The limiting kernel of a network by its layers."""

from __future__ import annotations

from typing import Any

import torch

from ntkscope._base import memory
from ntkscope._base.inputs import as_data
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel
from ntkscope.kernels.matrix import MatrixKernel
from ntkscope.kernels.summed import SummedKernel
from ntkscope.networks.network import Network


def limiting_terms(net: Network, X: Any, *, reduce: str | int = "trace") -> SummedKernel:
    """The limiting NTK of ``net`` on X (N, d) by its L terms (Nguyen et al. 2021, eq. 17), W_1 … W_L.

    Term l belongs to layer l's weights and biases. In float64, with the error of
    :func:`limiting_ntk`. Raises what that raises, and NotEnoughMemoryError for the L matrices.
    """
    samples = as_data(X, dtype=torch.float64)
    memory.require(
        (net.depth + 1) * 8 * len(samples) ** 2,
        f"the {net.depth} terms of an N = {len(samples)} limiting kernel",
        "use limiting_kernel(net, X), which forms tiles, or fewer samples",
    )
    kernel = limiting_kernel(net, samples, get="terms", reduce=reduce)
    error = kernel.entry_error()
    return SummedKernel(
        [
            MatrixKernel(
                matrix, entry_error=error, name=f"W_{layer}", covers=kernel.covers,
                semidefinite=True,
            )
            for layer, matrix in enumerate(kernel.whole(), 1)
        ]
    )  # fmt: skip

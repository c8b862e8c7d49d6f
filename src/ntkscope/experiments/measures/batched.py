"""Many small trials at once: the seeds of a block as a batch axis of every product.

The same kernels and spectra as the trials one by one (a test holds them together), at a fraction
of the overhead where N is so small that calls cost more than arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.experiments.design.trial import streams
from ntkscope.experiments.measures.columns import backward_error, enclosed, exact_zero
from ntkscope.experiments.measures.instances import load_data, network_of
from ntkscope.experiments.measures.measure import Result, TrialSettings
from ntkscope.networks.network import Network

BLOCK = 16  # seeds a block: the overhead of a call is shared by so many
LARGEST = 192  # N up to which a block beats its trials one by one, measured
_QUANTITIES = {"lambda_min", "lambda_max", "trace"}


def batchable(settings: TrialSettings) -> bool:
    """Whether there is a vectorised path: few quantities, of a plain network of one output."""
    network = settings["network"]
    return (
        set(settings["quantities"]) <= _QUANTITIES
        and network.get("bias_std") is None
        and not network.get("residual")
        and network.get("parameterization", "standard") in ("standard", "ntk")
        and "paired" not in str(network.get("init"))
        and int(network["widths"][-1]) == 1
        and "inf" not in network["widths"]
    )


def block(settings: TrialSettings, n_samples: int) -> int:
    """Seeds to compute together: 1 where the vectorised path does not apply or does not pay."""
    if "batch" in settings:
        return int(settings["batch"])
    return BLOCK if n_samples <= LARGEST and batchable(settings) else 1


def kernel_results(settings: TrialSettings, seeds: Sequence[int], device: str) -> list[Result]:
    """The batchable quantities of every seed."""
    network = network_of(settings)
    wanted = set(settings["quantities"])
    drawn = [streams(settings, seed, "weights", "data") for seed in seeds]
    X = torch.stack([load_data(settings, data, device) for _, data in drawn])
    models = [network.sample(weights, device=device) for weights, _ in drawn]
    weights = [torch.stack([m.weights[l].detach() for m in models]) for l in range(network.depth)]
    deficient = network.n_parameters < X.shape[1]
    if deficient and wanted == {"lambda_min"}:
        return [exact_zero("lambda_min") for _ in seeds]
    K, inner = ntk(network, weights, X)
    return [
        _columns(wanted, k, spectrum, inner, deficient)
        for k, spectrum in zip(K, torch.linalg.eigvalsh(K), strict=True)
    ]


def _columns(
    wanted: set[str],
    K: Float[Tensor, "N N"],
    eigenvalues: Float[Tensor, N],
    inner: int,
    deficient: bool,
) -> Result:
    trace, u = float(K.diagonal().sum()), torch.finfo(K.dtype).eps / 2
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    # LAPACK's error, and that of the kernel's entries: sums of `inner` products
    bar = backward_error(len(K), largest, K.dtype) + inner * u * trace / (1 - inner * u)
    result: Result = {}
    if "lambda_min" in wanted:
        zero = exact_zero("lambda_min") if deficient else None
        result |= zero or enclosed("lambda_min", smallest, bar)
    if "lambda_max" in wanted:
        result |= enclosed("lambda_max", largest, bar)
    if "trace" in wanted:
        result["trace"] = trace
    return result


def ntk(
    network: Network, weights: Sequence[Float[Tensor, "S _ _"]], X: Float[Tensor, "S N d"]
) -> tuple[Float[Tensor, "S N N"], int]:
    """The empirical NTKs of S networks, each on its own data, and the longest inner sum behind them.

    K = Σ_k s_k (F_k F_kᵀ) ∘ (B_{k+1} B_{k+1}ᵀ) (Nguyen et al. 2021, §4.1), for plain networks
    of one output.
    """
    features, slopes = [X], []
    for l in range(network.depth - 1):
        G = torch.bmm(features[-1], weights[l]) * network.scales[l]
        features.append(network.activation(G))
        slopes.append(network.activation.derivative(G))
    scale = [1.0 / n if network.parameterization == "ntk" else 1.0 for n in network.widths]
    last = network.depth - 1
    K = torch.bmm(features[last], features[last].mT) * scale[last]
    B = slopes[-1] * (weights[-1] * network.scales[-1]).mT
    longest = features[last].shape[2]
    for k in range(last - 1, -1, -1):
        F = features[k]
        K += torch.bmm(F, F.mT) * torch.bmm(B, B.mT) * scale[k]
        longest = max(longest, F.shape[2] + B.shape[2])
        if k:
            B = torch.bmm(B, (weights[k] * network.scales[k]).mT) * slopes[k - 1]
    return (K + K.mT) / 2, longest + network.depth + 1

"""Many small trials at once: the seeds of a block as a batch axis of every product.

The same kernels and spectra as the trials one by one (a test holds them together), at a fraction
of the overhead where N is so small that calls cost more than arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ntkscope.experiments.running.trial import Result, streams
from ntkscope.networks.network import Network
from ntkscope.spectra.eigenvalue import Status

BLOCK = 16  # seeds a block: the overhead of a call is shared by so many
LARGEST = 192  # N up to which a block beats its trials one by one, measured
_BATCHABLE = {"lambda_min", "lambda_max", "trace"}


def block(settings: Mapping[str, Any], n_samples: int) -> int:
    """Seeds to compute together: 1 where the vectorised path does not apply or does not pay."""
    if "batch" in settings:
        return int(settings["batch"])
    network = settings["network"]
    plain = (
        set(settings["quantities"]) <= _BATCHABLE
        and network.get("bias_std") is None
        and not network.get("residual")
        and network.get("parameterization", "standard") in ("standard", "ntk")
        and "paired" not in str(network.get("init"))
        and int(network["widths"][-1]) == 1
    )
    return BLOCK if plain and n_samples <= LARGEST else 1


def backward_error(n: int, largest: float, dtype: torch.dtype) -> float:
    """N·u·λ_max: how far LAPACK's symmetric eigenvalues may be off."""
    return n * (torch.finfo(dtype).eps / 2) * abs(largest)


def kernel_results(settings: Mapping[str, Any], seeds: Sequence[int]) -> list[Result]:
    """The batchable quantities of every seed."""
    from ntkscope.experiments.measures.kernel_trials import exact_zero, load_data, network_of

    network = network_of(settings)
    wanted = settings["quantities"]
    drawn = [streams(settings, seed, "weights", "data") for seed in seeds]
    X = torch.stack([load_data(settings, data) for _, data in drawn])
    models = [network.sample(weights) for weights, _ in drawn]
    weights = [
        torch.stack([model.weights[l].detach() for model in models]) for l in range(network.depth)
    ]
    N = X.shape[1]
    deficient = network.n_parameters < N
    if deficient and wanted == ["lambda_min"]:
        return [exact_zero("lambda_min") for _ in seeds]
    K, inner = ntk(network, weights, X)
    eigenvalues = torch.linalg.eigvalsh(K)
    results = []
    for index in range(len(seeds)):
        trace = float(K[index].diagonal().sum())
        spectrum = eigenvalues[index]
        u = torch.finfo(K.dtype).eps / 2
        bar = backward_error(N, float(spectrum[-1]), K.dtype) + inner * u * trace / (1 - inner * u)
        result: Result = {}
        if "lambda_min" in wanted:
            smallest = exact_zero("lambda_min") if deficient else None
            result |= smallest or enclosed("lambda_min", float(spectrum[0]), bar)
        if "lambda_max" in wanted:
            result |= enclosed("lambda_max", float(spectrum[-1]), bar)
        if "trace" in wanted:
            result["trace"] = trace
        results.append(result)
    return results


def enclosed(name: str, value: float, bar: float) -> Result:
    """An eigenvalue known to ± ``bar`` of a kernel of full rank, as columns."""
    if value + bar < 0:
        status = Status.INDEFINITE
    else:
        status = Status.OK if value - bar > 0 else Status.BELOW_NOISE
    return {
        name: value,
        f"{name}.lower": value - bar,
        f"{name}.upper": value + bar,
        f"{name}.status": status.name,
    }


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

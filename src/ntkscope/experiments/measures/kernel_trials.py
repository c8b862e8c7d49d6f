"""Quantities of the NTK of a sampled network on sampled data."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope import data
from ntkscope._base.specs import unknown
from ntkscope.experiments.measures import batched
from ntkscope.experiments.running.trial import Result, streams
from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.mlp import mlp_ntk
from ntkscope.networks.network import MLP, Network
from ntkscope.spectra.eigenvalue import Eigenvalue, Status
from ntkscope.spectra.smallest import smallest_eigenvalue

Settings = Mapping[str, Any]
_WHOLE = 2500  # N up to which all eigenvalues take no longer than a certified smallest one


class Instance:
    """One network with its weights on one data set, its kernel and spectrum made once."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.network = network_of(settings)
        weights, self._data_seed = streams(settings, seed, "weights", "data")
        self._settings = settings
        self.model: MLP = self.network.sample(weights)

    @cached_property
    def X(self) -> Tensor:
        return load_data(self._settings, self._data_seed)

    @cached_property
    def kernel(self) -> HadamardKernel:
        return mlp_ntk(self.model, self.X)

    @cached_property
    def limit(self) -> Tensor:
        from ntkscope.kernels.limiting.limiting_kernel import limiting_ntk

        limit = limiting_ntk(self.network, self.X)
        assert isinstance(limit, Tensor)
        return limit


def network_of(settings: Settings) -> Network:
    """The network that a trial's settings describe."""
    return Network(**settings["network"])


def load_data(settings: Settings, seed: int) -> Tensor:
    """The (N, d) data that a trial's settings describe."""
    return data.load(
        settings["data"],
        seed=seed,
        centered=settings.get("center", False),
        scaled=settings.get("scale", False),
    ).X


def eigenvalue(name: str, found: Eigenvalue) -> Result:
    """An eigenvalue as columns: its value, the ends of its interval, its status."""
    return {
        name: found.value,
        f"{name}.lower": found.lower,
        f"{name}.upper": found.upper,
        f"{name}.status": found.status.name,
    }


def exact_zero(name: str) -> Result:
    """More samples than parameters: JJᵀ has rank below N, and λ_min is zero without computing."""
    return {
        name: 0.0,
        f"{name}.lower": 0.0,
        f"{name}.upper": 0.0,
        f"{name}.status": Status.RANK_DEFICIENT.name,
    }


def _smallest(name: str, K: HadamardKernel) -> Result:
    """λ_min by a method that N alone decides, so that every run gives the same bits."""
    if len(K) > _WHOLE:
        return eigenvalue(name, smallest_eigenvalue(K, method="dense"))
    smallest, _, bar = _ends(K)
    return batched.enclosed(name, smallest, bar)


def _ends(K: HadamardKernel) -> tuple[float, float, float]:
    """(λ_min, λ_max, error): all eigenvalues by LAPACK, its backward error and the forming's."""
    values = torch.linalg.eigvalsh(K.dense())
    smallest, largest = float(values[0]), float(values[-1])
    return smallest, largest, batched.backward_error(len(K), largest, K.dtype) + K.forming_error()


def _lambda_min(instance: Instance) -> Result:
    if len(instance.X) > instance.model.n_parameters:
        return exact_zero("lambda_min")
    return _smallest("lambda_min", instance.kernel)


def _lambda_max(instance: Instance) -> Result:
    _, largest, bar = _ends(instance.kernel)
    return batched.enclosed("lambda_max", largest, bar)


def _trace(instance: Instance) -> Result:
    return {"trace": instance.kernel.trace()}


def _layers(instance: Instance) -> Result:
    result: Result = {}
    for index, term in enumerate(instance.kernel.terms):
        inner = 1
        for factor in term.factors:
            inner *= factor.width
        name = f"layer_{index}"
        if len(instance.X) > inner:
            result |= exact_zero(name)
        else:
            result |= _smallest(name, instance.kernel.term(index))
    return result


def _features(instance: Instance) -> Result:
    result: Result = {}
    for index, F in enumerate(instance.model.layers(instance.X)[0]):
        values = torch.linalg.svdvals(F.detach())
        # the σ_min of F as a map from the left: zero where there are more rows than columns
        wide = F.shape[0] <= F.shape[1]
        result[f"sigma_min_F{index}"] = float(values[-1]) if wide else 0.0
        result[f"sigma_max_F{index}"] = float(values[0])
    return result


def _bounds(instance: Instance) -> Result:
    lower = 0.0
    for term in instance.kernel.terms:
        if term.features is None:
            continue
        F = term.features.rows
        if F.shape[0] > F.shape[1]:
            continue  # F Fᵀ is singular: the term adds nothing to the bound
        smallest = float(torch.linalg.svdvals(F)[-1]) ** 2
        least = 1.0 if term.signals is None else float(term.signals.rows.square().sum(1).min())
        lower += term.scale * smallest * least
    diagonal = instance.kernel.diagonal()
    return {
        "schur_lower": lower,
        "diagonal_upper": float(diagonal.min()),
        "trace_upper": float(diagonal.mean()),
    }


def _limiting(instance: Instance) -> Result:
    return eigenvalue("limiting_lambda_min", smallest_eigenvalue(instance.limit, method="dense"))


def _limit_error(instance: Instance) -> Result:
    difference = instance.kernel.dense() - instance.limit
    scale = float(torch.linalg.eigvalsh(instance.limit)[-1])
    return {
        "limit_error": float(torch.linalg.eigvalsh(difference).abs().max()) / scale,
        "limit_error_entry": float(difference.abs().max() / instance.limit.abs().max()),
    }


QUANTITIES: dict[str, Callable[[Instance], Result]] = {
    "lambda_min": _lambda_min,
    "lambda_max": _lambda_max,
    "trace": _trace,
    "layers": _layers,
    "features": _features,
    "bounds": _bounds,
    "limiting_lambda_min": _limiting,
    "limit_error": _limit_error,
}


class KernelMeasure:
    """``quantities`` of the kernel, each a function of the same instance."""

    def check(self, settings: Settings) -> None:
        network = network_of(settings)
        for name in settings["quantities"]:
            if name not in QUANTITIES:
                raise ValueError(unknown("quantity", name, QUANTITIES))
        _, d = shape_of(settings["data"])
        if d != network.dim:
            raise ValueError(
                f"the data {settings['data']!r} have d = {d}, the network {network} takes "
                f"{network.dim} inputs"
            )
        if not network.finite:
            raise ValueError(f"a sweep samples its networks; {network} has infinite widths")

    def block(self, settings: Settings) -> int:
        return batched.block(settings, shape_of(settings["data"])[0])

    def threads(self, settings: Settings) -> int:
        if "threads" in settings:
            return int(settings["threads"])
        # two trials side by side beat one on two threads until they no longer fit in memory
        return 1 if shape_of(settings["data"])[0] < 8000 else 2

    def nbytes(self, settings: Settings) -> float:
        N, _ = shape_of(settings["data"])
        widths = [int(n) for n in settings["network"]["widths"]]
        weights = sum(a * b for a, b in itertools.pairwise(widths))
        matrices = 3.2 if set(settings["quantities"]) <= {"lambda_min", "trace"} else 5.2
        single = 8.0 * (matrices * N * N + 6.0 * N * sum(widths) + 2.0 * weights)
        return single * self.block(settings)

    def run(self, settings: Settings, seeds: Sequence[int]) -> list[Result]:
        if self.block(settings) > 1:
            return batched.kernel_results(settings, seeds)
        results = []
        for seed in seeds:
            instance = Instance(settings, seed)
            result: Result = {}
            for name in settings["quantities"]:
                result |= QUANTITIES[name](instance)
            results.append(result)
        return results


@functools.lru_cache(maxsize=4096)
def shape_of(source: str) -> tuple[int, int]:
    """(N, d) of a data description, without drawing the data where it is a distribution."""
    from ntkscope._base.specs import parse_spec
    from ntkscope.data.loaders import distribution

    spec = parse_spec(source)
    N = spec.options.get("N")
    if isinstance(N, int):
        try:
            return N, distribution(source).dim
        except ValueError:
            pass  # no distribution: a data set that takes N, or an error that load explains
    return tuple(data.load(source).X.shape)  # type: ignore[return-value]  # two axes, as_data saw to it

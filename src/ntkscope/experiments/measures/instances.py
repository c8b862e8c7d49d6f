"""The network and the data of a trial: what its settings describe, and what a seed makes of it."""

from __future__ import annotations

import functools
import itertools
import math
from functools import cached_property

from torch import Tensor

from ntkscope import data
from ntkscope._base.specs import parse_spec
from ntkscope.data.registry import distribution
from ntkscope.experiments.design.trial import streams
from ntkscope.experiments.measures.measure import TrialSettings
from ntkscope.kernels.hadamard import HadamardKernel
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel
from ntkscope.kernels.mlp import mlp_ntk
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network


class TrialInstance:
    """One network with its weights on one data set; its kernels are made once, on first use.

    settings: the trial's, as plain values. seed: the trial's; weights and data have streams of
    their own. device: where it is computed.
    """

    def __init__(self, settings: TrialSettings, seed: int, device: str = "cpu") -> None:
        self.network, self._device = network_of(settings), device
        weights, self._data_seed = streams(settings, seed, "weights", "data")
        self._settings, self._weights_seed = settings, weights

    @cached_property
    def model(self) -> MLP:
        """The sampled network. Raises ValueError for infinite widths."""
        return self.network.sample(self._weights_seed, device=self._device)

    @cached_property
    def X(self) -> Tensor:
        """(N, d) data."""
        return load_data(self._settings, self._data_seed, self._device)

    @cached_property
    def kernel(self) -> HadamardKernel:
        """The empirical NTK. Raises ValueError for infinite widths."""
        return mlp_ntk(self.model, self.X)

    @cached_property
    def ntk(self) -> Kernel:
        """The empirical NTK; of a network of infinite widths its limit."""
        return self.kernel if self.network.finite else limiting_kernel(self.network, self.X)

    @cached_property
    def limit(self) -> Tensor:
        """(N, N) NTK of the wide limit, in the units of the empirical one."""
        from ntkscope.kernels.limiting.limiting_kernel import limiting_ntk

        limit = limiting_ntk(self.network, self.X)
        assert isinstance(limit, Tensor)
        return limit


def network_of(settings: TrialSettings) -> Network:
    """The network that a trial's settings describe."""
    about = settings["network"]
    widths = [math.inf if n == "inf" else n for n in about["widths"]]
    return Network(**{**about, "widths": widths})


def checked_network(settings: TrialSettings, limits: bool = False) -> Network:
    """The network, if it takes the data and can be sampled, or, where ``limits`` are let in, has a limit.

    Raises ValueError where not.
    """
    network, (_, d) = network_of(settings), shape_of(settings["data"])
    if d != network.dim:
        raise ValueError(
            f"the data {settings['data']!r} have d = {d}, the network {network} takes "
            f"{network.dim} inputs"
        )
    if not network.finite and not limits:
        raise ValueError(
            f"this measure samples its networks, and {network} has infinite widths; measure lambda_min, "
            "lambda_max or trace of its limit"
        )
    return network


def load_data(settings: TrialSettings, seed: int, device: str = "cpu") -> Tensor:
    """The (N, d) data that a trial's settings describe."""
    drawn = data.load(
        settings["data"],
        seed=seed,
        centered=settings.get("center", False),
        scaled=settings.get("scale", False),
    )
    return drawn.X.to(device)


@functools.lru_cache(maxsize=4096)
def shape_of(source: str) -> tuple[int, int]:
    """(N, d) of a data description, without drawing the data where it is a distribution."""
    N = parse_spec(source).options.get("N")
    if isinstance(N, int):
        try:
            return N, distribution(source).dim
        except ValueError:
            pass  # no distribution: a data set that takes N, or an error that load explains
    return tuple(data.load(source).X.shape)  # type: ignore[return-value]  # two axes, as_data saw to it


def sizes(settings: TrialSettings) -> tuple[int, int, int]:
    """(N, Σ widths, number of weights): what memory is counted from."""
    widths = [0 if n == "inf" else int(n) for n in settings["network"]["widths"]]
    weights = sum(a * b for a, b in itertools.pairwise(widths))
    return shape_of(settings["data"])[0], sum(widths), weights

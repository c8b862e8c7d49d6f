"""What an inspection looks at: a kernel, and what is known of where it comes from."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ntkscope._base.inputs import as_data
from ntkscope._base.samples import Samples
from ntkscope.data.summary import DataSummary, summarize
from ntkscope.inspection.pairs import Pairs, pairs_of
from ntkscope.kernels.empirical import prepare
from ntkscope.kernels.kernel import Kernel
from ntkscope.kernels.limiting.terms import limiting_terms
from ntkscope.kernels.prepared import Options, Prepared, Reduce
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.prediction.for_sample import SamplePrediction, predict_for_sample
from ntkscope.spectra.streamed import streamed_bound

Shape = tuple[int | float, ...]


@dataclass(frozen=True, eq=False)
class Examined:
    """A kernel with its model, samples and parameters, as far as there are any.

    shapes: of the parameter behind each term; a kernel by itself has none. n_outputs: how many
    outputs the kernel sums. prepared: the model read on the samples, for further kernels of it.
    seed: that the weights were drawn with. limit: bytes that the work may take, where the caller gave a number.
    """

    model: Any
    X: Any
    kernel: Kernel
    reduce: Reduce
    shapes: Mapping[str, Shape]
    n_outputs: int
    prepared: Prepared | None = None
    seed: int | None = None
    limit: float | None = None

    @cached_property
    def pairs(self) -> Pairs:
        """Of all outputs of the samples, whatever ``reduce`` selects. Only for a model that was read."""
        assert self.prepared is not None
        rows = len(self.kernel) * self.prepared.n_outputs
        return pairs_of(self.prepared, rows, self.kernel.device, self.limit)

    @property
    def network(self) -> Network | None:
        """The network that the model is or was drawn from; None for modules and kernels."""
        if isinstance(self.model, Network):
            return self.model
        return self.model.network if isinstance(self.model, MLP) else None

    @property
    def n_parameters(self) -> int | float:
        """Infinite where it is not known or is."""
        if not self.shapes:
            bound = self.kernel.n_parameters
            return math.inf if bound is None else bound
        return sum(math.prod(shape) for shape in self.shapes.values())

    def summary(self) -> DataSummary | None:
        """Of the samples as rows of numbers, all inputs beside one another; None for whole numbers,
        whose norms and angles (of token ids) say nothing."""
        if self.X is None or self.network is not None:
            return None if self.X is None else summarize(self.X)
        parts = [torch.as_tensor(part).detach().cpu() for part in Samples(self.X).parts]
        if not all(part.is_floating_point() for part in parts):
            return None
        rows: list[Tensor] = [part.reshape(len(part), -1).to(torch.float64) for part in parts]
        return summarize(torch.cat(rows, dim=1))

    def describe(self) -> dict[str, Any]:
        """The network's part of the record."""
        network, K = self.network, self.kernel
        if network is not None:
            what = {**network.to_dict(), "text": str(network), "depth": network.depth}
        elif isinstance(self.model, Kernel):
            what = {"text": f"{type(K).__name__} {K.shape[0]}×{K.shape[1]}"}
        else:
            name = getattr(self.model, "__name__", type(self.model).__name__)
            what = {"text": f"{name} ({len(self.shapes)} parameter tensors)"}
        known = bool(self.shapes) or K.n_parameters is not None
        return {
            **what,
            "n_parameters": self.n_parameters if known else None,
            "dtype": str(K.dtype).removeprefix("torch."),
            "device": str(K.device),
            "near_kinks": K.near_kinks,
        }

    def floor(self) -> float | None:
        """A proved floor of λ_min from the rows' correlations; None where the kernel is no limit or no
        function of them."""
        if not isinstance(self.model, Network) or self.n_outputs != 1:
            return None
        try:
            found = streamed_bound(self.model, self.X)
        except ValueError:  # rows of several norms, skip connections
            return None
        return found.lower if found.proved else None

    def predict(self, data: DataSummary | None) -> SamplePrediction:
        """λ_min from N, d, the norms and the widths alone, or why not."""
        network = self.network
        if network is None or data is None:
            return SamplePrediction(None, None, "the predictor covers fully connected networks")
        if isinstance(self.reduce, int):
            network = network.with_widths((*network.widths[:-1], 1))
        samples = as_data(self.X, dtype=torch.float64).cpu()
        return predict_for_sample(network, samples, data.nearest_angle)


def examine(
    model: Network | Kernel | Callable[..., Any],
    X: Any,
    reduce: Reduce,
    options: Options,
    seed: int,
) -> Examined:
    """Draw, read or take ``model``; see :func:`ntkscope.inspect`, whose errors these are."""
    if reduce == "full":
        raise ValueError(
            'inspect needs one kernel entry a sample pair; pass reduce="trace" or an index'
        )
    if isinstance(model, Kernel):
        return _of_kernel(model, X, reduce, options)
    if X is None:
        raise TypeError("X is missing: a kernel alone goes without data, a model does not")
    drawn = None
    if isinstance(model, Network):
        if not model.finite:
            return _of_limit(model, X, reduce, options)
        drawn, model = seed, model.sample(seed)
    prepared = prepare(model, X, options)
    kernel = prepared.kernel(reduce)
    summed = prepared.n_outputs if reduce == "trace" else 1
    limit = None if options.max_memory is None else float(options.max_memory)
    return Examined(model, X, kernel, reduce, prepared.shapes, summed, prepared, drawn, limit)


def _of_kernel(kernel: Kernel, X: Any, reduce: Reduce, options: Options) -> Examined:
    if reduce != "trace" or options.params is not None:
        raise ValueError(
            "a kernel is inspected as it is; reduce and params choose when it is made, by "
            "ntk.empirical_ntk(model, X, reduce=..., params=...)"
        )
    if not kernel.symmetric:
        raise ValueError(f"inspect needs a symmetric kernel, this is a cross kernel {kernel.shape}")
    if X is not None and len(kernel.labels) == 1:
        samples = len(Samples(X))
        if samples != len(kernel):
            raise ValueError(f"X has {samples} samples and the kernel {len(kernel)} rows")
    return Examined(kernel, X, kernel, reduce, {}, 1)


def _of_limit(network: Network, X: Any, reduce: Reduce, options: Options) -> Examined:
    if options.params is not None:
        raise ValueError(
            f"params chooses weights, and {network} has none to choose: it is infinite"
        )
    kernel = limiting_terms(network, X, reduce=reduce)
    pairs = enumerate(itertools.pairwise(network.widths), 1)
    shapes: dict[str, Shape] = {f"W_{i}": pair for i, pair in pairs}
    summed = network.n_outputs if reduce == "trace" else 1
    return Examined(network, X, kernel, reduce, shapes, summed)

"""‖g_k‖_Lip as an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ntkscope._base.inputs import as_data
from ntkscope.lipschitz.ascent import largest_jacobian
from ntkscope.lipschitz.exact import exact_constant
from ntkscope.lipschitz.maps import feature_map
from ntkscope.lipschitz.upper import upper_bounds
from ntkscope.networks.mlp import MLP
from ntkscope.networks.network import Network
from ntkscope.report import charts
from ntkscope.report.chart import Chart
from ntkscope.report.numbers import enclosure
from ntkscope.report.result import Drawn, Result


@dataclass(frozen=True)
class LipschitzInterval(Drawn, Result, without=("z",)):
    """The Lipschitz constant of f_start ↦ g_layer, in Euclidean norms.

    Attributes
    ----------
    lower, upper: an interval that contains it.
    exact: whether every linear piece was visited, so that the width of the interval is rounding alone.
    lower_method, upper_method: where the two ends come from.
    uppers: every upper bound tried, by name.
    pieces: linear pieces visited, where they were.
    scaling: the right side of Nguyen et al. 2021, Theorem 6.2, without its constant and as a
        bound on the constant, not its square; None where the β_l or start > 0 leave it undefined.
    z: an input where ``lower`` is met.
    layer, start: which map: f_start ↦ g_layer.
    """

    layer: int
    start: int
    lower: float
    upper: float
    exact: bool
    lower_method: str
    upper_method: str
    uppers: dict[str, float]
    pieces: int | None
    scaling: float | None
    z: Tensor | None = field(default=None, repr=False, compare=False)

    def _chart(self) -> Chart:
        """The interval, and every upper bound that was tried."""
        told = [(self.lower_method, self.lower, "lower")]
        told += [(name, bound, "upper") for name, bound in self.uppers.items()]
        return charts.bounds(f"‖g_{self.layer}‖_Lip", told, log=self.lower > 0)

    def __str__(self) -> str:
        what = f"‖g_{self.layer}‖_Lip" if self.start == 0 else (
            f"‖f_{self.start} ↦ g_{self.layer}‖_Lip"
        )  # fmt: skip
        how = "exact" if self.exact else f"{self.lower_method}; {self.upper_method}"
        return f"{what} {enclosure(self.lower, self.upper)} ({how})"


def lipschitz_interval(
    model: MLP,
    layer: int | None = None,
    *,
    start: int = 0,
    X: Any = None,
    starts: int = 64,
    steps: int = 60,
    seed: int | torch.Generator = 0,
) -> LipschitzInterval:
    """Enclose the Lipschitz constant of the pre-activation map g_layer of ``model``.

    Parameters
    ----------
    layer: k of g_k; ``None`` is the output g_L.
    start: the constant of f_start ↦ g_layer instead of x ↦ g_layer.
    X: (N, d) inputs from which the search starts too (only with start = 0).
    starts, steps, seed: of the search behind the lower end.
    model: an :class:`MLP`.

    Returns
    -------
    LipschitzInterval, which contains the constant.

    The upper end is the least of the product of operator norms, the averaged expansion and the
    semidefinite bound with diagonal multipliers; both ends are one number where the linear pieces
    can be enumerated. Raises ValueError for a layer that the model does not have.
    """
    if not isinstance(model, MLP):
        raise TypeError(f"model must be an ntkscope MLP, got {type(model).__name__}")
    if starts < 1 or steps < 0:
        raise ValueError(f"starts must be ≥ 1 and steps ≥ 0, got {starts} and {steps}")
    layer = model.network.depth if layer is None else layer
    mapping = feature_map(model, layer, start)
    scaling = theorem_scaling(model.network, layer) if start == 0 else None
    exact = exact_constant(mapping)
    uppers = upper_bounds(mapping, steps if exact is None else 0)
    upper_name = min(uppers, key=lambda name: uppers[name])
    if exact is not None:
        return LipschitzInterval(
            layer, start, exact.lower, exact.upper, True, exact.method, exact.method, uppers,
            exact.pieces, scaling,
        )  # fmt: skip
    data = None if X is None or start else as_data(X)
    if data is not None and data.shape[1] != mapping.dim:
        raise ValueError(f"X has {data.shape[1]} features, the network takes {mapping.dim}")
    found = largest_jacobian(mapping, starts=starts, steps=steps, seed=seed, X=data)
    return LipschitzInterval(
        layer, start, found.value, uppers[upper_name], False,
        f"largest Jacobian met in a search from {starts} starts", upper_name, uppers, None,
        scaling, found.z,
    )  # fmt: skip


def theorem_scaling(network: Network, layer: int) -> float | None:
    """√[Π_{l=0}^k n_l / min_l n_l · Π_{l<k} log n_l · Π_{l≤k} β_l²], Nguyen et al. 2021, Thm 6.2.

    β_l is the standard deviation of the effective weights; None where the weights were given.
    """
    try:
        betas = network.betas
    except ValueError:
        return None
    n = [float(w) for w in network.widths[: layer + 1]]
    if not all(math.isfinite(w) for w in n):
        return None
    squared = math.prod(n) / min(n)
    squared *= math.prod(math.log(w) for w in n[1:layer])
    squared *= math.prod((b * s) ** 2 for b, s in zip(betas[:layer], network.scales, strict=False))
    return math.sqrt(squared)

"""Bombari et al. 2022, Figure 1: λ_min under minimum over-parameterization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale, outcomes
from ntkscope.experiments.figures.predicted import Case, draw_predicted
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.exponents import scaling_verdict
from ntkscope.experiments.reading.table import Table
from ntkscope.networks.network import Network

TERM = "layer_1"  # λ_min of K_(L-2), whose bound is the one that the theorem proves


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    steps: list[int | float | str] = list(range(5, 1000, 50)) if full else list(range(5, 106, 10))
    return {
        "name": f"bombari2022-figure-1-{scale}",
        "measure": ["lambda_min", "layers"],
        "seeds": 10 if full else 5,
        "grid": {"N": [1000, 2000, 3000] if full else [200, 400, 600], "i": steps},
        "define": {"d": "floor(sqrt(1000*i))" if full else "floor(sqrt(500*i))", "d2": "d*d"},
        "data": "gaussian:N={N},d={d}",
        "network": {"widths": ["d", "d", "d", 1], "activation": "sigmoid", "init": "bombari2022"},
    }


def _draw(table: Table, axes: list[Any]) -> None:
    curves(axes[0], table, "d2", "lambda_min", ("N",), lambda N: f"N = {N}")
    first = table.records[0]["N"]
    curves(axes[0], table, "d2", TERM, ("N",), lambda N: "$K_{L-2}$" if first == N else None,
           linestyle=":", marker="^")  # fmt: skip
    draw_predicted(axes[0], table, "d2", ("N",), _case)
    axes[0].set(xlabel="$d^2$", ylabel=r"$\lambda_{\min}$")


def _case(record: Mapping[str, Any]) -> Case:
    d = int(record["d"])
    net = Network([d, d, d, 1], activation="sigmoid", init="bombari2022")
    return Case(net, int(record["N"]), "gaussian")


def _analyse(table: Table) -> Analysis:
    verdicts = []
    for (N,), part in table.groups("N"):
        for column, name in (("lambda_min", f"N = {N}"), (TERM, f"N = {N}, K_(L-2)")):
            # zero where N exceeds the number of parameters: no power law passes through these points
            positive = part.only(lambda r, c=column: r.get(f"{c}.status") == "OK")  # type: ignore[misc]
            groups = positive.trials("d2", column)
            if len(groups) < 3:
                continue
            verdicts.append(scaling_verdict(name, groups, 1.0, "λ_min", "d²"))
    return Analysis(outcomes(verdicts), tuple(verdicts))


FIGURE = Figure(
    id="bombari2022-figure-1",
    title="λ_min of the NTK is linear in d² from minimum over-parameterization on",
    source="Bombari, Amani and Mondelli 2022, §3, Figure 1",
    claim="Theorem 3.1: λ_min(K) is linear in d² when d = n_1 = n_2.",
    setup=(
        "L = 3, sigmoid, β_l = 1 (W_l ~ N(0, 1/n_{l-1}), W_L ~ N(0, 1)), standard Gaussian data, "
        "N = 1000, 2000, 3000, d = ⌊√(1000 i)⌋ for i = 5, 55, …, 955, 10 trials; mean and one "
        "standard deviation. Quick: N = 200, 400, 600, d = ⌊√(500 i)⌋ for i = 5, 15, …, 105, 5 trials."
    ),
    choices=(
        "The kernel K of all layers, as the text defines it, and beside it K_(L-2) (dotted), whose "
        "bound is the one that is proved and which the published script computes.",
        "Where N exceeds the number of parameters 2d² + d the rank of JJᵀ is below N, and λ_min is "
        "zero without computing.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
)

"""Nguyen et al. 2021, Figure 2, left: λ_min of the normalised NTK over the input dimension."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale, outcomes
from ntkscope.experiments.figures.predicted import Case, draw_predicted
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.exponents import scaling_verdicts
from ntkscope.experiments.reading.table import Table
from ntkscope.networks.network import Network

_Y, _BY = "4*lambda_min/(n_1*n_2)", ("N", "n_1", "n_2")


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    triples = [(100, 800, 400), (200, 1600, 400), (400, 3200, 400)]
    if not full:
        triples = [(50, 400, 200), (100, 800, 200), (150, 1200, 200)]
    dims = range(100, 1001, 100) if full else range(100, 601, 100)
    return {
        "name": f"nguyen2021-figure-2-left-{scale}",
        "measure": "lambda_min",
        "seeds": 50 if full else 16,
        "points": [{"N": N, "n_1": a, "n_2": b} for N, a, b in triples],
        "grid": {"d": list(dims)},
        "data": "gaussian:N={N},d={d}",
        "network": {"widths": ["d", "n_1", "n_2", 1], "activation": "relu", "init": "unit"},
    }


def _draw(table: Table, axes: list[Any]) -> None:
    curves(
        axes[0], table.having(_Y), "d", _Y, _BY,
        lambda N, a, b: f"N = {N}, $n_1$ = {a}, $n_2$ = {b}",
    )  # fmt: skip
    draw_predicted(axes[0], table, "d", _BY, _case)
    axes[0].set(
        xlabel="input dimension d", ylabel=r"$\lambda_{\min}\left(\frac{4}{n_1 n_2}\bar K\right)$"
    )


def _case(record: Mapping[str, Any]) -> Case:
    a, b = int(record["n_1"]), int(record["n_2"])
    net = Network([int(record["d"]), a, b, 1], activation="relu", init="unit")
    return Case(net, int(record["N"]), "gaussian", unit=a * b / 4.0)


def _analyse(table: Table) -> Analysis:
    verdicts = scaling_verdicts(
        table.having(_Y), "d", _Y, _BY, "N = {}, n_1 = {}, n_2 = {}".format, 1.0,
        ("λ_min(4/(n_1 n_2) K̄)", "d"),
    )  # fmt: skip
    return Analysis(outcomes(verdicts), tuple(verdicts))


FIGURE = Figure(
    id="nguyen2021-figure-2-left",
    title="λ_min grows linearly with the input dimension",
    source="Nguyen, Mondelli and Montúfar 2021, §4, Figure 2 (left)",
    claim="Theorem 3.2: λ_min(4/(n_1 n_2) K̄) depends linearly on d.",
    setup=(
        "L = 3, ReLU, weights N(0, 1), Gaussian data, 50 trials a point (16 in the quick version); "
        "mean and one standard deviation."
    ),
    choices=(
        "The paper does not give its three (N, n_1, n_2). Here N = 100, 200, 400 with n_1 = 8N, as "
        "in the right panel, and n_2 = 400; d = 100, 200, …, 1000, from a quarter of N to ten times N. (Quick: N = 50, 100, 150, n_2 = 200, d ≤ 600.)",
        "The data's law is not stated beside the figure: standard Gaussian.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
)

"""Beyond the papers: how fast the empirical kernel comes to its limit."""

from __future__ import annotations

from typing import Any

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale, outcomes
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.exponents import scaling_verdict
from ntkscope.experiments.reading.table import Table


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    widths = [64, 128, 256, 512, 1024, 2048, 4096] if full else [64, 128, 256, 512, 1024]
    return {
        "name": f"width-{scale}",
        "measure": "limit_error",
        "seeds": 10 if full else 5,
        "grid": {"activation": ["relu", "tanh"], "n": list(widths)},
        "data": "gaussian:N={N},d=50",
        "points": [{"N": 200 if full else 80}],
        "network": {
            "widths": [50, "n", "n", 1],
            "activation": "{activation}",
            "init": "he",
            "parameterization": "ntk",
        },
    }


def _draw(table: Table, axes: list[Any]) -> None:
    columns = (("limit_error", "operator norm"), ("limit_error_entry", "largest entry"))
    for ax, (column, norm) in zip(axes, columns, strict=True):
        curves(ax, table, "n", column, ("activation",), str)
        ax.set_xscale("log", base=2)
        ax.set(yscale="log", xlabel="width n", ylabel=f"relative error, {norm}")


def _analyse(table: Table) -> Analysis:
    verdicts = [
        scaling_verdict(f"{name}, {norm}", part.trials("n", column), -0.5, "error", "n")
        for (name,), part in table.groups("activation")
        for column, norm in (("limit_error", "operator norm"), ("limit_error_entry", "entries"))
    ]
    return Analysis(outcomes(verdicts), tuple(verdicts))


FIGURE = Figure(
    id="width",
    title="The empirical kernel comes to its limit like n^{-1/2}",
    source="Beyond the papers; Nguyen et al. 2021, eq. 4 and 19",
    claim=(
        "Fluctuations of order n^{-1/2} about the limit; the bound that eq. 19 quotes gives n^{-1/4}."
    ),
    setup=(
        '‖K̄ − K‖/‖K‖, L = 3, "ntk" parameterization, He initialization, d = 50, N = 200, '
        "n_1 = n_2 = n = 64…4096, ReLU and tanh, 10 trials. Quick: N = 80, n ≤ 1024, 5 trials."
    ),
    choices=("The limit is evaluated at the network's own data, in the same units.",),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=2,
)

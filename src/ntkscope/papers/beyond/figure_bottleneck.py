"""Beyond the papers: one wide layer among narrow ones, at each position (Nguyen Figure 1's shape)."""

from __future__ import annotations

from typing import Any

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale, outcomes
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.exponents import scaling_verdicts
from ntkscope.experiments.reading.table import Table

_NARROW = 100


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    samples = range(100, 801, 100) if full else range(50, 251, 50)
    return {
        "name": f"bottleneck-{scale}",
        "measure": "lambda_min",
        "seeds": 20 if full else 6,
        "grid": {"position": [1, 2, 3, 4], "N": list(samples)},
        # width 8N at `position`, narrow elsewhere: max(…) is 8N where the difference is zero
        "define": {
            f"n_{l}": f"max({_NARROW}, 8*N - 8*N*min(1, (position - {l})**2))" for l in range(1, 5)
        },
        "data": "gaussian:N={N},d=100",
        "network": {
            "widths": [100, "n_1", "n_2", "n_3", "n_4", 1],
            "activation": "relu",
            "init": "he",
        },
    }


def _draw(table: Table, axes: list[Any]) -> None:
    curves(axes[0], table, "N", "lambda_min", ("position",), _label)
    axes[0].set(xscale="log", yscale="log", xlabel="number of samples N  ($n_k = 8N$)",
                ylabel=r"$\lambda_{\min}(K)$")  # fmt: skip


def _analyse(table: Table) -> Analysis:
    verdicts = scaling_verdicts(
        table, "N", "lambda_min", ("position",), _label, 1.0, ("λ_min", "N")
    )
    return Analysis(outcomes(verdicts), tuple(verdicts))


def _label(k: int) -> str:
    return f"wide layer k = {k}"


FIGURE = Figure(
    id="bottleneck",
    title="One wide layer among bottlenecks, at each position",
    source="Beyond the papers; the shape of Nguyen et al. 2021, Figure 1, and Theorem 4.1",
    claim="Theorem 4.1: one wide layer n_k = Ω̃(N) suffices wherever it stands, and λ_min ∝ n_k.",
    setup=(
        f"L = 5, ReLU, He initialization, d = 100, n_k = 8N and the other hidden layers {_NARROW} "
        "wide, k = 1…4, Gaussian data, 20 trials (6 in the quick version)."
    ),
    choices=("Theorem 4.1 allows any widths but for exponential bottlenecks before layer k.",),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
)

"""Widths that rise, bulge or narrow: the two theorems on smooth activations beyond their shapes."""

from __future__ import annotations

from typing import Any

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.exponents import ScalingVerdict, scaling_verdicts
from ntkscope.experiments.reading.table import Table
from ntkscope.papers.beyond.seen import answer

# the widths of three hidden layers over the smallest
_SHAPES = {
    "equal": (1, 1, 1),
    "falling": (4, 2, 1),
    "rising": (1, 2, 4),
    "bulge": (1, 4, 1),
    "waist": (4, 1, 4),
}
_REGIMES = ("linear", "minimum")
_LINEAR = ("banerjee2023:sigma0_sq=1,v=gaussian", "ntk")
_MINIMUM = ("bombari2022", "standard")


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    linear = [50, 100, 200, 400] if full else [40, 80, 160]
    minimum = [10, 14, 20, 28] if full else [8, 12, 16]
    points = [
        {"regime": regime, "shape": name, "a": a, "b": b, "c": c, "m": m,
         "linear": int(regime == "linear"), "init": init, "form": form}
        for regime, sizes, (init, form) in (("linear", linear, _LINEAR), ("minimum", minimum, _MINIMUM))
        for name, (a, b, c) in _SHAPES.items()
        for m in sizes
    ]  # fmt: skip
    return {
        "name": f"shapes-{scale}",
        "measure": "lambda_min",
        "seeds": 10 if full else 5,
        "points": points,
        # N = m (Banerjee's m = n), or half of n_{L-2} n_{L-1} (Bombari's minimum over-parameterization)
        "define": {
            "n_1": "a*m", "n_2": "b*m", "n_3": "c*m", "product": "n_2*n_3",
            "N": "floor(linear*m + (1-linear)*product/2)", "d": "floor(linear*20 + (1-linear)*m)",
        },
        "data": "gaussian:N={N},d={d}",
        "network": {
            "widths": ["d", "n_1", "n_2", "n_3", 1], "activation": "tanh", "init": "{init}",
            "parameterization": "{form}",
        },
    }  # fmt: skip


def _draw(table: Table, axes: list[Any]) -> None:
    over = "lambda_min/product"
    for ax, regime, x, y, size in zip(
        axes, _REGIMES, ("m", "product"), ("lambda_min", over), ("x-small", ""), strict=True
    ):
        part = table.where(regime=regime).having(over)
        curves(ax, part, x, y, ("shape",), lambda name: f"{name}, {_ratio(name)}", legend=size)
        ax.set(xscale="log", yscale="log")
    axes[0].set(xlabel="N = smallest width m", ylabel=r"$\lambda_{\min}(K)$, linear width")
    axes[1].set(
        xlabel=r"$n_{L-2}\,n_{L-1} = 2N$",
        ylabel=r"$\lambda_{\min}/(n_{L-2}\,n_{L-1})$, minimum width",
    )


def _ratio(name: str) -> str:
    return " : ".join(map(str, _SHAPES[name]))


def _analyse(table: Table) -> Analysis:
    verdicts: list[ScalingVerdict] = []
    for regime, x, said, claimed in zip(
        _REGIMES, ("m", "product"), ("m", "n_{L-2} n_{L-1}"), (0.0, 1.0), strict=True
    ):
        verdicts += scaling_verdicts(
            table.where(regime=regime), x, "lambda_min", ("shape",),
            lambda name, r=regime: f"{r} width, {name}", claimed, ("λ_min", said),
        )  # fmt: skip
    # a lower bound: an exponent above the claimed one is no objection
    cases = {v.curve: v.late.exponent.high >= v.claimed for v in verdicts}
    return Analysis(
        answer("the exponent of the lower bound or more, on the larger half", cases),
        tuple(verdicts),
    )


FIGURE = Figure(
    id="shapes",
    title="λ_min with widths that are not pyramidal",
    source="Beyond the papers; Banerjee et al. 2023, Theorem 4.1 (equal widths), and Bombari et al. 2022, §6",
    claim=(
        "Open: λ_min = Ω(1) at linear width with unequal widths, and Ω(n_{L-2} n_{L-1}) at minimum width where layers "
        "grow; the theorems have m_l = m and n_l = O(n_{l-1})."
    ),
    setup=(
        "Three hidden tanh layers in the ratios 1:1:1, 4:2:1, 1:2:4, 1:4:1, 4:1:4, Gaussian data. Left: N the smallest width, "
        "50 … 400, d = 20, Banerjee's initialization. Right: N = n_{L-2} n_{L-1}/2, d = the smallest width, "
        "10 … 28, Bombari's. 10 trials. Quick: 40 … 160 and 8 … 16, 5 trials."
    ),
    choices=(
        "Seen: the exponent over the larger half is not below the claimed one (0 in m, 1 in the product) by more than its "
        "interval. Equal and falling widths are inside the theorems: the yardstick for the others.",
        "“Rising” and “bulge” at fixed ratios are inside Bombari's n_l = O(n_{l-1}) with a constant of 2 or 4; what is tried "
        "is whether that constant matters.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=2,
)

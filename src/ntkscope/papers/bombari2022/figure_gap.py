"""Beyond the papers: which of Bombari's two bounds is tight when d is larger than n_{L-2}?"""

from __future__ import annotations

from typing import Any

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.constants import fit_curve
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.fits import PowerLaw, power_law, upper_half
from ntkscope.experiments.reading.table import Table

_KINDS = ("sigmoid", "relu")


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    ratios = [0.25, 0.5, 1, 2, 4, 8] if full else [0.5, 1, 2, 4]
    return {
        "name": f"bombari2022-gap-{scale}",
        "measure": ["lambda_min", "layers"],
        "seeds": 10 if full else 4,
        "points": [{"N": 1000, "n": 60} if full else {"N": 300, "n": 40}],
        "grid": {"activation": list(_KINDS), "ratio": ratios},
        "define": {"d": "floor(n*ratio)"},
        "data": "gaussian:N={N},d={d}",
        "network": {
            "widths": ["d", "n", "n", 1],
            "activation": "{activation}",
            "init": "bombari2022",
        },
    }


def _draw(table: Table, axes: list[Any]) -> None:
    labels = (
        ("lambda_min/n**2", r"$\lambda_{\min}/(n_{L-2}\,n_{L-1})$   (eq. 6)"),
        ("lambda_min/(d*n)", r"$\lambda_{\min}/(d\,n_{L-1})$   (eq. 7)"),
    )
    for ax, (column, label) in zip(axes, labels, strict=True):
        curves(ax, table.having(column), "ratio", column, ("activation",), str)
        ax.set_xscale("log", base=2)
        ax.set(yscale="log", xlabel="$d / n_{L-2}$", ylabel=label)


def _tight(law: PowerLaw) -> str:
    """Constant λ_min/(n n) has exponent 0 in d, constant λ_min/(d n) exponent 1."""
    to_lower, to_upper = abs(law.exponent.value), abs(law.exponent.value - 1)
    return "the lower bound (6)" if to_lower < to_upper else "the upper bound (7)"


def _analyse(table: Table) -> Analysis:
    fits, words = [], []
    for name in _KINDS:
        groups = table.where(activation=name).trials("ratio", "lambda_min")
        positive = {x: v for x, v in groups.items() if min(v) > 0}
        fits.append(fit_curve(name, "λ_min", "d/n_{L-2}", 1.0, positive))
        law = power_law(upper_half(positive))
        words.append(f"{name}: e = {law.exponent.value:.2f}, nearer to {_tight(law)}")
    return Analysis(
        "For d beyond n_{L-2} at fixed widths, λ_min ∝ d^e, where e = 0 would make the lower bound "
        "tight and e = 1 the upper one. " + "; ".join(words) + ".",
        constants=tuple(fits),
    )


FIGURE = Figure(
    id="bombari2022-gap",
    title="Between the two bounds of Theorem 3.1",
    source="Beyond the papers; Bombari, Amani and Mondelli 2022, eq. 6 and 7, §6",
    claim=(
        "Theorem 3.1 leaves a gap: Ω(n_{L-2} n_{L-1}) ≤ λ_min ≤ O(d n_{L-1}); they match when "
        "d = Θ(n_{L-2})."
    ),
    setup=(
        "L = 3, n_1 = n_2 = 60, N = 1000, d/n_1 = 1/4 … 8, β_l = 1, sigmoid and ReLU, 10 trials. "
        "Quick: n_1 = n_2 = 40, N = 300, d/n_1 = 1/2 … 4, 4 trials."
    ),
    choices=(
        "d < n_1 are growing widths and ReLU has no Lipschitz derivative: both lie outside of the "
        "theorem's assumptions.",
        "d stays below N/2: at d ≈ N the Gram matrix of the data leaves its own singular regime, "
        "which would be mistaken for a dependence on d.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=2,
)

"""Banerjee et al. 2023, §5: what the initialization variance does to λ_min and to the curvature."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.drawing import COLOURS, curves
from ntkscope.experiments.reading.table import Table


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    return {
        "name": f"banerjee2023-tradeoff-{scale}",
        "measure": "ntkscope.training.tradeoff:measure",
        "seeds": 5 if full else 3,
        "grid": {
            "layers": [1, 2, 4, 8] if full else [1, 2, 4],
            "sigma0_sq": [2.0**k for k in range(-6, 7)] if full else [4.0**k for k in range(-3, 4)],
        },
        "arguments": {
            "m": 800 if full else 160,
            "N": 400 if full else 80,
            "d": 100 if full else 40,
            "samples": 50 if full else 10,
        },
    }


def _draw(table: Table, axes: list[Any]) -> None:
    for ax, y, title in (
        (axes[0], "lambda_min", r"$\lambda_{\min}(K)$"),
        (axes[1], "hessian", r"$\max_i \|\nabla^2 f(\theta_0; x_i)\|_2$"),
    ):
        curves(ax, table, "sigma0_sq", y, ("layers",), lambda L: f"L = {L}")
        ax.set(xscale="log", yscale="log", xlabel=r"$\sigma_0^2$", ylabel=title)
    for index, ((layers,), part) in enumerate(table.groups("layers")):
        least, most = (
            part.trials("sigma0_sq", "lambda_min"),
            part.trials("sigma0_sq", "hessian"),
        )
        xs = [float(np.mean(v)) for v in most.values()]
        ys = [float(np.mean(v)) for v in least.values()]
        colour = COLOURS[index % len(COLOURS)]
        axes[2].plot(xs, ys, marker="o", markersize=3, color=colour, label=f"L = {layers}")
        # the arrow of growing σ_0²
        axes[2].annotate(
            "", (xs[-1], ys[-1]), (xs[-2], ys[-2]), arrowprops={"arrowstyle": "->", "color": colour}
        )
    axes[2].set(
        xscale="log", yscale="log", xlabel=r"$\max_i \|\nabla^2 f\|_2$",
        ylabel=r"$\lambda_{\min}(K)$",
    )  # fmt: skip
    axes[2].legend(frameon=False, fontsize="small")


def _analyse(table: Table) -> Analysis:
    facts, numbers, falling, rises = [], {}, [], []
    for (layers,), part in table.groups("layers"):
        least, most = (
            part.trials("sigma0_sq", "lambda_min"),
            part.trials("sigma0_sq", "hessian"),
        )
        means = {s: (float(np.mean(v)), float(np.mean(most[s]))) for s, v in least.items()}
        low, high = min(means), max(means)
        best = max(means, key=lambda s: means[s][0])
        gain = means[best][0] / means[low][0]
        rise = means[high][1] / means[low][1]
        falling.append(gain)
        rises.append(rise)
        numbers[f"L = {layers}"] = {
            "best_sigma0_sq": best, "lambda_min_gain": gain, "hessian_rise": rise,
        }  # fmt: skip
        facts += [
            (f"L = {layers}: λ_min is largest at", f"σ_0² = {best:g}"),
            (f"L = {layers}: λ_min there over that at σ_0² = {low:g}", f"{gain:.3g}"),
            (f"L = {layers}: ‖∇²f‖ at σ_0² = {high:g} over that at {low:g}", f"{rise:.3g}"),
        ]
    for sigma_sq, slope, error in _per_layer(table):
        numbers[f"σ_0² = {sigma_sq:g}"] = {"log_lambda_min_per_layer": slope, "error": error}
        facts.append((f"σ_0² = {sigma_sq:g}: log λ_min per hidden layer, fitted over L",
                      f"{slope:.3g} ± {error:.2g}"))  # fmt: skip
    smallest = min(float(r["nu0"]) for r in table.records if "nu0" in r)
    facts.append(("smallest ν_0 of all runs (the text's regime needs ν_0 ≤ ½)", f"{smallest:.4g}"))
    grows = all(a <= b * 1.05 for a, b in itertools.pairwise(falling))
    depth = "more the deeper the network" if grows else "without a clear trend in the depth"
    seen = all(gain > 1.5 for gain in falling)
    return Analysis(
        (
            f"Small σ_0² lowers λ_min, {depth} (by factors from {min(falling):.3g} to "
            f"{max(falling):.3g}); over the same range the curvature changes by factors from "
            f"{min(rises):.3g} to {max(rises):.3g}."
            if seen
            else "Small σ_0² does not lower λ_min at every depth; see the factors."
        )
        + f" The regime of the text is not reached: ν_0 ≥ {math.floor(1e4 * smallest) / 1e4:g} everywhere.",
        (),
        tuple(facts),
        numbers,
    )


def _per_layer(table: Table) -> list[tuple[float, float, float]]:
    """(σ_0², slope of log λ_min over L, its standard error): exponential in L is a slope that is not 0."""
    from scipy.stats import linregress

    found = []
    for (sigma_sq,), part in table.groups("sigma0_sq"):
        good = [(int(r["layers"]), math.log(r["lambda_min"])) for r in part.records
                if r.get("lambda_min", 0) > 0]  # fmt: skip
        if len({layers for layers, _ in good}) > 2:
            fit = linregress(*zip(*good, strict=True))
            found.append((float(sigma_sq), float(fit.slope), float(fit.stderr)))
    return found


FIGURE = Figure(
    id="banerjee2023-tradeoff",
    title="λ_min and curvature over the initialization variance",
    source="Banerjee, Cisneros-Velarde, Zhu and Belkin 2023, §5 (a claim without a figure)",
    claim=(
        "Small σ_0² gives a small Hessian bound c_H, and may lower λ_min(K), exponentially in the depth."
    ),
    setup=(
        'tanh, L hidden layers of width m, "ntk" parameterization, W ~ N(0, σ_0²/c_{φ,σ_0}), v a random '
        "unit vector, data on the sphere of radius √d; λ_min of the NTK and the largest "
        "‖∇²f(θ_0; x_i)‖₂ (Lanczos). Full: m = 800, N = 400, d = 100, 50 samples for the Hessian, 5 "
        "networks, L = 1, 2, 4, 8, σ_0² = 2⁻⁶ … 2⁶. Quick: m = 160, N = 80, d = 40, L ≤ 4."
    ),
    choices=(
        "The text's good regime, σ_0² ≤ ¼ with σ_1 ≤ 1, is never reached: φ(0) = 0 and |φ′| ≤ 1 give "
        "c_{φ,σ_0} ≤ σ_0², so ν_0 ≥ 1 and γ = ρ/√m + 4ν_0 ≥ 4 always. What is drawn is the measured "
        "curvature, not the bound.",
        "The Hessian is measured at θ_0; the bound is for the spectral ball around it.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=3,
)

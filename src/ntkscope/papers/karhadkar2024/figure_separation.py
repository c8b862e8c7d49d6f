"""Karhadkar et al. 2024: λ_min over the separation of the data, a claim without a figure."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.constants import fit_curve
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.fits import power_law
from ntkscope.experiments.reading.table import Table

_POWER = {2: 2, 3: 4}  # the theorem's, by depth
_NAMES = {
    "random": "uniform, d = 3", "clustered": "clusters of 8, d = 10", "pairs": "pairs, d = 10",
    "digits": "digits",
}  # fmt: skip


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    sizes = [2.0**-k for k in range(1, 13)] if full else [2.0**-k for k in (1, 3, 5, 7)]
    N = 200 if full else 48
    random = [16, 32, 64, 128, 256, 512, 1024] if full else [12, 24, 48, 96]
    images = [25, 50, 100, 200, 400, 800, 1797] if full else [20, 40, 80, 160]
    points = [
        {"law": law, "N": N, "d": 10, "size": s} for law in ("pairs", "clustered") for s in sizes
    ]
    points += [{"law": "random", "N": n, "d": 3, "size": 0.0} for n in random]
    points += [{"law": "digits", "N": n, "d": 64, "size": 0.0} for n in images]
    return {
        "name": f"karhadkar2024-separation-{scale}",
        "measure": "ntkscope.papers.karhadkar2024.measured:measure",
        "seeds": 5 if full else 2,
        "points": points,
        "grid": {"depth": [2, 3]},
    }


def _over_delta(part: Table, y: str) -> dict[float, list[float]]:
    """Mean δ of every point of the sweep → the y of its trials, where their mean is positive."""
    found = {}
    for _, point in part.groups("N", "size"):
        values = [float(r[y]) for r in point.records]
        if sum(values) > 0:
            found[float(np.mean([r["delta"] for r in point.records]))] = values
    return dict(sorted(found.items()))


def _told_from_zero(part: Table) -> Table:
    """The points of the sweep at which every λ_min can be told from 0."""
    kept = {
        at
        for at, point in part.groups("N", "size")
        if all(r["lambda_min"] > 2 * r["lambda_min_error"] for r in point.records)
    }
    return part.only(lambda r: (r["N"], r["size"]) in kept)


def _draw(table: Table, axes: list[Any]) -> None:
    for (depth,), whole in table.groups("depth"):
        ax = axes[list(_POWER).index(depth)]
        thin: dict[str, Any] = {"band": False, "marker": "", "linewidth": 0.9}
        curves(
            ax, whole, "δ", partial(_over_delta, y="lambda_min"), ("law",), _NAMES.get, legend=""
        )
        for y, dashes in (("floor", "--"), ("ceiling", ":")):
            form = partial(_over_delta, y=y)
            curves(ax, whole, "δ", form, ("law",), "", linestyle=dashes, **thin)
        lowest = min(min(_over_delta(part, "ceiling")) for _, part in whole.groups("law"))
        line = np.geomspace(lowest, 1.0, 40)
        for power, look in ((2, "-"), (4, "-.")):
            ax.plot(
                line, line**power, look, color="black", linewidth=0.7, label=rf"$\delta^{power}$"
            )
        ax.set(xscale="log", yscale="log", xlabel=r"separation $\delta$", title=f"L = {depth}",
               ylabel=r"$\lambda_{\min}$, floor (- -), ceiling (· ·)")  # fmt: skip
        ax.set_ylim(bottom=max(1e-7, lowest**2))
    axes[0].legend(frameon=False, fontsize="x-small")


def _analyse(table: Table) -> Analysis:
    facts: list[tuple[str, str]] = []
    numbers: dict[str, Any] = {}
    exponents, constants, fits = [], [], []
    for (depth, law), part in table.groups("depth", "law"):
        name = f"L = {depth}, {_NAMES[law]}"
        groups = _over_delta(_told_from_zero(part), "lambda_min")
        fit = power_law(groups)
        fits.append(fit_curve(name, "λ_min", "δ", _POWER[depth], groups))
        ratios = [r["lambda_min"] / r["rate"] for r in part.records]
        kept = [r["floor"] / r["lambda_min"] for r in part.records if r["lambda_min"] > 0]
        below = [r["lambda_min"] / r["ceiling"] for r in part.records if r["ceiling"] > 0]
        exponents.append(fit.exponent.value)
        constants.append(min(ratios))
        numbers[name] = {
            "law": fit.to_dict(), "constant": [min(ratios), max(ratios)],
            "floor_share": [min(kept), max(kept)], "of_ceiling": [min(below), max(below)],
        }  # fmt: skip
        facts += [
            (f"{name}: λ_min over the theorem's λ", f"{min(ratios):.3g} to {max(ratios):.3g}"),
            (f"{name}: floor over λ_min", f"{min(kept):.3g} to {max(kept):.3g}"),
            (f"{name}: λ_min over the pair's ceiling", f"{min(below):.3g} to {max(below):.3g}"),
        ]
    inside = all(r["floor"] <= r["lambda_min"] + r["lambda_min_error"] for r in table.records)
    under = all(r["lambda_min"] - r["lambda_min_error"] <= r["ceiling"] for r in table.records)
    return Analysis(
        f"λ_min grows like δ to a power of {min(exponents):.3g} to {max(exponents):.3g}, against the "
        f"theorems' δ² (L = 2) and δ⁴ (L = 3); λ_min is at least {min(constants):.3g} times their λ. "
        + ("Every λ_min lies between the floor and the ceiling." if inside and under
           else "Some λ_min lies outside of floor and ceiling."),
        (), tuple(facts), numbers, tuple(fits),
    )  # fmt: skip


FIGURE = Figure(
    id="karhadkar2024-separation",
    title="λ_min over the separation of the data",
    source="Karhadkar, Murray and Montúfar 2024, shallow and deep theorem (claims without a figure)",
    claim="λ_min = Ω̃(δ²) for one hidden layer, Ω̃(δ⁴) for more, and O(δ′) for one.",
    setup=(
        "The paper's ReLU kernel at infinite widths, unit rows, L = 2 and 3: λ_min, the floor of one pass "
        "over the correlations (Weyl and Gershgorin on the power series), the ceiling of the closest pair. "
        "Uniform data: d = 3, N = 16 … 1024. Pairs and clusters of eight: N = 200, d = 10, distances "
        "2⁻¹ … 2⁻¹². Digits: N = 25 … 1797 images. Five draws. Quick: N ≤ 160, two draws."
    ),
    choices=(
        "At infinite widths, where no constant and no probability stands between λ_min and the data.",
        "δ is measured on the rows; pairs and clusters set it, uniform data and digits through N.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=2,
)

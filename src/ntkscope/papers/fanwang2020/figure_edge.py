"""Fan and Wang 2020: the law's edge beside λ_min, r₊ and our law of finite widths."""

from __future__ import annotations

from typing import Any

import numpy as np

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.drawing import curve, curves
from ntkscope.experiments.reading.table import Table

_PREDICTED = {"edge_n": "edge", "ours": "finite widths", "shift": "$r_+$"}


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    sizes = [200, 400, 800, 1600] if full else [120, 240]
    ratios = [0.125, 0.25, 0.5, 1.0, 2.0, 2.5, 3.0, 4.0, 6.0] if full else [0.5, 1.0, 2.0, 4.0]
    points = [{"n": n, "L": L, "gamma": 0.0} for L in (2, 3, 4, 5) for n in sizes]
    points += [{"n": 800 if full else 240, "L": 3, "gamma": g} for g in ratios]
    return {
        "name": f"fanwang2020-edge-{scale}",
        "measure": "ntkscope.papers.fanwang2020.measured:edges",
        "seeds": 5 if full else 2,
        "points": points,
    }


def _with_ratios(table: Table) -> Table:
    """λ_min over each prediction, where there is one."""
    records = []
    for r in table.records:
        made = {f"over_{name}": r["lambda_min"] / r[name] for name in _PREDICTED if r[name] > 0}
        made |= {
            f"{name}_over_shift": r[name] / r["shift"] for name in ("edge_n", "ours") if r[name] > 0
        }
        records.append({**r, **made})
    return Table(table.columns, tuple(records))


def _draw(table: Table, axes: list[Any]) -> None:
    rows = _with_ratios(table)
    left, right = axes
    level = rows.where(gamma=0.0)
    dashed: dict[str, Any] = {"band": False, "marker": "", "linewidth": 1.0}
    curves(left, level, "n", "over_ours", ("L",), "", linestyle="--", **dashed)
    curves(left, level, "n", "over_edge_n", ("L",), "L = {}".format)
    left.axhline(1.0, color="black", linewidth=0.6)
    left.set(xscale="log", xlabel="n", ylabel=r"$\lambda_{\min}$ / edge (–), / finite widths (- -)")
    _ticks(left, sorted(level.distinct("n")))
    varied = rows.only(lambda r: r["gamma"] > 0)
    curve(right, varied.trials("gamma", "over_shift"), r"$\lambda_{\min}$", 0)
    for look, name, label in (("-", "edge_n", "edge"), ("--", "ours", "finite widths")):
        found = varied.trials("gamma", f"{name}_over_shift")
        curve(right, found, label, 0, color="black", linestyle=look, **dashed)
    right.axvline(3.0, color="grey", linewidth=0.6, linestyle=":")
    right.set(
        xscale="log",
        yscale="log",
        xlabel=r"$\gamma = n/d = n/d_1 = n/d_2$",
        ylabel=r"over $r_+$, L = 3",
    )
    right.set_yticks([0.6, 0.8, 1.0, 1.5, 2.0], ["0.6", "0.8", "1", "1.5", "2"])
    right.set_yticks([], minor=True)
    _ticks(right, [g for g in table.distinct("gamma") if g > 0 and g != 2.5])
    right.legend(frameon=False, fontsize="small")


def _ticks(ax: Any, values: list[float]) -> None:
    ax.set_xticks(values, [f"{v:g}" for v in values])
    ax.set_xticks([], minor=True)


def _analyse(table: Table) -> Analysis:
    facts: list[tuple[str, str]] = []
    numbers: dict[str, Any] = {}
    worst = dict.fromkeys(("edge_n", "ours"), 0.0)
    for (L, n, gamma), part in _with_ratios(table).groups("L", "n", "gamma"):
        about = f"L = {L}, n = {n}" + (f", γ = {gamma:g}" if gamma else "")
        cells, row = [], {}
        for name in _PREDICTED:
            ratios = [r[f"over_{name}"] for r in part.records if f"over_{name}" in r]
            if not ratios:
                continue
            spread = float(np.std(ratios, ddof=1)) if len(ratios) > 1 else 0.0
            row[name] = [float(np.mean(ratios)), spread]
            cells.append(f"{_PREDICTED[name].strip('$')} {np.mean(ratios):.3f} ± {spread:.3f}")
            if (
                name in worst
                and not gamma
                and n == max(table.column("n")[table.column("gamma") == 0])
            ):
                worst[name] = max(worst[name], abs(float(np.mean(ratios)) - 1))
        numbers[about] = row
        facts.append((f"{about}: λ_min over", ", ".join(cells)))
    near = [r for r in table.records if r["gamma"] > 0 and r["ranks"] < r["n"]]
    far = [r for r in table.records if r["gamma"] > 0 and r["ranks"] > 1.5 * r["n"]]
    low = [r["lambda_min"] / r["shift"] for r in near]
    high = [r["edge"] / r["shift"] for r in far]
    answer = ""
    if low and high:
        answer = (
            f" r₊ is the law's edge where the ranks d + d_1 + … sum to less than n: there λ_min/r₊ is "
            f"{min(low):.3g} to {max(low):.3g}; where they exceed 1.5 n the edge is {min(high):.3g} to "
            f"{max(high):.3g} times r₊."
        )
    return Analysis(
        f"At the largest n λ_min is within {100 * worst['edge_n']:.2g} % of the edge and within "
        f"{100 * worst['ours']:.2g} % of the law of finite widths.{answer}",
        (), tuple(facts), numbers,
    )  # fmt: skip


FIGURE = Figure(
    id="fanwang2020-edge",
    title="The edge of the law at linear width, beside λ_min and the law of finite widths",
    source="Fan and Wang 2020, the NTK's law and r₊ (a claim without a figure)",
    claim="λ_min of the NTK stays above r₊; the law's lower edge is where it tends.",
    setup=(
        "tanh centred and normalised, weights of variance 1, data uniform on the sphere. Left: d = 0.75 n, hidden "
        "widths 1.6 n, n, 1.3 n, 0.8 n, L = 2 … 5, n = 200 … 1600. Right: L = 3, d = d_1 = d_2 = n/γ, n = 800. "
        "Five draws (quick: two, n ≤ 240). The edge carries the Tracy-Widom mean at n."
    ),
    choices=(
        "A Gaussian read-out, as in the paper: its few large weights make the rows of the kernel uneven, "
        "which the limit does not see and the law of finite widths does.",
        "L counts all layers (the paper's L is L − 1).",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=2,
)

"""Beyond the papers: how λ_min of the limiting kernel depends on the depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.figures.predicted import Case, draw_predicted
from ntkscope.experiments.reading.constants import fit_curve
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.fits import power_law
from ntkscope.experiments.reading.table import Table
from ntkscope.networks.network import Network

_WIDTH = 100
# Π_{l<L} 2/n_l takes the kernel to eq. 4's limit; the prediction L·d leaves out its constant
_Y = f"limiting_lambda_min*(2/{_WIDTH})**(L-1)/(L*d)"


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    return {
        "name": f"depth-{scale}",
        "measure": "limiting_lambda_min",
        "seeds": 20 if full else 6,
        "grid": {
            "d": [50, 100, 200] if full else [25, 50, 100],
            "L": [2, 3, 4, 6, 8, 12, 16],
        },
        "points": [{"N": 500 if full else 150}],
        "data": "sphere:N={N},d={d}",
        "network": {
            "widths": ["d", f"{_WIDTH} x L-1", 1], "activation": "relu", "init": "unit",
        },
    }  # fmt: skip


def _draw(table: Table, axes: list[Any]) -> None:
    curves(axes[0], table.having(_Y), "L", _Y, ("d",), lambda d: f"d = {d}")
    draw_predicted(axes[0], table, "L", ("d",), _case)
    axes[0].set(xlabel="depth L", ylabel=r"$\lambda_{\min}(K^{(L)})\,/\,(L\,d)$")


def _case(record: Mapping[str, Any]) -> Case:
    d, L = int(record["d"]), int(record["L"])
    net = Network([d, *[_WIDTH] * (L - 1), 1], activation="relu", init="unit")
    unit = L * d * (_WIDTH / 2.0) ** (L - 1)
    return Case(net, int(record["N"]), "sphere", kernel="limiting", unit=unit)


def _analyse(table: Table) -> Analysis:
    facts: list[tuple[str, str]] = []
    numbers: dict[str, Any] = {}
    fits = []
    for (d,), part in table.having(_Y).groups("d"):
        groups = part.trials("L", _Y)
        values = [sum(v) / len(v) for v in groups.values()]
        law = power_law(groups)
        numbers[str(d)] = {"law": law.to_dict(), "smallest": min(values), "largest": max(values)}
        fits.append(fit_curve(f"d = {d}", "λ_min/(L d)", "L", 0.0, groups))
        facts.append((f"d = {d}: λ_min/(L d)", f"from {min(values):.4g} to {max(values):.4g}"))
    exponents = [n["law"]["exponent"]["value"] for n in numbers.values()]
    return Analysis(
        "λ_min of the normalised limiting kernel divided by Theorem 3.2's upper rate L·d: an "
        f"exponent of 0 in L would make LO(d) tight; measured {min(exponents):.3g} to "
        f"{max(exponents):.3g}.",
        (),
        tuple(facts),
        numbers,
        tuple(fits),
    )


FIGURE = Figure(
    id="depth",
    title="λ_min of the limiting kernel over depth",
    source="Beyond the papers; Nguyen et al. 2021, Theorem 3.2",
    claim="Theorem 3.2: Ω(d) ≤ λ_min(K^(L)) ≤ L·O(d).",
    setup=(
        "ReLU, β = 1, the normalised limiting kernel, data uniform on the sphere of radius √d, "
        "N = 500, d = 50, 100, 200, L = 2…16, 20 draws of the data. Quick: N = 150, "
        "d = 25, 50, 100, 6 draws."
    ),
    choices=("The sphere, so that every K_ii is L·d exactly and the ratio is at most 1.",),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
)

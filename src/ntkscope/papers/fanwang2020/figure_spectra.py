"""Fan and Wang 2020: spectra of CK and NTK under the predicted densities."""

from __future__ import annotations

from typing import Any

import numpy as np

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.drawing import curve
from ntkscope.experiments.reading.table import Table
from ntkscope.papers.fanwang2020.law import LinearWidthLaw, Which, linear_width_law
from ntkscope.papers.fanwang2020.measured import EDGES, network

_KINDS: tuple[Which, ...] = ("ck", "ntk")
_STEPS = np.diff(np.log(EDGES))


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    return {
        "name": f"fanwang2020-spectra-{scale}",
        "measure": "ntkscope.papers.fanwang2020.measured:spectra",
        "seeds": 5 if full else 2,
        "grid": {"n": [2000 if full else 300], "L": [2, 3, 4, 5]},
    }


def _law(part: Table, L: int, which: Which) -> LinearWidthLaw:
    n = int(part.records[0]["n"])
    return linear_width_law(network(n, L), n, kernel=which)


def _shares(part: Table, which: Which) -> np.ndarray:
    return np.array(
        [np.mean([r[f"{which}_{k}"] for r in part.records]) for k in range(len(_STEPS))]
    )


def _expected(law: LinearWidthLaw) -> np.ndarray:
    """The law's share of each bin: by trapezoids, 16 to a bin."""
    fine = np.exp(
        np.interp(np.arange(16 * len(_STEPS) + 1) / 16, np.arange(len(EDGES)), np.log(EDGES))
    )
    mass = law.density(law.mean * fine, 1e-3) * law.mean * fine
    steps = 0.5 * (mass[1:] + mass[:-1]) * np.diff(np.log(fine))
    return np.asarray(steps.reshape(-1, 16).sum(1))


def _draw(table: Table, axes: list[Any]) -> None:
    for ax, ((L,), part) in zip(axes, table.groups("L"), strict=True):
        for index, which in enumerate(_KINDS):
            law = _law(part, int(L), which)
            centres = law.mean * np.sqrt(EDGES[1:] * EDGES[:-1])
            drawn = {
                float(x): [float(r[f"{which}_{k}"]) / _STEPS[k] for r in part.records]
                for k, x in enumerate(centres)
            }
            grid = law.mean * np.geomspace(EDGES[0], EDGES[-1], 400)
            curve(ax, drawn, which.upper(), index, drawstyle="steps-mid", marker="", linewidth=0.8)
            ax.plot(grid, law.density(grid, 1e-3) * grid, "--", color="black", linewidth=1.0)
        ax.set(xscale="log", xlabel="eigenvalue", title=f"L = {L}",
               ylabel=r"density per unit of $\ln\lambda$")  # fmt: skip
    axes[0].legend(frameon=False, fontsize="small")


def _analyse(table: Table) -> Analysis:
    facts, numbers, worst = [], {}, 0.0
    for (L,), part in table.groups("L"):
        for which in _KINDS:
            law = _law(part, int(L), which)
            gap = np.abs(np.cumsum(_shares(part, which)) - np.cumsum(_expected(law)))
            distance = float(gap.max())
            outside = float(np.mean([r[f"{which}_outside"] for r in part.records]))
            worst = max(worst, distance)
            numbers[f"L = {L}, {which}"] = {
                "distance": distance,
                "outside": outside,
                "edge": law.edge(),
            }
            facts.append(
                (
                    f"L = {L}, {which.upper()}: largest gap of the cumulated shares",
                    f"{distance:.3g}",
                )
            )
    n = int(table.records[0]["n"])
    return Analysis(
        f"At n = {n} the cumulated spectra lie within {worst:.2g} of the laws, over all depths and both kernels.",
        (), tuple(facts), numbers,
    )  # fmt: skip


FIGURE = Figure(
    id="fanwang2020-spectra",
    title="Spectra of the conjugate kernel and the NTK under their limit laws",
    source="Fan and Wang 2020, the laws of CK and NTK (our sizes)",
    claim="The eigenvalues of CK and NTK follow the laws of the fixed point, at every depth.",
    setup=(
        "tanh centred and normalised, Gaussian weights of variance 1, data uniform on the sphere, d = 0.75 n, "
        "hidden widths 1.6 n, n, 1.3 n, 0.8 n (the first L − 1); histograms over five draws at n = 2000 (quick: "
        "two at n = 300), curves by the fixed point, with no fitted constant."
    ),
    choices=(
        "L counts all layers (the paper's L is L − 1). The paper's own widths and data are not taken over.",
        "Logarithmic axes: the densities per unit of ln λ, so that both ends can be seen.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=4,
)

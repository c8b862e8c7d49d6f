"""Bombari et al. 2022, Figure 2: where gradient descent reaches zero loss."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.drawing import heat_map, over_map
from ntkscope.experiments.reading.exponents import scaling_verdict
from ntkscope.experiments.reading.table import Table

# losses that count as zero, as shares of the targets' variance; the middle one has dots
THRESHOLDS = (0.1, 0.01, 0.001)
THRESHOLD = THRESHOLDS[1]


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    # quick: the band about the transition, where a point costs a fifth of one below it
    grid = {"N": [30 * i for i in range(2, 22)], "d": list(range(4, 21))}
    define = {"d2": "d*d"}
    if full:
        grid = {"N": [400 * i for i in range(1, 31)], "i": list(range(1, 31))}
        define = {"d": "floor(sqrt(500*i))", **define}
    return {
        "name": f"bombari2022-figure-2-{scale}",
        "measure": "final_loss",
        "seeds": 10 if full else 5,
        "batch": 10 if full else 5,
        "grid": grid,
        "define": define,
        **({} if full else {"where": "0.15*N <= d2 and d2 <= 0.8*N"}),
        "data": "gaussian:N={N},d={d}",
        "network": {"widths": ["d", "d", "d", "d", 1], "activation": "relu", "init": "bombari2022"},
        "training": {
            "learning_rate": "1/(10*sqrt(N))",
            "epochs": 10_000,
            "window": 100,
            "dtype": "float32",
        },
    }


def transition(table: Table, threshold: float = THRESHOLD) -> dict[int, float]:
    """N → the d² at which the mean log10 loss falls through the threshold, by interpolation.

    An N whose column lies wholly above or below it has no entry.
    """
    found: dict[int, float] = {}
    level = math.log10(threshold)
    for (N,), column in table.groups("N"):
        points = []
        for (d2,), cell in column.groups("d2"):
            losses = [r["final_loss"] for r in cell.records if "final_loss" in r]
            if losses:
                points.append((float(d2), float(np.log10(np.maximum(losses, 1.2e-38)).mean())))
        points.sort()
        for (left, high), (right, low) in itertools.pairwise(points):
            if high > level >= low:
                found[int(N)] = left + (right - left) * (high - level) / (high - low)
                break
    return found


def _draw(table: Table, axes: list[Any]) -> None:
    ax = axes[0]
    heat_map(ax, table, "N", "d2", "final_loss", r"$\log_{10}$ loss")
    for threshold, look in zip(THRESHOLDS, (":", "--", "-."), strict=True):
        found = transition(table, threshold)
        if not found:
            continue
        ns = np.array(sorted(found))
        slope = _through_origin(found)
        if threshold == THRESHOLD:
            ax.plot(ns, [found[n] for n in ns], ".", markersize=6, **over_map())
        label = f"loss {threshold:g}: $d^2 = {slope:.3g}\\,N$"
        ax.plot(ns, slope * ns, look, linewidth=1.2, label=label, **over_map())
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper left").set_zorder(5)
    ax.set_xlabel("number of samples N")
    ax.set_ylabel("$d^2$")


def _through_origin(found: dict[int, float]) -> float:
    ns, d2 = np.array(list(found), dtype=float), np.array(list(found.values()))
    return float((ns * d2).sum() / (ns**2).sum())


def _analyse(table: Table) -> Analysis:
    found = transition(table)
    missing = len(table.distinct("N")) - len(found)
    facts = [("N whose transition lies inside the grid", f"{len(found)}, outside: {missing}")]
    slopes = {}
    for threshold in THRESHOLDS:
        at = transition(table, threshold)
        if at:
            slopes[threshold] = slope = _through_origin(at)
            facts.append(
                (
                    f"loss {threshold:g} counts as zero",
                    f"d² ≈ {slope:.4g} N over {len(at)} N, 3d² + d ≈ {3 * slope:.3g} parameters a sample",
                )
            )
    if len(found) < 3:
        return Analysis("Too few transitions inside the grid for a fit.", (), tuple(facts))
    groups = {float(N): [d2] for N, d2 in found.items()}
    verdict = scaling_verdict("d² of the transition over N", groups, 1.0, "d²", "N")
    return Analysis(
        f"The transition follows d² ≈ {slopes[THRESHOLD]:.3g} N at loss {THRESHOLD:g}; its exponent in N "
        f"is {verdict.whole.exponent} ({verdict.outcome.value} with 1).",
        (verdict,),
        tuple(facts),
        {
            "transition": {str(n): d2 for n, d2 in found.items()},
            "slopes": {f"{t:g}": slope for t, slope in slopes.items()},
            "slope": slopes[THRESHOLD],
        },
    )


FIGURE = Figure(
    id="bombari2022-figure-2",
    title="Training reaches zero loss once d² exceeds a multiple of N",
    source="Bombari, Amani and Mondelli 2022, §4, Figure 2",
    claim="Theorem 4.2: the loss falls from 1 to 0 where the widths are of order √N, so d² ∝ N.",
    setup=(
        "L = 4, ReLU, d = n_1 = n_2 = n_3, β_l = 1, Gaussian inputs and targets, mean squared "
        "error, full-batch Adam with learning rate 1/(10√N), up to 10,000 epochs, stopped when the "
        "mean loss of 100 epochs is above that of the 100 before; 10 trials; N = 400 i and "
        "d = ⌊√(500 i)⌋, i = 1…30. Quick: N = 60, 90, …, 630, d from 4 to 20 with "
        "0.15 N ≤ d² ≤ 0.8 N, 5 trials."
    ),
    choices=(
        "The recorded loss is the mean over the last window that did not rise; the authors' script "
        "divides the window's sum of 100 epochs by 50.",
        "float32, as the authors' script has it by default; the targets are Gaussian as in the text.",
        "The transition is where the mean log10 loss passes 0.1, 0.01 or 0.001 of the targets' "
        "variance: the threshold decides where success begins, so all three are reported; the middle "
        "one is fitted by a power law.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
)

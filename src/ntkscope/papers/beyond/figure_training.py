"""An open question of Nguyen et al. 2021, §8: λ_min along training, wherever the wide layer stands."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.fits import Groups
from ntkscope.experiments.reading.table import Table
from ntkscope.papers.beyond.measured import PROBES
from ntkscope.papers.beyond.seen import answer

_KEPT = 0.25  # σ_min(J_t) ≥ σ_min(J_0)/2, what proofs of convergence keep
_REACHED = 0.1  # share of the loss


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    return {
        "name": f"training-{scale}",
        "measure": "ntkscope.papers.beyond.measured:along_training",
        "seeds": 5 if full else 3,
        "grid": {"position": [1, 2, 3, 4], "N": [25, 50, 100] if full else [20, 40]},
        "arguments": {"steps": 6000 if full else 3000},
    }


def _draw(table: Table, axes: list[Any]) -> None:
    left, right = axes
    largest = table.where(N=max(table.distinct("N")))
    by, label = ("position",), "wide layer k = {}".format
    curves(left, largest, "step", lambda part: _along(part, "ratio"), by, label)
    # a loss falls by powers of ten: the mean and the spread of its logarithm
    curves(right, largest, "step", lambda part: _logs(_along(part, "loss")), by, label, legend="")
    left.axhline(_KEPT, color="black", linewidth=0.7, linestyle=":")
    left.set(
        xscale="log",
        yscale="log",
        xlabel="step + 1",
        ylabel=r"$\lambda_{\min}(K_t)/\lambda_{\min}(K_0)$",
    )
    right.set(xscale="log", xlabel="step + 1", ylabel=r"$\log_{10}$ of the loss over its start")


def _logs(groups: Groups) -> Groups:
    return {at: [math.log10(max(v, 1e-300)) for v in vs] for at, vs in groups.items()}


def _along(part: Table, name: str) -> Groups:
    """Step + 1 of each probe → the trials' values there."""
    found: dict[float, list[float]] = {}
    for record in part.records:
        for p in range(PROBES):
            if f"step_{p}" in record:
                found.setdefault(1.0 + record[f"step_{p}"], []).append(float(record[f"{name}_{p}"]))
    return found


def _analyse(table: Table) -> Analysis:
    facts, seen = [], {}
    last = f"loss_{PROBES - 1}"
    for (k,), part in table.groups("position"):
        least = [float(r["least"]) for r in part.records]
        losses = [float(r[last]) for r in part.records if last in r]
        done = len(losses) == len(part) and max(losses) <= _REACHED
        seen[f"k = {k}"] = min(least) >= _KEPT and done
        means = ", ".join(
            f"N = {N:g}: {np.mean(v):.2f}" for N, v in part.trials("N", "least").items()
        )
        facts.append((
            f"k = {k}: least λ_min(K_t)/λ_min(K_0)",
            f"{min(least):.3g} over {len(least)} runs (means {means}); loss at the end at most "
            f"{max(losses):.2g} of its start" if losses else "no run ended",
        ))  # fmt: skip
    return Analysis(
        answer("λ_min(K_t) ≥ ¼ λ_min(K_0) all along and the loss below a tenth", seen),
        (),
        tuple(facts),
    )


FIGURE = Figure(
    id="training",
    title="λ_min along training, the wide layer at each position",
    source="Beyond the papers; an open problem of Nguyen et al. 2021, §8",
    claim="Open: gradient descent converges with one wide layer of linear width at any position, λ_min staying of its order.",
    setup=(
        "L = 5, ReLU, He initialization, d = 20, n_k = 8N and the other hidden layers 40 wide, k = 1 … 4, N = 25, 50, "
        "100, Gaussian data and labels; 6000 steps of gradient descent on ½‖F − Y‖² at half of the stable step size; 5 "
        "trials. Quick: N = 20, 40, 3000 steps, 3 trials."
    ),
    choices=(
        "Seen: in every run λ_min(K_t) ≥ ¼ λ_min(K_0) at all probes (σ_min of the Jacobian keeps half of its start, as "
        "proofs of convergence ask), and the loss ends below a tenth. Twelve probes, evenly spaced in ln t, see no dip between them.",
        "It is not a statement about all widths: at these sizes the narrow layers hold as many neurons as N/2.5 or more.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=2,
)

"""Momentum: does λ_min(K_0) still say how long training takes?"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from ntkscope.experiments.figures.figure import Analysis, Figure, Scale
from ntkscope.experiments.reading.drawing import curves
from ntkscope.experiments.reading.exponents import scaling_verdict
from ntkscope.experiments.reading.fits import Groups
from ntkscope.experiments.reading.table import Table
from ntkscope.papers.beyond.seen import answer

_RULES = {"gd": ("gradient descent", 1.0), "momentum": ("heavy ball", 0.5)}


def _settings(scale: Scale) -> dict[str, Any]:
    full = scale == "full"
    return {
        "name": f"momentum-{scale}",
        "measure": "ntkscope.papers.beyond.measured:descent",
        "seeds": 5 if full else 3,
        "grid": {
            "optimizer": list(_RULES), "width": [256, 512] if full else [128, 512],
            "N": [16, 32, 64, 128, 256] if full else [16, 32, 64, 128],
        },
        "arguments": {"tol": 1e-6},
    }  # fmt: skip


def _over_condition(part: Table, y: str) -> Groups:
    """Mean κ of the trials of one N → their y."""
    return {
        float(np.mean(rows.column("condition"))): [float(v) for v in rows.column(y)]
        for _, rows in part.groups("N")
    }


def _draw(table: Table, axes: list[Any]) -> None:
    for ax, ((width,), wide) in zip(axes, table.groups("width"), strict=True):
        steps, frozen = (partial(_over_condition, y=y) for y in ("steps", "linearised"))
        curves(ax, wide, "κ", steps, ("optimizer",), lambda rule: _RULES[rule][0], legend="")
        curves(ax, wide, "κ", frozen, ("optimizer",), "", linestyle="--", marker="")
        ax.set(xscale="log", yscale="log", title=f"width {width}", xlabel=r"$\kappa = \lambda_{\max}/\lambda_{\min}$ of $K_0$",
               ylabel="steps to $10^{-6}$ of the loss")  # fmt: skip
    axes[0].plot([], [], "--", color="black", label="frozen kernel")
    axes[0].legend(frameon=False, fontsize="small")


def _analyse(table: Table) -> Analysis:
    verdicts, facts, cases = [], [], {}
    for (width, rule), part in table.groups("width", "optimizer"):
        name = f"{_RULES[rule][0]}, n = {width}"
        verdicts.append(
            scaling_verdict(name, _over_condition(part, "steps"), _RULES[rule][1], "steps", "κ")
        )
        ratios = part.column("steps") / part.column("linearised")
        reached = all(r["status"] == "converged" for r in part.records)
        cases[name] = reached and bool((ratios <= 2).all())
        facts.append((
            f"{name}: steps over those of the frozen kernel",
            f"{ratios.min():.2f} to {ratios.max():.2f}; λ_min at the end over its start "
            f"{part.column('ratio').min():.2f} to {part.column('ratio').max():.2f}",
        ))  # fmt: skip
    return Analysis(
        answer("the loss falls to 10⁻⁶ within twice the steps of the kernel frozen at K_0", cases),
        tuple(verdicts), tuple(facts),
    )  # fmt: skip


FIGURE = Figure(
    id="momentum",
    title="Momentum against gradient descent over the kernel's condition number",
    source="Beyond the papers; named as a next step in Bombari et al. 2022, §6",
    claim="Open: with momentum the kernel at the start gives the rate too: about √κ steps where gradient descent takes κ.",
    setup=(
        "tanh, two hidden layers of width n = 256 and 512, “ntk” parameterization, sphere in d = 16, N(0, 1) labels, "
        "N = 16 … 256; steps until ½‖F − Y‖² is 10⁻⁶ of its start: gradient descent at η = 1/λ_max(K_0), the heavy "
        "ball at Polyak's best constants for a quadratic with K_0's ends; 5 trials. Quick: n = 128 and 512, N ≤ 128, 3 trials."
    ),
    choices=(
        "Seen: every run reaches 10⁻⁶, within twice the steps that the frozen kernel takes (dashed).",
        "Gradient descent at its best step for that quadratic, 2/(λ_max + λ_min), stands at the edge of stability, and took "
        "up to five times the frozen kernel's steps where λ_max grew a little.",
        "The verdict on the exponents is beside it: labels weigh all eigenvalues, and the slowest decides only late.",
        "The loss of the heavy ball is read at about 400 steps, evenly spaced in ln t; that of the frozen kernel oscillates, "
        "and a step at which it is below, found by bisection, stands for the first.",
    ),
    settings=_settings,
    draw=_draw,
    analyse=_analyse,
    panels=2,
)

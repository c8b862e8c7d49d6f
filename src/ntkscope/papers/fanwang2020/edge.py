"""Fan and Wang 2020: r₊, the law's edge and λ_min; beside them our law of finite widths."""

from __future__ import annotations

import math

from ntkscope.papers.fanwang2020 import PAPER
from ntkscope.papers.fanwang2020.setting import law, setting
from ntkscope.prediction.finite_width import finite_width
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, quantity

_ACCURACY = 1e-5  # of an edge, relative


@PAPER.statement(
    "edge",
    title="The lower edge",
    section="limit law of the NTK, on r₊",
    sentence="λ_min of the NTK stays above r₊ − o(1), since the law lies in [r₊, ∞).",
    latex=r"\lambda_{\min}(K^{\mathrm{NTK}})\ge r_+-o(1)",
    level2="the law's edge ≥ r₊; λ_min(K) over r₊, the edge, and the edge with its Tracy-Widom mean",
)
def edge(i: Instance, out: Findings) -> None:
    found = setting(i, out)
    made, shift = law(i, found, "ntk"), found.constants.shift
    try:
        lowest, expected = made.edge(), made.edge(i.N)
    except ValueError as reason:
        out.note(f"The edge is not found: {reason}.")
        return
    value = quantity(i.lambda_K)
    out.at_least(
        "edge of the law ≥ r₊", Quantity(lowest, _ACCURACY * lowest), shift, key="above-shift"
    )
    out.conclusion("λ_min(K)", value, "Ω", shift, "r₊", key="shift")
    out.conclusion("λ_min(K)", value, "Θ", Quantity(expected, _ACCURACY * expected),
                   "the law's edge, with Tracy-Widom's mean", key="edge")  # fmt: skip
    rows = [("r₊", shift), ("edge", lowest), ("edge, at this n", expected)]
    try:
        rows.append(("our law of finite widths", finite_width(i.network, i.N, found.norm_sq).value))
    except ValueError as reason:
        out.note(f"Our law of finite widths does not apply: {reason}.")
    out.table("λ_min predicted and measured over predicted", ("by", "value", "measured/predicted"),
              [[name, x, value.value / x if x > 0 else math.nan] for name, x in rows])  # fmt: skip
    ranks = sum(n for n, q in zip(i.n[: i.L], found.constants.q, strict=True) if q > 1e-12)
    words = "below" if ranks < i.N else "at least"
    out.note(f"The layers' ranks sum to {ranks}, {words} n = {i.N}: r₊ is "
             + ("λ_min's limit, with a point mass." if ranks < i.N else "below the edge."))  # fmt: skip

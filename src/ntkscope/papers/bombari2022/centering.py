"""Bombari et al. 2022, §3.1: the three centrings, Theorem 3.2.

F = F̃ + 1·E fᵀ and B = B̃ + 1·E bᵀ give every step an explicit inequality in place of its o(·): with
û = F̃ E f/‖E f‖ and v̂ = B̃ E b/‖E b‖, FFᵀ ⪰ F̃F̃ᵀ − ûûᵀ ⪰ 0, the same for B, and so by Schur
J J ᵀ ⪰ J_FB J_FBᵀ − D_û B̃B̃ᵀ D_û − D_v̂ F̃F̃ᵀ D_v̂.
"""

from __future__ import annotations

import math

import torch

from ntkscope.papers.bombari2022 import PAPER
from ntkscope.papers.bombari2022.assumptions import size
from ntkscope.papers.bombari2022.centred import Centred, begin
from ntkscope.statements.findings import Findings
from ntkscope.statements.instance import Instance
from ntkscope.statements.quantity import Quantity, U


@PAPER.statement(
    "eq-11",
    title="The centred Jacobian",
    section="eq. 11",
    sentence="J̃ has rows f̃ ⊗ D_Lφ̃′ minus their mean; its rows have mean 0 over the data.",
    latex=r"(\tilde J_{L-2})_i=\tilde f\otimes D_L\tilde\phi'-\mathbb{E}_x[\tilde f\otimes D_L\tilde\phi']",
    level2="J̃J̃ᵀ = J_FBJ_FBᵀ − a1ᵀ − 1aᵀ + ‖μ‖²11ᵀ ⪰ 0, against rows formed one by one",
)
def centred_jacobian(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    out.at_least("λ_min(J̃J̃ᵀ) ≥ 0", c.smallest("full"), 0.0, key="positive")
    rows = [
        (torch.outer(c.Ft[k], c.Bt[k]) - c.product_mean).reshape(-1)
        for k in range(min(3, len(c.F)))
    ]
    for a, left in enumerate(rows):
        for b in range(a, len(rows)):
            direct = Quantity(float(left @ rows[b]), c.rounding)
            fast = Quantity(float(c.kernel("full")[a, b]), c.rounding)
            out.equal(f"(J̃J̃ᵀ)_{a + 1}{b + 1} from its rows", fast, direct, key="rows", a=a + 1,
                      b=b + 1)  # fmt: skip


@PAPER.statement(
    "centering-a",
    title="Step (a): centring features and signals together",
    section="§3.1, step (a) (Lemma D.1)",
    sentence="λ_min(JJᵀ) is at least λ_min(J_FBJ_FBᵀ) minus something smaller than n_(L-2) n_(L-1).",
    latex=r"\lambda_{\min}(J_{L-2}J_{L-2}^\top)\ge\lambda_{\min}(\tilde J_{FB}\tilde J_{FB}^\top)-o(n_{L-2}n_{L-1})",
    level2="λ_min(JJᵀ) ≥ λ_min(J_FBJ_FBᵀ) − max û²‖B̃‖² − max v̂²‖F̃‖²; JJᵀ ⪰ F̃PF̃ᵀ ∘ B̃QB̃ᵀ",
)
def step_a(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    out.at_least("λ_min(JJᵀ) ≥ λ_min(J_FBJ_FBᵀ) − max û²‖B̃‖² − max v̂²‖F̃‖²", c.smallest("J"),
                 c.smallest("FB") - c.step_a_loss, key="loss")  # fmt: skip
    u, v = c.along_mean(c.Ft, c.F_mean), c.along_mean(c.Bt, c.B_mean)
    projected = (c.Ft @ c.Ft.T - torch.outer(u, u)) * (c.Bt @ c.Bt.T - torch.outer(v, v))
    out.at_least("λ_min(JJᵀ − F̃PF̃ᵀ ∘ B̃QB̃ᵀ) ≥ 0", c.difference(c.kernel("J"), projected), 0.0,
                 note="P, Q project orthogonally to the means", key="projected")  # fmt: skip
    loss = c.sampled("FB") - c.smallest("J")
    out.scaling("λ_min(J_FBJ_FBᵀ) − λ_min(JJᵀ)", loss, "O", size(i), "β_L² n_(L-2) n_(L-1)",
                note="the paper has o(·)", key="drop")  # fmt: skip
    out.scaling("explicit loss", c.step_a_loss, "O", size(i), "β_L² n_(L-2) n_(L-1)",
                key="explicit-loss")  # fmt: skip
    _difference_note(out, c, "FB")


def _difference_note(out: Findings, c: Centred, name: str) -> None:
    gap = c.difference(c.kernel("J"), c.kernel(name))
    if gap.value < -gap.error:
        out.note(
            f"JJᵀ does not dominate its centred version: λ_min of the difference is {gap.value:.4g}."
        )


@PAPER.statement(
    "centering-b",
    title="Step (b): centring everything",
    section="§3.1, step (b) (Lemma D.2)",
    sentence="λ_min(J_FBJ_FBᵀ) is at least λ_min(J̃J̃ᵀ) minus something smaller than n_(L-2) n_(L-1).",
    latex=r"\lambda_{\min}(\tilde J_{FB}\tilde J_{FB}^\top)\ge\lambda_{\min}(\tilde J\tilde J^\top)-o(n_{L-2}n_{L-1})",
    level2="J_FBJ_FBᵀ = J̃J̃ᵀ + pp ᵀ − qqᵀ with q = a/m − m1, so λ_min drops by at most ‖q‖²",
)
def step_b(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    out.at_least("λ_min(J_FBJ_FBᵀ) ≥ λ_min(J̃J̃ᵀ) − ‖a/m − m1‖²", c.smallest("FB"),
                 c.smallest("full") - c.step_b_loss, key="loss")  # fmt: skip
    m = math.sqrt(c.product_mean_sq)
    if m > 0:
        p = c.along / m
        q = p - m
        rebuilt = c.kernel("full") + torch.outer(p, p) - torch.outer(q, q)
        error = float((rebuilt - c.kernel("FB")).abs().max())
        # p and q are large where m is small, and their difference cancels
        bar = c.rounding + 16 * U * float(p.abs().max() + m) ** 2
        out.equal("J_FBJ_FBᵀ − (J̃J̃ᵀ + ppᵀ − qqᵀ), largest entry", Quantity(error, bar), 0.0,
                  key="rank-two")  # fmt: skip
    out.scaling("λ_min(J̃J̃ᵀ) − λ_min(J_FBJ_FBᵀ)", c.sampled("full") - c.sampled("FB"), "O",
                size(i), "β_L² n_(L-2) n_(L-1)", note="the paper has o(·)", key="drop")  # fmt: skip
    out.scaling("explicit loss", c.step_b_loss, "O", size(i), "β_L² n_(L-2) n_(L-1)",
                key="explicit-loss")  # fmt: skip


@PAPER.statement(
    "theorem-3.2",
    title="Jacobian centring",
    section="Theorem 3.2, eq. 12",
    sentence="λ_min(JJᵀ) is at least λ_min(J̃J̃ᵀ) minus something smaller than n_(L-2) n_(L-1).",
    latex=r"\lambda_{\min}(J_{L-2}J_{L-2}^\top)\ge\lambda_{\min}(\tilde J_{L-2}\tilde J_{L-2}^\top)-o(n_{L-2}n_{L-1})",
    level2="the two explicit losses of steps (a) and (b) together",
)
def jacobian_centring(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    loss = c.step_a_loss + c.step_b_loss
    out.at_least("λ_min(JJᵀ) ≥ λ_min(J̃J̃ᵀ) − both losses", c.smallest("J"),
                 c.smallest("full") - loss, key="loss")  # fmt: skip
    names = {"J": "J", "FB": "J_FB", "full": "J̃"}
    rows = [
        (label, c.smallest(n).value, c.smallest(n).value / size(i)) for n, label in names.items()
    ]
    out.table("The three Jacobians", ("Jacobian", "λ_min", "λ_min/(β_L² n_(L-2) n_(L-1))"), rows)
    out.scaling("λ_min(J̃J̃ᵀ) − λ_min(JJᵀ)", c.sampled("full") - c.smallest("J"), "O", size(i),
                "β_L² n_(L-2) n_(L-1)", note="the paper has o(·)", key="drop")  # fmt: skip
    _difference_note(out, c, "full")


@PAPER.statement(
    "centering-compared",
    title="Features only, signals only, both at once",
    section="§3.1, step (a)",
    sentence=(
        "Centring features and signals at once changes the kernel by far less than its mean "
        "directions do when only one of the two is centred."
    ),
    latex=r"\|F\!F^\top\!\circ BB^\top-\tilde F\tilde F^\top\!\circ\tilde B\tilde B^\top\|\ \text{against}\ \tilde F\tilde F^\top\!\circ BB^\top,\ F\!F^\top\!\circ\tilde B\tilde B^\top",
    level2="Weyl: λ_min(JJᵀ) ≥ λ_min(centred) + λ_min(JJᵀ − centred) for each of the three",
)
def compared(i: Instance, out: Findings) -> None:
    c = begin(i, out)
    labels = {"F": "features only", "B": "signals only", "FB": "both", "full": "both and the rows"}
    rows = [("none", c.smallest("J").value, 0.0, 0.0)]
    for name, label in labels.items():
        difference = c.kernel("J") - c.kernel(name)
        low = c.difference(c.kernel("J"), c.kernel(name))
        out.at_least(f"λ_min(JJᵀ) ≥ λ_min({label}) + λ_min(difference)", c.smallest("J"),
                     c.smallest(name) + low, key="weyl", centred=name)  # fmt: skip
        top = float(torch.linalg.eigvalsh(difference)[-1])
        rows.append((label, c.smallest(name).value, low.value, top))
    out.table("Centred", ("what is centred", "λ_min", "λ_min of the difference",
              "λ_max of the difference"), rows)  # fmt: skip
    out.note("A negative entry in the third column: JJᵀ does not dominate that centred kernel.")

"""A theorem of one's own: ``ntkscope check --plugin examples/my_theorem.py note2026.theorem-1 …``."""

from __future__ import annotations

from ntkscope import Instance, Paper
from ntkscope.statements import needs
from ntkscope.statements.balls.ball_instance import diagonal, smallest_of
from ntkscope.statements.findings import Findings

PAPER = Paper("note2026", short="A note, 2026", title="Terms and diagonals", needs=(needs.plain,))


@PAPER.statement(
    "theorem-1",
    title="Every term under the diagonal",
    section="Theorem 1",
    sentence="λ_min of each layer's term is at most the smallest diagonal entry of the whole kernel.",
    latex=r"\lambda_{\min}(K_k)\le\min_iK_{ii}\quad\text{for all }k",
    level2="the inequality at every k",
)
def terms(i: Instance, out: Findings) -> None:
    for k in range(i.L):
        out.at_most(
            f"λ_min(K_{k}) ≤ min_i K_ii", i.lambda_term(k), i.kernel.diagonal().min(),
            key="term", k=k,
        )  # fmt: skip
    out.scaling("λ_min(K)", i.lambda_K, "Ω", i.d, "d", key="smallest")


@PAPER.confirmer("theorem-1", "term")
def term_in_balls(b, k):  # type: ignore[no-untyped-def]
    return b.lambda_term(k), smallest_of(diagonal(b.K))

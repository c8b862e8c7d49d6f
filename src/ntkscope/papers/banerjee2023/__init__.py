"""Banerjee, Cisneros-Velarde, Zhu and Belkin 2023: NTK of wide networks and the Hessian."""

from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="banerjee2023",
    title="Neural tangent kernel at initialization: linear width suffices",
    citation="Banerjee, Cisneros-Velarde, Zhu and Belkin, UAI 2023",
    order=3,
    parts=("setting", "lemmas", "remarks"),
    figures=("figure_1", "figure_tradeoff"),
)

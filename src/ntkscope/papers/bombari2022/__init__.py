"""Bombari, Amani and Mondelli 2022: memorization and optimization with minimum over-parameterization."""

from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="bombari2022",
    title="Memorization and Optimization in Deep Neural Networks with Minimum Over-parameterization",
    citation="Bombari, Amani and Mondelli, NeurIPS 2022",
    order=2,
    parts=("setting", "centering", "gradients", "norms"),
    figures=("figure_1", "figure_2", "figure_gap"),
)

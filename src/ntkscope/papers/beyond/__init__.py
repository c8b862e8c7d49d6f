"""Figures that no paper has."""

from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="beyond",
    title="Beyond the papers",
    citation="",
    order=9,
    parts=(),
    figures=("figure_depth", "figure_width", "figure_bottleneck"),
)

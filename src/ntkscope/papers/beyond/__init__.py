"""Figures that no paper has."""

from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="beyond",
    short="Beyond the papers",
    title="Beyond the papers",
    order=9,
    figures=(
        "figure_depth",
        "figure_width",
        "figure_bottleneck",
        "figure_training",
        "figure_shapes",
        "figure_momentum",
        "figure_federated",
    ),
)

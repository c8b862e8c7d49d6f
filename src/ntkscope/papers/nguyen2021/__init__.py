"""Nguyen, Mondelli and Montúfar 2021: λ_min of deep ReLU networks' NTK."""

from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="nguyen2021",
    title="Tight Bounds on the Smallest Eigenvalue of the Neural Tangent Kernel for Deep ReLU Networks",
    citation="Nguyen, Mondelli and Montúfar, ICML 2021",
    order=1,
    parts=(
        "gradient",
        "assumptions",
        "limit",
        "finite",
        "features",
        "lipschitz",
        "estimates",
        "ladder",
    ),
    figures=("figure_2_left", "figure_2_right"),
)

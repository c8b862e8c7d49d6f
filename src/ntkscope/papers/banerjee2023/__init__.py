"""Banerjee, Cisneros-Velarde, Zhu and Belkin 2023: NTK of wide networks and the Hessian.

They count hidden layers as L, write m_l for widths, A^(l) for F_l and v for the last layer; here L
counts all layers, so their L is L − 1. λ_l is λ_min of E_g[φ(A^(l-1)g/√m)φ(A^(l-1)g/√m)ᵀ] given the
layer before, l = 1, …, L − 1; g ~ N(0, ν_l² I), and ν_l²/m_(l-1) is the variance of the weights as
the forward pass applies them.
"""

from ntkscope.papers.banerjee2023.hypotheses import (
    equal_widths,
    initialized,
    smooth_activation,
    zero_at_zero,
)
from ntkscope.statements import needs
from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="banerjee2023",
    short="Banerjee et al. 2023",
    title="Neural tangent kernel at initialization: linear width suffices",
    citation="Banerjee, Cisneros-Velarde, Zhu and Belkin, UAI 2023",
    bibtex=r"""
@inproceedings{banerjee2023,
  title = {Neural Tangent Kernel at Initialization: Linear Width Suffices},
  author = {Banerjee, Arindam and Cisneros-Velarde, Pedro and Zhu, Libin and Belkin, Mikhail},
  booktitle = {Conference on Uncertainty in Artificial Intelligence},
  year = {2023},
}
""",
    order=3,
    needs=(smooth_activation, zero_at_zero, equal_widths, needs.plain, needs.ntk, initialized),
    parts=(
        "assumptions",
        "theorem",
        "lemmas",
        "norms",
        "repaired",
        "remarks",
        "structure",
        "hessian",
        "tradeoff",
        "confirm",
    ),
    figures=("figure_1", "figure_tradeoff"),
)

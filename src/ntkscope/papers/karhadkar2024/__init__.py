"""Karhadkar, Murray and Montúfar 2024: λ_min of the NTK from the separation of the data alone.

Read in excerpts (arXiv 2405.14630) and derived again; theorems are named and not numbered. Inputs have norm 1, widths are d_0, …, d_L, the kernel is that of
f = d_1^{-1/2} Σ_j v_j σ(w_jᵀx) (L = 2, called shallow) or f = Π_{l<L} √(2/d_l) f_L (L ≥ 3, deep) with
standard Gaussian weights. Rows of another norm are scaled to 1: ReLU's kernel scales with them.

The folder also holds what gives such bounds explicit constants: the power series of Murray, Jin, Bowman and
Montúfar 2023 and the rank lifting of Becchetti, Russo and Skorupinski 2026.
"""

from ntkscope.statements import needs
from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="karhadkar2024",
    short="Karhadkar et al. 2024",
    title="Bounds for the smallest eigenvalue of the NTK for arbitrary spherical data of arbitrary dimension",
    citation="Karhadkar, Murray and Montúfar, NeurIPS 2024",
    bibtex=r"""
@inproceedings{karhadkar2024,
  title = {Bounds for the Smallest Eigenvalue of the {NTK} for Arbitrary Spherical Data of Arbitrary Dimension},
  author = {Karhadkar, Kedar and Murray, Michael and Mont{\'u}far, Guido},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
}
""",
    order=4,
    needs=(needs.relu, needs.plain, needs.gaussian),
    parts=("separation", "theorems", "ceiling", "series", "lifting", "confirm", "confirm_series"),
    figures=("figure_separation",),
)

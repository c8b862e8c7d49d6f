"""Nguyen, Mondelli and Montúfar 2021: λ_min of deep ReLU networks' NTK.

Equations are numbered as in the proceedings or, where it says so, as in the first arXiv version (v1),
which has all the proofs; lemmas and theorems have one number in both.
"""

from ntkscope.statements import needs
from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="nguyen2021",
    short="Nguyen et al. 2021",
    title="Tight Bounds on the Smallest Eigenvalue of the Neural Tangent Kernel for Deep ReLU Networks",
    citation="Nguyen, Mondelli and Montúfar, ICML 2021",
    bibtex=r"""
@inproceedings{nguyen2021,
  title = {Tight Bounds on the Smallest Eigenvalue of the {Neural Tangent Kernel} for Deep {ReLU} Networks},
  author = {Nguyen, Quynh and Mondelli, Marco and Mont{\'u}far, Guido},
  booktitle = {International Conference on Machine Learning},
  year = {2021},
}
""",
    order=1,
    needs=(needs.relu, needs.plain, needs.standard, needs.gaussian),
    parts=(
        "gradient", "assumptions", "limit", "convergence", "finite", "memorization", "features", "centring", "jacobians", "operators",
        "pieces", "estimates", "ladder", "confirm",
    ),
    figures=("figure_2_left", "figure_2_right"),
)  # fmt: skip

"""Fan and Wang 2020: spectra of the conjugate kernel and the NTK at linear width.

Read in excerpts (arXiv 2005.11879) and derived again; theorems are named and not numbered. They count
hidden layers as L, write X_l (d_l × n) for the features divided by √d_l and n for the samples;
here L counts all layers, so that their L is L − 1, and the rows of F_l are the columns of √d_l X_l. The data
have rows of norm √d, which are their unit columns. Weights of any variance are let in: b_l, a_l and the factors
of the layers' terms then follow from the variances.
"""

from ntkscope.papers.fanwang2020.hypotheses import centred, ratios
from ntkscope.statements import needs
from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="fanwang2020",
    short="Fan and Wang 2020",
    title="Spectra of the Conjugate Kernel and Neural Tangent Kernel for linear-width neural networks",
    citation="Fan and Wang, NeurIPS 2020",
    bibtex=r"""
@inproceedings{fanwang2020,
  title = {Spectra of the {Conjugate Kernel} and {Neural Tangent Kernel} for Linear-Width Neural Networks},
  author = {Fan, Zhou and Wang, Zhichao},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2020},
}
""",
    order=5,
    needs=(centred, ratios, needs.plain, needs.gaussian),
    parts=("orthonormality", "spectra", "edge"),
    figures=("figure_spectra", "figure_edge"),
)

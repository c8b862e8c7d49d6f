"""Bombari, Amani and Mondelli 2022: memorization and optimization with minimum over-parameterization."""

from ntkscope.papers.bombari2022.hypotheses import initialization, lipschitz_activation
from ntkscope.statements import needs
from ntkscope.statements.paper import Paper

PAPER = Paper(
    key="bombari2022",
    short="Bombari et al. 2022",
    title="Memorization and Optimization in Deep Neural Networks with Minimum Over-parameterization",
    citation="Bombari, Amani and Mondelli, NeurIPS 2022",
    bibtex=r"""
@inproceedings{bombari2022,
  title = {Memorization and Optimization in Deep Neural Networks with Minimum Over-parameterization},
  author = {Bombari, Simone and Amani, Mohammad Hossein and Mondelli, Marco},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2022},
}
""",
    order=2,
    needs=(lipschitz_activation, needs.plain, needs.standard, needs.gaussian, initialization),
    growth=2,
    parts=(
        "assumptions", "kernel", "centering", "rows", "conditioning", "gradients", "norms", "boost",
        "descent", "rate", "confirm",
    ),
    figures=("figure_1", "figure_2", "figure_gap"),
)  # fmt: skip

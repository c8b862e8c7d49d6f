"""Every figure has a sweep behind it, of the paper's size."""

import pytest

from ntkscope.experiments.figures.gallery import figures
from ntkscope.experiments.sweep import Sweep


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_figure_has_a_sweep_that_can_run(scale):
    for figure in figures():
        sweep = Sweep(figure.settings(scale))
        assert len({t.key for t in sweep.trials}) == len(sweep.trials)
        assert figure.claim
        assert figure.choices


def test_the_papers_sizes():
    sizes = {f.id: len(Sweep(f.settings("full")).trials) for f in figures()}
    assert sizes["bombari2022-figure-1"] == 600
    assert sizes["bombari2022-figure-2"] == 30 * 30 * 10
    assert sizes["banerjee2023-figure-1"] == 2 * 39 * 3

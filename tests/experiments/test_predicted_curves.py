"""The predicted curve over a figure's points."""

from typing import Any

import numpy as np
import pytest

import ntkscope as ntk
from ntkscope.experiments.figures.gallery import figure
from ntkscope.experiments.reading.drawing import make_axes
from ntkscope.experiments.reading.table import Table

NORMALISED = {
    "nguyen2021-figure-2-left": "lambda_min",
    "nguyen2021-figure-2-right": "lambda_min",
    "bombari2022-figure-1": "lambda_min",
    "depth": "limiting_lambda_min",
}
POINTS: dict[str, list[dict[str, Any]]] = {
    "nguyen2021-figure-2-left": [{"N": 100, "n_1": 800, "n_2": 200, "d": d} for d in (100, 200)],
    "nguyen2021-figure-2-right": [{"N": N, "n_2": 100, "d": 100} for N in (100, 200)],
    "bombari2022-figure-1": [{"N": 200, "d": d, "d2": d * d, "i": d} for d in (120, 150)],
    "depth": [{"N": 150, "d": 50, "L": L} for L in (2, 3)],
}
WIDTHS = {
    "nguyen2021-figure-2-left": lambda r: [r["d"], r["n_1"], r["n_2"], 1],
    "nguyen2021-figure-2-right": lambda r: [r["d"], 8 * r["N"], r["n_2"], 1],
    "bombari2022-figure-1": lambda r: [r["d"]] * 3 + [1],
    "depth": lambda r: [r["d"], *[100] * (r["L"] - 1), 1],
}


@pytest.mark.parametrize("id", sorted(POINTS))
def test_the_curve_passes_where_one_kernel_does(id: str) -> None:
    found = figure(id)
    network = found.settings("quick")["network"]
    records = []
    for r in POINTS[id]:
        net = ntk.Network(WIDTHS[id](r), activation=network["activation"], init=network["init"])
        if id == "depth":
            K = ntk.limiting_ntk(net, ntk.data.sphere(r["N"], r["d"], seed=0))
        else:
            K = ntk.empirical_ntk(net.sample(seed=0), ntk.data.gaussian(r["N"], r["d"], seed=0))
        records.append({**r, NORMALISED[id]: float(ntk.smallest_eigenvalue(K).value)})
    _, axes = make_axes(found.panels)
    found.draw(Table(tuple(records[0]), tuple(records)), axes)
    measured, predicted = (line.get_ydata() for line in axes[0].get_lines())
    assert [text.get_text() for text in axes[0].get_legend().get_texts()][-1] == "predicted"
    # one draw of data and weights, and a law that is good to a tenth at finite width, beside one draw's own spread
    assert np.allclose(np.asarray(measured), np.asarray(predicted), rtol=0.35)


def test_where_the_predictor_refuses_there_is_a_note_and_no_curve() -> None:
    records = [{"N": 200, "d": d, "d2": d * d, "i": d, "lambda_min": 1.0} for d in (30, 50)]
    _, axes = make_axes()
    figure("bombari2022-figure-1").draw(Table(tuple(records[0]), tuple(records)), axes)
    assert len(axes[0].get_lines()) == 1
    assert "hidden widths of at least 60" in axes[0].texts[0].get_text()

"""The picture of docs/explanation/prediction.md: λ_min predicted beside what instances have.

``python -m benchmarks.prediction_picture docs/images/prediction.png``
"""

from __future__ import annotations

import math
import sys

import matplotlib
import numpy as np
import torch

import ntkscope as ntk
from ntkscope.report.palette import BLUE, GREEN, VERMILION

SAMPLES = (100, 200, 400, 800, 1600)
WIDTHS = (100, 200, 400, 800)
DRAWS = 5


def measured(net: ntk.Network, n: int, seed: int) -> float:
    """λ_min of one instance, of the limiting kernel where a width is infinite."""
    X = ntk.data.sphere(n, int(net.widths[0]), seed=seed)
    wide = math.inf in net.widths
    K = ntk.limiting_ntk(net, X) if wide else ntk.empirical_ntk(net.sample(seed), X).dense()
    return float(torch.linalg.eigvalsh(K)[0])


def main(path: str) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    grid = np.unique(np.geomspace(100, 1600, 25).astype(int))
    for d, colour in ((20, VERMILION), (60, BLUE), (200, GREEN)):
        net = ntk.Network([d, math.inf, math.inf, 1], init="unit")
        curve = [ntk.predict_smallest_eigenvalue(net, int(n)) for n in grid]
        left.plot(grid, [p.value for p in curve], color=colour, label=f"d = {d}")
        left.fill_between(
            grid, [p.lower for p in curve], [p.upper for p in curve], color=colour, alpha=0.2, lw=0
        )
        for n in SAMPLES:
            left.plot([n] * DRAWS, [measured(net, n, s) for s in range(DRAWS)], ".", color=colour)
    left.set(
        xscale="log", yscale="log", xlabel="N", ylabel="λ_min", title="limiting kernel, ReLU, L = 3"
    )
    widths = np.unique(np.geomspace(100, 800, 15).astype(int))
    for name, colour in (("tanh", VERMILION), ("relu", BLUE)):
        net = ntk.Network([100, 100, 1], name, "he")
        wide = [net.with_widths([100, int(n), 1]) for n in widths]
        curve = [ntk.predict_smallest_eigenvalue(w, 500, kernel="empirical").value for w in wide]
        right.plot(widths, np.array(curve) / widths, color=colour, label=name)
        for n in WIDTHS:
            at = net.with_widths([100, n, 1])
            right.plot(
                [n] * DRAWS, [measured(at, 500, s) / n for s in range(DRAWS)], ".", color=colour
            )
    right.set(
        xscale="log",
        xlabel="n_1",
        ylabel="λ_min/n_1",
        title="empirical kernel, d = 100, N = 500, L = 2",
    )
    right.set_xticks(WIDTHS, map(str, WIDTHS))
    right.minorticks_off()
    left.legend(frameon=False, ncols=3, loc=(0.02, 0.27))
    right.legend(frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main(sys.argv[1])

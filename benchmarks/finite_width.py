"""λ_min of empirical kernels, measured / predicted from the widths: the table of docs/reference/prediction-tables.md."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

import ntkscope as ntk
from benchmarks import _common
from ntkscope.prediction import finite_width

TRIALS = 20
INITS = {
    "sigmoid": "bombari2022", "tanh": "he", "relu": "he", "gelu": "he", "erf": "lecun", "silu": "he",
    "leaky_relu:alpha=0.2": "he", "sin": "lecun", "softplus": "lecun",
    "sigmoid, near-linear": "banerjee2023",
}  # fmt: skip
# widths without the output, N, activations, data
CELLS: list[tuple[list[int], int, list[str], str]] = [
    ([100, 200], 500, ["sigmoid", "tanh", "relu", "gelu"], "sphere"),
    ([100, 1000], 500, ["sigmoid", "tanh", "relu", "gelu"], "sphere"),
    ([200, 400], 500, ["sigmoid", "tanh", "relu"], "gaussian"),
    ([100, 100, 100], 500, ["sigmoid", "tanh", "relu"], "sphere"),
    ([200, 200, 200], 500, ["sigmoid", "tanh", "relu", "gelu"], "sphere"),
    ([100, 400, 400], 500, ["sigmoid", "tanh", "relu", "gelu"], "sphere"),
    ([50, 200, 200], 500, ["sigmoid", "tanh", "relu"], "sphere"),
    ([100, 1000, 100], 500, ["sigmoid", "tanh", "relu"], "sphere"),
    ([100, 100, 1000], 500, ["sigmoid", "tanh", "relu"], "sphere"),
    ([100, 200, 200], 500, ["sigmoid", "tanh", "relu", "gelu"], "gaussian"),
    ([100, 200, 200, 200], 500, ["sigmoid", "tanh", "relu"], "sphere"),
    ([200, 400, 400, 400], 500, ["sigmoid", "tanh", "relu"], "gaussian"),
    ([80, 150, 300], 300, ["erf", "silu", "leaky_relu:alpha=0.2"], "gaussian"),
    # an activation that is nearly linear on its inputs
    ([60, 400], 1200, ["sin", "sigmoid, near-linear"], "sphere"),
    ([60, 100, 100], 300, ["sin", "sigmoid, near-linear"], "sphere"),
    ([60, 400, 400], 300, ["sin", "sigmoid, near-linear", "softplus"], "sphere"),
    ([60, 400, 400], 1200, ["sin", "sigmoid, near-linear", "softplus"], "sphere"),
    ([60, 200, 200, 200], 300, ["sin", "sigmoid, near-linear", "softplus"], "sphere"),
    # deep, narrow, of low dimension, of many samples, of few parameters
    ([100, 200, 200, 200, 200], 300, ["tanh", "relu"], "sphere"),
    ([100, 200, 200, 200, 200, 200], 300, ["tanh", "relu"], "sphere"),
    ([60, 60, 60], 200, ["sigmoid", "tanh", "relu"], "sphere"),
    ([60, 80, 80], 200, ["sigmoid", "tanh", "relu"], "sphere"),
    ([60, 200, 60], 200, ["tanh", "relu"], "sphere"),
    ([20, 200, 200], 100, ["sigmoid", "tanh", "relu"], "sphere"),
    ([30, 300], 100, ["sigmoid", "tanh", "relu"], "sphere"),
    ([40, 200, 200], 800, ["sigmoid", "tanh", "relu"], "sphere"),
    ([60, 60], 800, ["sigmoid", "tanh", "relu"], "sphere"),
    ([100, 100], 2000, ["sigmoid", "tanh", "relu"], "sphere"),
    # Nguyen et al. 2021, Figure 2 on the right: He, n_1 = 8N
    ([100, 1600, 100], 200, ["relu"], "gaussian"),
    ([100, 3200, 100], 400, ["relu"], "gaussian"),
    ([200, 3200, 200], 400, ["relu"], "gaussian"),
    # Bombari et al. 2022, Figure 1: d = n_1 = n_2
    ([150, 150, 150], 1000, ["sigmoid"], "gaussian"),
    ([225, 225, 225], 1000, ["sigmoid"], "gaussian"),
    ([400, 400, 400], 1000, ["sigmoid"], "gaussian"),
    ([600, 600, 600], 1000, ["sigmoid"], "gaussian"),
    ([970, 970, 970], 1000, ["sigmoid"], "gaussian"),
    ([400, 400, 400], 2000, ["sigmoid"], "gaussian"),
    ([600, 600, 600], 2000, ["sigmoid"], "gaussian"),
]


def cell(widths: list[int], N: int, activation: str, data: str, trials: int) -> dict[str, Any]:
    """One row: mean ratio to the prediction at these widths, and to the limiting kernel's."""
    init = INITS[activation]
    scaling = "ntk" if init == "banerjee2023" else "standard"
    net = ntk.Network([*widths, 1], activation.split(", ")[0], init, scaling)
    found = ntk.predict_smallest_eigenvalue(net, N, data=data, kernel="empirical")
    limit = ntk.predict_smallest_eigenvalue(net, N, data=data)
    draw = ntk.data.sphere if data == "sphere" else ntk.data.gaussian
    values = []
    for seed in range(trials):
        K = ntk.empirical_ntk(net.sample(1000 + seed), draw(N, widths[0], seed=seed))
        values.append(float(torch.linalg.eigvalsh(K.dense())[0]))
    r = np.array(values) / found.value
    return {
        "widths": widths, "N": N, "activation": activation, "data": data, "trials": trials,
        "predicted": found.value, "mean_ratio": float(r.mean()),
        "standard_error": float(r.std(ddof=1) / math.sqrt(trials)), "sd": float(r.std(ddof=1)),
        "limit_ratio": float(np.mean(values)) / limit.value,
        "in_interval": float(np.mean([found.lower <= v <= found.upper for v in values])),
    }  # fmt: skip


def _nowhere(*_: Any) -> str:
    """In place of ``outside``: this table is what decides on the domain."""
    return ""


def main() -> None:
    torch.set_num_threads(2)
    rows = []
    finite_width.outside = _nowhere
    for widths, N, activations, data in CELLS:
        for activation in activations:
            row = cell(widths, N, activation, data, TRIALS if N < 2000 else 8)
            rows.append(row)
            print(
                f"| {'-'.join(map(str, widths))} | {N} | {activation} | {data} | "
                f"{row['mean_ratio']:.3f} ± {row['standard_error']:.3f} | {row['limit_ratio']:.3f} |",
                flush=True,
            )
    print(_common.record("finite_width", rows))


if __name__ == "__main__":
    main()

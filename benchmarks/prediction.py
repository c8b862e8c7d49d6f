"""The predictor against measured eigenvalues: the table of docs/reference/prediction-tables.md, and its speed.

Measured λ_min of limiting kernels over a grid of (d, N, L, activation, data), 20 trials a cell.
``python -m benchmarks.prediction --quick`` takes 3 trials of the smallest cells.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np
import torch

import ntkscope as ntk
from benchmarks import _common

TRIALS = 20
INF = math.inf
NETWORKS = {
    "relu": ("unit", "standard"),
    "tanh": ("lecun", "ntk"),
    "sigmoid": ("unit", "ntk"),
    "gelu": ("he", "ntk"),
    "erf": ("lecun", "ntk"),
}
# d, N, L, activation, data
CELLS = [
    (50, 500, 3, "relu", "sphere"),
    (50, 1000, 2, "relu", "sphere"),
    (100, 1000, 3, "relu", "sphere"),
    (100, 500, 5, "relu", "sphere"),
    (200, 1000, 4, "relu", "sphere"),
    (50, 500, 3, "tanh", "sphere"),
    (100, 500, 3, "tanh", "sphere"),
    (50, 500, 2, "erf", "sphere"),
    (50, 500, 3, "sigmoid", "sphere"),
    (100, 500, 3, "gelu", "sphere"),
    (50, 500, 3, "relu", "gaussian"),
    (100, 1000, 3, "relu", "gaussian"),
    (200, 500, 4, "relu", "gaussian"),
    (50, 500, 3, "tanh", "gaussian"),
    (100, 500, 3, "gelu", "gaussian"),
    (30, 500, 3, "relu", "sphere"),
    (20, 500, 3, "relu", "sphere"),
    (10, 500, 3, "relu", "sphere"),
    (5, 500, 3, "relu", "sphere"),
    (3, 500, 3, "relu", "sphere"),
    (2, 200, 3, "relu", "sphere"),
    (10, 500, 3, "relu", "gaussian"),
    (20, 500, 3, "tanh", "sphere"),
    (10, 300, 3, "tanh", "sphere"),
    (4, 200, 3, "tanh", "sphere"),
]


def cell(d: int, N: int, L: int, activation: str, data: str, trials: int) -> dict[str, Any]:
    """One row: ratios measured/predicted, their mean, standard error and extremes."""
    init, parameterization = NETWORKS[activation]
    net = ntk.Network([d, *[INF] * (L - 1), 1], activation, init, parameterization)
    found = ntk.predict_smallest_eigenvalue(net, N, data=data)
    draw = ntk.data.sphere if data == "sphere" else ntk.data.gaussian
    ratios, with_norms = [], []
    inside = 0
    for seed in range(trials):
        X = draw(N, d, seed=seed)
        value = float(torch.linalg.eigvalsh(ntk.limiting_ntk(net, X))[0])
        if data == "gaussian":
            norms = torch.linalg.vector_norm(X, dim=1).numpy()
            with_norms.append(value / ntk.predict_smallest_eigenvalue(net, N, data=norms).value)
        ratios.append(value / found.value)
        inside += found.lower <= value <= found.upper
    r = np.array(ratios)
    return {
        "d": d, "N": N, "L": L, "activation": activation, "data": data, "trials": trials,
        "predicted": found.value, "error": found.error / found.value, "regime": found.regime,
        "reliable": found.reliable, "mean_ratio": float(r.mean()),
        "standard_error": float(r.std(ddof=1) / math.sqrt(trials)), "sd": float(r.std(ddof=1)),
        "given_norms": [float(np.mean(with_norms)), float(np.std(with_norms, ddof=1))]
        if with_norms else None,
        "lowest": float(r.min()), "highest": float(r.max()), "in_interval": inside / trials,
    }  # fmt: skip


def speed() -> list[dict[str, Any]]:
    """Milliseconds a prediction and a spectrum, the coefficients of smooth activations cached."""
    rows = []
    for activation, data in (
        ("relu", "sphere"),
        ("relu", "gaussian"),
        ("tanh", "sphere"),
        ("tanh", "gaussian"),
    ):
        init, parameterization = NETWORKS[activation]
        net = ntk.Network([60, INF, INF, 1], activation, init, parameterization)
        start = time.perf_counter()
        ntk.predict_smallest_eigenvalue(net, 1000, data=data)
        first = time.perf_counter() - start
        again = _common.best_of(lambda: ntk.predict_smallest_eigenvalue(net, 1000, data=data), 5)  # noqa: B023
        spectrum = _common.best_of(lambda: ntk.predict_spectrum(net, 1000, data=data), 2)  # noqa: B023
        rows.append(
            {
                "case": f"{activation}, {data}",
                "first_ms": 1e3 * first,
                "ms": 1e3 * again,
                "spectrum_ms": 1e3 * spectrum,
            }
        )
    return rows


def main() -> None:
    quick = "--quick" in sys.argv
    torch.set_num_threads(2)
    rows: list[dict[str, Any]] = []
    for d, N, L, activation, data in CELLS:
        if quick and N > 300:
            continue
        row = cell(d, N, L, activation, data, 3 if quick else TRIALS)
        rows.append(row)
        print(
            f"| {d} | {N} | {L} | {activation} | {data} | {row['mean_ratio']:.4f} ± "
            f"{row['standard_error']:.4f} | {row['lowest']:.3f} … {row['highest']:.3f} | "
            f"{row['regime']} | {row['given_norms'] or ''} |",
            flush=True,
        )
    rows += speed() if not quick else []
    print(_common.record("prediction", rows))


if __name__ == "__main__":
    main()

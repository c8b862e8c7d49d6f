"""This checkout beside another one, in one run: each case in a fresh process of each, by turns.

Set NTKSCOPE_BASE to the other checkout. Seconds are of what a case times itself (a command: as a whole).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks._common import record

ROUNDS = 3
HERE = Path(__file__).parents[1]
_TIMED = """
import sys, time
sys.path.insert(0, {examples!r})
import torch, ntkscope as ntk
{setup}
begin = time.perf_counter()
{run}
print(time.perf_counter() - begin)
"""
COMMANDS = {
    "import ntkscope": ["-c", "import ntkscope"],
    "ntkscope --help": ["-m", "ntkscope", "--help"],
    "ntkscope predict": [
        "-m",
        "ntkscope",
        "predict",
        "--widths",
        "64,256,256,1",
        "--samples",
        "1000",
    ],
}
_MLP = 'net = ntk.Network([64, 256, 128, 1]); X = ntk.data.load("digits:N=500").X / 16'
_RESNET = (
    "import resnet; m = resnet.build(); "
    'X = ntk.data.load("digits:N=256").X.to(next(m.parameters()).dtype)'
)
_GAUSS = "X = ntk.data.gaussian({n}, {d}, seed=1)"
SNIPPETS = {
    "inspect 64-256-128-1, 500 digits": (_MLP, "ntk.inspect(net.sample(0), X)"),
    "inspect examples/resnet.py, 256 digits": (
        _RESNET,
        "ntk.inspect(m, X)",
    ),
    "its kernel": (
        _RESNET,
        "ntk.empirical_ntk(m, X).dense()",
    ),
    "empirical kernel, N = 2000, 100-1000-1000-1": (
        _GAUSS.format(n=2000, d=100) + "; m = ntk.Network([100, 1000, 1000, 1]).sample(0)",
        "ntk.empirical_ntk(m, X).dense()",
    ),
    "λ_min and its certificate, N = 3000": (
        _GAUSS.format(n=3000, d=100) + "; m = ntk.Network([100, 400, 400, 1]).sample(0); "
        "K = ntk.empirical_ntk(m, X).dense()",
        "ntk.smallest_eigenvalue(K)",
    ),
    "limiting kernel, ReLU, N = 2000": (
        _GAUSS.format(n=2000, d=64) + "; net = ntk.Network([64, 256, 256, 1])",
        "ntk.limiting_ntk(net, X)",
    ),
    "limiting kernel, tanh, N = 1000": (
        _GAUSS.format(n=1000, d=64) + '; net = ntk.Network([64, 256, 256, 1], "tanh")',
        "ntk.limiting_ntk(net, X)",
    ),
    "train, 200 steps, N = 500, 64-256-256-1": (
        _GAUSS.format(n=500, d=64) + "; y = torch.sign(X[:, 0]); "
        "m = ntk.Network([64, 256, 256, 1]).sample(0); from ntkscope import train, Recipe",
        "train(m, X, y, Recipe(steps=200))",
    ),
}  # fmt: skip


def _seconds(tree: Path, arguments: list[str], timed: bool) -> float:
    import time

    env = {**os.environ, "PYTHONPATH": str(tree / "src")}
    begin = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *arguments], env=env, cwd=tree, check=True, capture_output=True, text=True
    )
    return float(ended.stdout.split()[-1]) if timed else time.perf_counter() - begin


def main() -> None:
    """Every case by turns, the fastest and the median of both."""
    base = os.environ.get("NTKSCOPE_BASE")
    if not base:
        print("against: set NTKSCOPE_BASE to another checkout; skipped")
        return
    trees = {"before": Path(base), "after": HERE}
    rows: list[dict[str, Any]] = []
    cases = {name: (arguments, False) for name, arguments in COMMANDS.items()}
    for name, (setup, run) in SNIPPETS.items():
        code = _TIMED.format(examples=str(HERE / "examples"), setup=setup, run=run)
        cases[name] = (["-c", code], True)
    for name, (arguments, timed) in cases.items():
        found: dict[str, list[float]] = {tree: [] for tree in trees}
        for _ in range(ROUNDS):
            for label, tree in trees.items():
                found[label].append(_seconds(tree, arguments, timed))
        row = {"case": name, "seconds": found}
        rows.append(row)
        least = {label: min(values) for label, values in found.items()}
        middle = {label: statistics.median(values) for label, values in found.items()}
        print(f"{name}: {least['before']:.3f} → {least['after']:.3f} s "
              f"(medians {middle['before']:.3f}, {middle['after']:.3f})")  # fmt: skip
    record("against", json.loads(json.dumps({"rows": rows})))


if __name__ == "__main__":
    main()

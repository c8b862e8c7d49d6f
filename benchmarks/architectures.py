"""Limiting kernels of modules beside neural-tangents, in seconds of the clock and of the processor.

Set NTKSCOPE_NT_PYTHON to a Python that has neural-tangents to measure it in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Any

import torch
from torch import nn

import ntkscope as ntk
from benchmarks._common import record

CASES = {"pool": (True, 60), "flatten": (False, 400)}
_NT = """
import json, sys, time
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from neural_tangents import stax
pool, N = json.loads(sys.argv[1])
conv = lambda: stax.Conv(1, (3, 3), padding="SAME", W_std=2**0.5, b_std=0.1)
end = stax.GlobalAvgPool() if pool else stax.Flatten()
_, _, kernel = stax.serial(conv(), stax.Relu(), conv(), stax.Relu(), end, stax.Dense(1))
X = np.random.default_rng(0).standard_normal((N, 8, 8, 3))
run = jax.jit(lambda x: kernel(x, None, "ntk"))
run(X).block_until_ready()
found = []
for _ in range(3):
    wall, cpu = time.perf_counter(), time.process_time()
    run(X).block_until_ready()
    found.append((time.perf_counter() - wall, time.process_time() - cpu))
print(json.dumps({"seconds": min(f[0] for f in found), "cpu": min(f[1] for f in found)}))
"""


def _model(pool: bool) -> nn.Module:
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1)]
    if not pool:
        end = [nn.Flatten(), nn.Linear(64 * 64, 1)]
    return nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), *end
    )  # fmt: skip


def _ours(pool: bool, N: int) -> dict[str, float]:
    X = torch.randn(N, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    model, found = _model(pool), []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        ntk.limiting_ntk(model, X)
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    return {"seconds": min(f[0] for f in found), "cpu": min(f[1] for f in found)}


def _theirs(pool: bool, N: int) -> dict[str, float] | None:
    python = os.environ.get("NTKSCOPE_NT_PYTHON")
    if not python:
        return None
    done = subprocess.run(
        [python, "-c", _NT, json.dumps([pool, N])], capture_output=True, text=True, check=True
    )
    made: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return made


def main() -> None:
    """conv3×3-relu twice and a linear layer, 8×8 images of three channels."""
    rows: list[dict[str, Any]] = [
        {"case": name, "N": N, "ntkscope": _ours(pool, N), "neural_tangents": _theirs(pool, N)}
        for name, (pool, N) in CASES.items()
    ]
    print(record("architectures", rows))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()

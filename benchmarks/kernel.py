"""Forming the empirical NTK of an MLP: against the flops it needs, and against other ways.

Set NTKSCOPE_NT_PYTHON to a Python that has neural-tangents to measure beside it in one run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import ntkscope as ntk
from benchmarks._common import best_of, gemm_rate, record

CASES = [(1000, 100, 1000), (2000, 100, 1000), (3000, 977, 977)]
PER_SAMPLE = (1000, 632, 632)


def floor_flops(N: int, d: int, n: int) -> float:
    """One forward and backward pass and half of each Gram matrix, for widths d-n-n-1."""
    return 2 * N * (d * n + 2 * n * n) + N * N * (d + 4 * n)


def _problem(N: int, d: int, n: int) -> tuple[ntk.MLP, torch.Tensor]:
    return ntk.Network([d, n, n, 1], "relu", "he").sample(0), ntk.data.gaussian(N, d, seed=1)


def ours(N: int, d: int, n: int) -> dict[str, Any]:
    model, X = _problem(N, d, n)
    rate = gemm_rate()
    out = torch.empty(N, N, dtype=torch.float64)
    seconds = best_of(lambda: ntk.empirical_ntk(model, X).dense(), 5)
    reused = best_of(lambda: ntk.empirical_ntk(model, X).dense(out), 5)
    flops = floor_flops(N, d, n)
    return {
        "what": "empirical NTK, ReLU, L = 3, float64",
        "N": N, "d": d, "n": n, "seconds": seconds, "seconds_into_given_memory": reused,
        "floor_seconds": flops / rate, "share_of_gemm_rate": flops / seconds / rate,
        "share_into_given_memory": flops / reused / rate,
        "float64_gflops": rate / 1e9,
    }  # fmt: skip


def per_sample(N: int, d: int, n: int) -> dict[str, Any]:
    """One backward pass a sample, then J Jᵀ: the way of published scripts."""
    model, X = _problem(N, d, n)
    start = time.perf_counter()
    J = torch.empty(N, model.n_parameters, dtype=torch.float64)
    for i in range(N):
        grads = torch.autograd.grad(model(X[i : i + 1])[0, 0], list(model.parameters()))
        J[i] = torch.cat([g.reshape(-1) for g in grads])
    K = J @ J.T
    slow = time.perf_counter() - start
    del J
    fast = best_of(lambda: ntk.empirical_ntk(model, X).dense(), 5)
    mine = ntk.empirical_ntk(model, X).dense()
    error = float(((mine - K).abs() / torch.sqrt(torch.outer(K.diagonal(), K.diagonal()))).max())
    return {
        "what": "against one backward pass a sample and J Jᵀ", "N": N, "d": d, "n": n,
        "seconds": fast, "peer_seconds": slow, "times_faster": slow / fast, "difference": error,
    }  # fmt: skip


_NT = """
import json, sys, time
import jax, jax.numpy as jnp, neural_tangents as nt
from neural_tangents import stax
jax.config.update("jax_enable_x64", True)
N, d, n = map(int, sys.argv[1:4])
init, apply, _ = stax.serial(stax.Dense(n), stax.Relu(), stax.Dense(n), stax.Relu(), stax.Dense(1))
_, params = init(jax.random.PRNGKey(0), (N, d))
params = jax.tree_util.tree_map(lambda p: p.astype(jnp.float64), params)
X = jax.random.normal(jax.random.PRNGKey(1), (N, d), dtype=jnp.float64)
f = nt.empirical_ntk_fn(apply, trace_axes=(-1,), vmap_axes=0,
                        implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES)
f = jax.jit(f)
f(X, None, params).block_until_ready()
times = []
for _ in range(3):
    s = time.perf_counter(); f(X, None, params).block_until_ready(); times.append(time.perf_counter() - s)
print(json.dumps(min(times)))
"""


def neural_tangents(N: int, d: int, n: int) -> dict[str, Any] | None:
    python = os.environ.get("NTKSCOPE_NT_PYTHON")
    if not python:
        print("neural-tangents: skipped; set NTKSCOPE_NT_PYTHON to a Python that has it")
        return None
    done = subprocess.run(
        [python, "-c", _NT, str(N), str(d), str(n)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"neural-tangents: skipped; {done.stderr.strip().splitlines()[-1]}")
        return None
    peer = float(json.loads(done.stdout.strip().splitlines()[-1]))
    model, X = _problem(N, d, n)
    fast = best_of(lambda: ntk.empirical_ntk(model, X).dense(), 5)
    return {
        "what": "against neural-tangents 0.6.5, structured derivatives, jitted, float64",
        "N": N, "d": d, "n": n, "seconds": fast, "peer_seconds": peer, "times_faster": peer / fast,
    }  # fmt: skip


_MEMORY = """
import sys
import ntkscope as ntk
def status(key):
    for line in open("/proc/self/status"):
        if line.startswith(key):
            return int(line.split()[1]) * 1024
N, d, n = map(int, sys.argv[1:4])
K = ntk.empirical_ntk(ntk.Network([d, n, n, 1]).sample(0), ntk.data.gaussian(N, d, seed=1))
K.tile(slice(0, 64), slice(0, 64))
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = status("VmRSS:")
D = K.dense()
print((status("VmHWM:") - before) / (8 * N * N), K.nbytes_factors / (8 * N * N))
"""


def memory(N: int, d: int, n: int) -> dict[str, Any]:
    """Resident peak while K is formed beyond what was there, in units of 8N² bytes (Linux)."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(N), str(d), str(n)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    beyond, factors = map(float, done.stdout.split())
    return {"what": "memory of forming K, in 8N² bytes", "N": N, "d": d, "n": n,
            "beyond_factors": beyond, "factors": factors}  # fmt: skip


def start_up() -> dict[str, Any]:
    def seconds(*command: str) -> float:
        env = {**os.environ, "PYTHONPATH": str(Path(ntk.__file__).parents[1])}
        return best_of(
            lambda: subprocess.run(
                [sys.executable, *command], check=True, capture_output=True, env=env
            )
        )

    torch_alone = seconds("-c", "import torch")
    everything = seconds("-c", "import torch, ntkscope; ntkscope.inspect, ntkscope.MLP")
    return {
        "what": "start-up", "import_beyond_torch_seconds": everything - torch_alone,
        "help_seconds": seconds("-m", "ntkscope", "--help"),
        "inspect_help_seconds": seconds("-m", "ntkscope", "inspect", "--help"),
    }  # fmt: skip


def main() -> None:
    rows = [ours(*case) for case in CASES]
    rows += [row for case in CASES[:2] if (row := neural_tangents(*case))]
    rows += [per_sample(*PER_SAMPLE), memory(3000, 977, 977), memory(4000, 100, 500), start_up()]
    for row in rows:
        print(row)
    print(record("kernel", rows))


if __name__ == "__main__":
    main()

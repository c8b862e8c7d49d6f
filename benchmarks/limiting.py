"""Limiting kernels: against neural-tangents in its own environment, against N and L, and in memory.

Set NTKSCOPE_NT_PYTHON to a Python that has neural-tangents to measure beside it in one run.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mpmath as mp
import numpy as np
import torch

import ntkscope as ntk
from benchmarks._common import best_of, record
from ntkscope.kernels.limiting.limiting_kernel import limiting_kernel

D = 64
_NT = """
import json, sys, time
import jax, jax.numpy as jnp, numpy as np, neural_tangents as nt
from neural_tangents import stax
jax.config.update("jax_enable_x64", True)
task = json.loads(sys.argv[1])
act = {"relu": lambda: stax.Relu(), "gelu": lambda: stax.Gelu(), "erf": lambda: stax.Erf(),
       "tanh-numerical": lambda: stax.ElementwiseNumerical(jnp.tanh, deg=25),
       "gelu-numerical": lambda: stax.ElementwiseNumerical(
           lambda x: 0.5 * x * (1 + jax.scipy.special.erf(x / jnp.sqrt(2.0))), deg=25)}[task["act"]]
layers = []
for _ in range(task["L"] - 1):
    layers += [stax.Dense(8), act()]
_, _, kernel = stax.serial(*layers, stax.Dense(1))
X = jnp.asarray(np.load(task["data"]))
if task["batch"]:
    f = nt.batch(kernel, batch_size=task["batch"])
    run = lambda x: f(x, None, "ntk")
    run(X[: task["batch"]])
else:
    f = jax.jit(lambda x: kernel(x, None, "ntk"))
    run = lambda x: f(x).block_until_ready()
    run(X)
times = []
for _ in range(task["repeats"]):
    s = time.perf_counter(); K = np.asarray(run(X)); times.append(time.perf_counter() - s)
np.save(task["out"], K)
print(json.dumps(min(times)))
"""


def _network(name: str, L: int) -> ntk.Network:
    return ntk.Network([D, *[math.inf] * (L - 1), 1], name, "lecun", "ntk")


def _data(N: int) -> torch.Tensor:
    X = ntk.data.gaussian(N, D, seed=1)
    X[1] = X[0] + 1e-7 * X[2]  # one pair of near-duplicates
    return X


def _peer(name: str, N: int, L: int, batch: int, repeats: int) -> tuple[float, np.ndarray] | None:
    python = os.environ.get("NTKSCOPE_NT_PYTHON")
    if not python:
        print("neural-tangents: skipped; set NTKSCOPE_NT_PYTHON to a Python that has it")
        return None
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "X.npy", Path(folder) / "K.npy"
        np.save(data, _data(N).numpy())
        task = {"act": name, "L": L, "data": str(data), "out": str(out), "batch": batch,
                "repeats": repeats}  # fmt: skip
        done = subprocess.run(
            [python, "-c", _NT, json.dumps(task)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            print(f"neural-tangents: skipped; {done.stderr.strip().splitlines()[-1]}")
            return None
        return float(done.stdout.strip().splitlines()[-1]), np.load(out)


def _relu_entry(x: torch.Tensor, y: torch.Tensor, L: int) -> Any:
    """One entry of the ReLU kernel with 40 digits."""
    a, b, c = (mp.fdot(p, q) / D for p, q in ((x, x), (y, y), (x, y)))
    theta_sum = c
    for _ in range(L - 1):
        rho = max(mp.mpf(-1), min(mp.mpf(1), c / mp.sqrt(a * b)))
        angle = mp.acos(rho)
        slope = (mp.pi - angle) / (2 * mp.pi)
        c = mp.sqrt(a * b) * (mp.sin(angle) + (mp.pi - angle) * rho) / (2 * mp.pi)
        a, b = a / 2, b / 2
        theta_sum = theta_sum * slope + c
    return theta_sum


def _errors(K: Any, X: torch.Tensor, L: int) -> dict[str, float]:
    """Worst error relative to √(K_ii K_jj) on the diagonal, the near pair, and 40 other pairs."""
    groups = {
        "diagonal": [(i, i) for i in range(10)],
        "near_pair": [(0, 1)],
        "others": [(i, i + 7) for i in range(2, 42)],
    }
    found = {}
    with mp.workdps(40):
        rows = {
            i: [mp.mpf(v) for v in X[i].tolist()] for p in groups.values() for q in p for i in q
        }
        own = {i: _relu_entry(r, r, L) for i, r in rows.items()}
        for name, pairs in groups.items():
            found[name] = float(
                max(
                    abs(mp.mpf(float(K[i, j])) - _relu_entry(rows[i], rows[j], L))
                    / mp.sqrt(own[i] * own[j])
                    for i, j in pairs
                )
            )
    return found


def relu(N: int, L: int = 3) -> dict[str, Any]:
    X, net = _data(N), _network("relu", L)
    seconds = best_of(lambda: ntk.limiting_ntk(net, X), 5)
    out = torch.empty(N, N, dtype=torch.float64)
    reused = best_of(lambda: limiting_kernel(net, X).dense(out), 5)
    del out
    row: dict[str, Any] = {
        "what": "limiting NTK, ReLU, float64", "N": N, "L": L, "d": D, "seconds": seconds,
        "seconds_into_given_memory": reused,
        "bytes_floor_seconds": 8 * N * N / _bandwidth(),
        "errors": _errors(ntk.limiting_ntk(net, X), X, L),
    }  # fmt: skip
    peer = _peer("relu", N, L, 0, 3)
    if peer is not None:
        row |= {
            "peer": "neural-tangents, jitted, x64", "peer_seconds": peer[0],
            "times_faster": peer[0] / seconds, "peer_errors": _errors(peer[1], X, L),
        }  # fmt: skip
    return row


def smooth(name: str, peer_name: str, N: int, batch: int, L: int = 3) -> dict[str, Any]:
    X, net = _data(N), _network(name, L)
    seconds = best_of(lambda: ntk.limiting_ntk(net, X), 3)
    K = ntk.limiting_ntk(net, X)
    row: dict[str, Any] = {
        "what": f"limiting NTK, {name}, rows of different norms, float64", "N": N, "L": L, "d": D,
        "seconds": seconds,
    }  # fmt: skip
    peer = _peer(peer_name, N, L, batch, 1 if batch else 3)
    if peer is not None:
        root = np.sqrt(np.diag(K.numpy()))
        off = np.abs(peer[1] - K.numpy()) / np.outer(root, root)
        smallest = [
            float(torch.linalg.eigvalsh(m)[0]) for m in (K[1:, 1:], torch.tensor(peer[1][1:, 1:]))
        ]
        row |= {
            "peer": f"neural-tangents, {peer_name}", "peer_seconds": peer[0],
            "times_faster": peer[0] / seconds, "largest_difference": float(off.max()),
            "lambda_min": smallest[0], "peer_lambda_min": smallest[1],
        }  # fmt: skip
    return row


def scaling(name: str) -> dict[str, Any]:
    """Fitted exponents of the time in N, and its growth with L."""
    sizes = (1000, 2000, 4000)
    seconds = [best_of(lambda n=N: ntk.limiting_ntk(_network(name, 3), _data(n)), 3) for N in sizes]
    depths = (2, 4, 8)
    by_depth = [
        best_of(lambda l=L: ntk.limiting_ntk(_network(name, l), _data(1000)), 3) for L in depths
    ]
    slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    line = np.polyfit(depths, by_depth, 1)
    return {
        "what": f"growth of the time, {name}", "sizes": sizes, "seconds": seconds,
        "exponent_in_N": float(slope), "depths": depths, "seconds_by_depth": by_depth,
        "exponent_in_L": float(np.polyfit(np.log(np.array(depths) - 1), np.log(by_depth), 1)[0]),
        "seconds_a_layer": float(line[0]),
    }  # fmt: skip


_MEMORY = """
import sys, math
import ntkscope as ntk
def status(key):
    for line in open("/proc/self/status"):
        if line.startswith(key):
            return int(line.split()[1]) * 1024
name, N = sys.argv[1], int(sys.argv[2])
net = ntk.Network([64, math.inf, math.inf, 1], name, "lecun", "ntk")
X = ntk.data.gaussian(N, 64, seed=1)
ntk.limiting_ntk(net, X[:600])
open("/proc/self/clear_refs", "w").write("5")  # the peak starts anew
before = status("VmRSS:")
K = ntk.limiting_ntk(net, X)
print((status("VmHWM:") - before) / (8 * N * N))
"""


def memory(name: str, N: int) -> dict[str, Any]:
    """Resident peak while the kernel is formed beyond what was there, in 8N² bytes (Linux)."""
    env = {**os.environ, "PYTHONPATH": str(Path(ntk.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, name, str(N)], capture_output=True, text=True, check=True,
        env=env,
    )  # fmt: skip
    return {"what": f"peak memory, {name}, in 8N² bytes", "N": N, "peak": float(done.stdout)}


def transcendental() -> dict[str, Any]:
    """Seconds an element of the vectorised library, the floor of the exact layers."""
    x = torch.rand(256, 512, dtype=torch.float64)
    out = torch.empty_like(x)
    rates = {
        name: best_of(lambda f=f: [f(x, out=out) for _ in range(50)], 3) / 50 / x.numel() * 1e9
        for name, f in (("asin", torch.asin), ("sqrt", torch.sqrt), ("exp", torch.exp))
    }
    rates["addcmul"] = (
        best_of(lambda: [out.addcmul_(x, x) for _ in range(50)], 3) / 50 / x.numel() * 1e9
    )
    return {"what": "ns an element in cache", **rates}


def _bandwidth() -> float:
    """Bytes a second of writing a large array."""
    out = torch.empty(1 << 25, dtype=torch.float64)
    return 8 * out.numel() / best_of(lambda: out.fill_(1.0), 3)


def products(N: int) -> dict[str, Any]:
    """K v without K."""
    kernel, v = limiting_kernel(_network("relu", 3), _data(N)), torch.ones(N, dtype=torch.float64)
    return {
        "what": "K @ v without forming K, ReLU",
        "N": N,
        "seconds": best_of(lambda: kernel @ v, 2),
    }


def alone(name: str, N: int, L: int = 3) -> dict[str, Any]:
    """Ours where the peer would take minutes: its time grows as N² too."""
    X, net = _data(N), _network(name, L)
    return {
        "what": f"limiting NTK, {name}, ours alone, float64", "N": N, "L": L, "d": D,
        "seconds": best_of(lambda: ntk.limiting_ntk(net, X), 3),
    }  # fmt: skip


def main(sizes: tuple[int, ...] = (1000, 2000, 8000), big: int = 2000, numeric: int = 500) -> None:
    rows = [transcendental(), *(relu(N) for N in sizes)]
    rows += [
        smooth("tanh", "tanh-numerical", numeric, numeric // 4),
        smooth("gelu", "gelu-numerical", numeric, numeric // 4),
        smooth("gelu", "gelu", big, 0),
        smooth("erf", "erf", big, 0),
        alone("tanh", big),
    ]
    rows += [scaling("relu"), scaling("tanh"), scaling("gelu")]
    rows += [memory("relu", 4000), memory("tanh", 4000), memory("gelu", 4000), products(4000)]
    print(record("limiting", rows))
    for row in rows:
        print({k: (float(f"{v:.4g}") if isinstance(v, float) else v) for k, v in row.items()})


if __name__ == "__main__":
    main()

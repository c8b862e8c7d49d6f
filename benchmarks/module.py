"""The NTK of nn.Modules: against the Jacobian contraction of PyTorch's torch.func tutorial.

Each way runs in a process of its own, which reports its best time and its peak memory beyond what
was in use before. Set NTKSCOPE_NT_PYTHON to a Python that has neural-tangents for its row.
``python -m benchmarks.module --small`` shrinks every case, to see that the script runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil

from benchmarks._common import record

CASES = ("mlp", "resnet", "transformer")
WAYS = ("ntkscope", "tutorial")
PEERS = ("torchjd", "nngeometry")


def make(case: str, dtype: Any, small: bool) -> tuple[Any, Any]:
    """The model and its data."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    if case == "mlp":
        d, n, N = (20, 64, 50) if small else (100, 512, 1000)
        layers = [
            nn.Linear(d, n),
            nn.ReLU(),
            nn.Linear(n, n),
            nn.ReLU(),
            nn.Linear(n, n),
            nn.ReLU(),
        ]
        model, X = nn.Sequential(*layers, nn.Linear(n, 1)), torch.randn(N, d)
    elif case == "resnet":
        sys.path.insert(0, "examples")
        from resnet import ResNet

        N = 16 if small else 256
        model, X = ResNet(), 16 * torch.rand(N, 64)
    else:
        sys.path.insert(0, "examples")
        from transformer import Encoder

        N = 16 if small else 256
        model, X = Encoder(tokens=16, features=8, d=64), 16 * torch.rand(N, 128)
    return model.eval().to(dtype), X.to(dtype)


def tutorial(model: Any, X: Any) -> Any:
    """``empirical_ntk_jacobian_contraction`` of the tutorial "Neural Tangent Kernels", trace."""
    import torch
    from torch.func import functional_call, jacrev, vmap

    params = {k: v.detach() for k, v in model.named_parameters()}

    def fnet_single(params: Any, x: Any) -> Any:
        return functional_call(model, params, (x.unsqueeze(0),)).squeeze(0)

    jac = vmap(jacrev(fnet_single), (None, 0))(params, X)
    jac = [j.flatten(2) for j in jac.values()]
    total: Any = 0
    for j in jac:
        total = total + torch.einsum("Naf,Maf->NM", j, j)
    return total


def torchjd(model: Any, X: Any) -> Any:
    """TorchJD's Gramian of each output's Jacobian, added up: all that it holds is one output's."""
    from torchjd.autogram import Engine

    outputs = model(X[:1]).shape[1]
    engine = Engine(model, batch_dim=0)
    total: Any = 0
    for c in range(outputs):
        total = total + engine.compute_gramian(model(X)[:, c])
    return total.detach()


def nngeometry(model: Any, X: Any) -> Any:
    """NNGeometry's GramMatrix, which is made for every pair of outputs, and its trace over them."""
    import torch
    from nngeometry.gram import GramMatrix
    from torch.utils.data import DataLoader, TensorDataset

    loader = DataLoader(TensorDataset(X), batch_size=64)
    return torch.einsum("cncm->nm", GramMatrix(model, loader).data).detach()


def child(case: str, way: str, precision: str, small: bool) -> None:
    """One way of one case, in a fresh process: seconds, peak bytes, and the kernel's checksum."""
    import torch

    import ntkscope as ntk

    torch.set_num_threads(2)
    dtype = getattr(torch, precision)
    model, X = make(case, dtype, small)
    ways: dict[str, Callable[[Any, Any], Any]] = {
        "ntkscope": lambda model, X: ntk.empirical_ntk(model, X).dense(),
        "tutorial": tutorial,
        "torchjd": torchjd,
        "nngeometry": nngeometry,
    }
    run = ways[way]
    run(model, X[:8])
    process = psutil.Process()
    before, peak, done = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        K = run(model, X)
        seconds.append(time.perf_counter() - start)
        if seconds[0] > 20:
            break  # a second look would tell nothing new
    done.set()
    watcher.join()
    result = {
        "seconds": min(seconds), "peak_bytes": max(0, peak - before),
        "trace": float(K.trace()), "norm": float(torch.linalg.matrix_norm(K)),
    }  # fmt: skip
    print(json.dumps(result))


def measure(
    case: str, way: str, precision: str, small: bool, python: str = sys.executable
) -> dict[str, Any]:
    command = [python, "-m", "benchmarks.module", "child", case, way, precision]
    done = subprocess.run(
        command + (["--small"] if small else []), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": "src"},
    )  # fmt: skip
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1][:200]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


NEURAL_TANGENTS = """
import sys, time, json
import jax; jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp, numpy as np, neural_tangents as nt
from neural_tangents import stax
N, d, n = map(int, sys.argv[1:4]); dtype = sys.argv[4]
layers = [stax.Dense(n), stax.Relu()] * 3
init, apply, _ = stax.serial(*layers, stax.Dense(1))
_, params = init(jax.random.PRNGKey(0), (-1, d))
params = jax.tree_util.tree_map(lambda p: p.astype(dtype), params)
X = jnp.asarray(np.random.default_rng(0).standard_normal((N, d)), dtype)
f = jax.jit(nt.empirical_ntk_fn(apply, trace_axes=(-1,), vmap_axes=0,
    implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES))
f(X, None, params).block_until_ready(); best = 1e9
for _ in range(3):
    t = time.perf_counter(); f(X, None, params).block_until_ready(); best = min(best, time.perf_counter() - t)
print(json.dumps({"seconds": best}))
"""


def neural_tangents(precision: str, small: bool) -> dict[str, Any] | None:
    python = os.environ.get("NTKSCOPE_NT_PYTHON")
    if not python:
        print("neural-tangents: skipped; set NTKSCOPE_NT_PYTHON to a Python that has it")
        return None
    sizes = ("50", "20", "64") if small else ("1000", "100", "512")
    done = subprocess.run(
        [python, "-c", NEURAL_TANGENTS, *sizes, precision],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1][:200]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(small: bool = False) -> None:
    rows: list[dict[str, Any]] = []
    for precision in ("float64", "float32"):
        for case in CASES:
            found = {way: measure(case, way, precision, small) for way in WAYS}
            peers = os.environ.get("NTKSCOPE_PEERS_PYTHON")
            if peers:
                found |= {way: measure(case, way, precision, small, peers) for way in PEERS}
            row: dict[str, Any] = {"case": case, "dtype": precision, **found}
            mine, theirs = found["ntkscope"], found["tutorial"]
            if "seconds" in mine and "seconds" in theirs:
                row["times_faster"] = theirs["seconds"] / mine["seconds"]
                row["times_smaller"] = theirs["peak_bytes"] / max(1, mine["peak_bytes"])
                row["difference"] = abs(mine["norm"] - theirs["norm"]) / theirs["norm"]
            if case == "mlp":
                row["neural_tangents"] = neural_tangents(precision, small)
            rows.append(row)
            print(json.dumps(row))
    if not small:
        record("module", rows)


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "child":
        child(*sys.argv[2:5], small="--small" in sys.argv)
    else:
        main(small="--small" in sys.argv)

"""The ResNet and the encoder of ``examples`` against the best of the peers, on two threads, on one, and beside
another process that keeps a core busy.

The tutorial's variant that is fastest here takes Jacobians by ``vmap(jacrev)`` in chunks, holds them, and one product
a layer (``held``); ``tutorial`` is its text as it stands. With NTKSCOPE_PEERS_PYTHON, a Python that has them, TorchJD
and curvlinops too. Each way runs in a fresh process; ``seconds`` are the clock's, the least of two, ``processor`` those of the
processor. ``python -m benchmarks.examples``, with ``--small`` to see that it runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks._common import record
from benchmarks.models import held, ntkscope
from benchmarks.module import make, torchjd, tutorial

CASES = ("resnet", "transformer")
WAYS = ("ntkscope", "held", "tutorial")
PEERS = ("torchjd", "curvlinops")
LOADS = ("two threads", "one thread", "busy core")
_BUSY = (
    "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"  # ends with its parent
)
_OF_PEERS = 32  # samples that curvlinops takes, at a product for each sample and output


def curvlinops(model: nn.Module, X: Tensor) -> Tensor:
    """Its Jacobian as an operator, J (Jᵀ e) for every unit vector e, and the trace over the outputs."""
    from curvlinops import JacobianLinearOperator

    targets = model(X).detach()
    J = JacobianLinearOperator(
        model, list(model.parameters()), [(X, targets)], check_deterministic=False
    )
    N, C = targets.shape
    K = J @ (J.adjoint() @ torch.eye(N * C, dtype=X.dtype))
    return torch.einsum("ncmc->nm", K.reshape(N, C, N, C)).detach()


def child(case: str, way: str, load: str, small: bool) -> None:
    """One way of one case, in a fresh process."""
    torch.set_num_threads(1 if load == "one thread" else 2)
    model, X = make(case, torch.float64, small)
    if way == "curvlinops":
        X = X[:_OF_PEERS]
    ways: dict[str, Callable[[nn.Module, Any], Tensor]] = {
        "ntkscope": ntkscope, "held": held, "tutorial": tutorial, "torchjd": torchjd, "curvlinops": curvlinops,
    }  # fmt: skip
    run = ways[way]
    run(model, X[:4])
    busy = subprocess.Popen([sys.executable, "-c", _BUSY]) if load == "busy core" else None
    try:
        found = []
        for _ in range(2):
            wall, used = time.perf_counter(), time.process_time()
            K = run(model, X)
            found.append((time.perf_counter() - wall, time.process_time() - used))
            if found[0][0] > 20:
                break  # a second look would tell nothing new
    finally:
        if busy is not None:
            busy.kill()
            busy.wait()
    print(json.dumps({
        "N": len(X), "seconds": min(f[0] for f in found), "processor": min(f[1] for f in found),
        "norm": float(torch.linalg.matrix_norm(K)),
    }))  # fmt: skip


def measure(case: str, way: str, load: str, small: bool) -> dict[str, Any]:
    """What :func:`child` prints; where it does not, its last word."""
    peers = os.environ.get("NTKSCOPE_PEERS_PYTHON", "")
    python = peers if way in PEERS else sys.executable
    command = [python, "-m", "benchmarks.examples", "child", case, way, load]
    done = subprocess.run(
        command + (["--small"] if small else []), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": "src"},
    )  # fmt: skip
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1][:200]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(small: bool = False) -> None:
    peers = PEERS if os.environ.get("NTKSCOPE_PEERS_PYTHON") else ()
    rows: list[dict[str, Any]] = []
    for load in LOADS:
        for case in CASES:
            ways = (*WAYS, *(peers if load == "one thread" else ()))
            found = {way: measure(case, way, load, small) for way in ways}
            row: dict[str, Any] = {"case": case, "load": load, **found}
            mine, theirs = found["ntkscope"], [found[w] for w in WAYS[1:] if "seconds" in found[w]]
            if "seconds" in mine and theirs:
                best = min(theirs, key=lambda f: float(f["seconds"]))
                row["times_faster"] = best["seconds"] / mine["seconds"]
                row["difference"] = abs(mine["norm"] / best["norm"] - 1)
            rows.append(row)
            print(json.dumps(row), flush=True)
    if not small:
        record("examples", rows)


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "child":
        child(*sys.argv[2:5], small="--small" in sys.argv)
    else:
        main(small="--small" in sys.argv)

"""λ_min with its certificate: against the eigensolvers of NumPy, torch and SciPy, and at large N.

python -m benchmarks.spectra                 the dense cases and their memory
python -m benchmarks.spectra large 20000     one large case; 50000, 50000-float32
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse.linalg
import torch

import ntkscope as ntk
from benchmarks._common import RESULTS, environment, gemm_rate

DENSE = (("empirical NTK, κ = 1e4", 6000), ("limiting NTK on the circle, κ = 1e10", 6000))
EXPONENT_SIZES = (1500, 3000)


def matrix(name: str, n: int) -> torch.Tensor:
    """The test matrices: an empirical NTK, and a limiting one that is nearly singular."""
    if name.startswith("empirical"):
        model = ntk.Network([64, 512, 512, 1], "relu", "he").sample(0)
        return ntk.empirical_ntk(model, ntk.data.gaussian(n, 64, seed=1)).dense()
    angle = np.random.default_rng(0).uniform(0, 2 * np.pi, n)
    X = torch.from_numpy(np.stack([np.cos(angle), np.sin(angle)], axis=1))
    return ntk.limiting_ntk(ntk.Network([2, 512, 512, 1], "relu", "he"), X)


def timed(run: Any) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def dense(name: str, n: int) -> dict[str, Any]:
    """Ours and the alternatives on one matrix, in one run."""
    K = matrix(name, n)
    ntk.smallest_eigenvalue(K[:700, :700].contiguous())  # warm up
    seconds, found = min((timed(lambda: ntk.smallest_eigenvalue(K)) for _ in range(2)),
                         key=lambda pair: pair[0])  # fmt: skip
    in_place, _ = timed(lambda: ntk.smallest_eigenvalue(K, in_place=True))
    row: dict[str, Any] = {
        "what": name, "N": n, "seconds": seconds, "seconds_in_place": in_place,
        "status": found.status.name, "bound": found.certificate, "value": found.value,
        "relative_width": (found.upper - found.lower) / abs(found.value),
        "norm": found.norm, "solves": found.matvecs, "float64_gflops": gemm_rate() / 1e9,
    }  # fmt: skip
    others = {
        "torch.linalg.eigvalsh": lambda: float(torch.linalg.eigvalsh(K)[0]),
        "torch Cholesky alone": lambda: float(torch.linalg.cholesky_ex(K)[1]),
        "numpy.linalg.eigvalsh": lambda: float(np.linalg.eigvalsh(K.numpy())[0]),
    }
    for other, run in others.items():
        taken, value = timed(run)
        row[other] = {"seconds": taken, "ours_over_it": seconds / taken}
        if "eigvalsh" in other:
            row[other]["relative_difference"] = abs(value - found.value) / abs(found.value)
    return row


def alternatives(n: int) -> dict[str, Any]:
    """Iterative solvers at a size where they end: what they take and how wrong they are."""
    K = matrix("empirical", n)
    A = K.numpy()
    true = ntk.smallest_eigenvalue(K)
    rng = np.random.default_rng(0)
    runs = {
        "smallest_eigenvalue": lambda: ntk.smallest_eigenvalue(K).value,
        "scipy eigh subset [0, 0]": lambda: scipy.linalg.eigh(
            A, eigvals_only=True, subset_by_index=[0, 0]
        )[0],
        "scipy lobpcg, 200 steps": lambda: scipy.sparse.linalg.lobpcg(
            A, rng.normal(size=(n, 4)), largest=False, maxiter=200, tol=1e-8
        )[0].min(),
        "torch eigvalsh in float32": lambda: float(torch.linalg.eigvalsh(K.float())[0]),
    }
    row: dict[str, Any] = {"what": "alternatives, empirical NTK", "N": n}
    for name, run in runs.items():
        seconds, value = timed(run)
        row[name] = {"seconds": seconds, "relative_error": abs(value - true.value) / true.value}
    return row


def memory(n: int) -> dict[str, Any]:
    """Peak memory beyond K in units of 8N², in processes of their own."""
    row: dict[str, Any] = {"what": "peak memory beyond K / 8N²", "N": n}
    for name, call in {
        "smallest_eigenvalue": "ntk.smallest_eigenvalue(K)",
        "smallest_eigenvalue, in place": "ntk.smallest_eigenvalue(K, in_place=True)",
        "torch.linalg.eigvalsh": "torch.linalg.eigvalsh(K)",
        "torch.linalg.eigh": "torch.linalg.eigh(K)",
    }.items():
        if name == "torch.linalg.eigh" and n > 3000:
            continue
        code = f"""
import re, torch, ntkscope as ntk
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
torch.set_num_threads({torch.get_num_threads()})
small = torch.eye(700, dtype=torch.float64) + 0.1
K = small; {call}
torch.manual_seed(0)
F = torch.randn({n}, 64, dtype=torch.float64)
K = torch.empty({n}, {n}, dtype=torch.float64)
torch.mm(F, F.T, out=K); K.diagonal().add_(1.0 + torch.rand({n}, dtype=torch.float64))
before = peak()
{call}
after = peak()
print((after - before) / (8 * {n} ** 2))
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        row[name] = float(done.stdout) if done.returncode == 0 else done.stderr[-200:]
    return row


def exponents(sizes: tuple[int, ...], last: dict[str, Any]) -> dict[str, Any]:
    """How the time grows with N, by least squares of the logarithms."""
    points = []
    for n in sizes:
        K = matrix("empirical", n)
        ntk.smallest_eigenvalue(K)
        points.append((n, timed(lambda K=K: ntk.smallest_eigenvalue(K))[0]))
    points.append((last["N"], last["seconds"]))
    slope = np.polyfit(*np.log(np.array(points)).T, 1)[0]
    return {"what": "cost exponent", "points": points, "exponent": float(slope)}


def singular(m: int, n: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.normal(size=(m, n)))[0]
    right = np.linalg.qr(rng.normal(size=(n, n)))[0]
    row: dict[str, Any] = {"what": "σ_min of tall features", "m": m, "n": n}
    for exponent in (4, 8, 11):
        F = torch.from_numpy((left * np.geomspace(10.0**-exponent, 1, n)) @ right.T)
        seconds, found = timed(lambda F=F: ntk.smallest_singular_value(F))
        plain, value = timed(
            lambda F=F: float(torch.linalg.svdvals(torch.linalg.qr(F, mode="r")[1])[-1])
        )
        row[f"κ = 1e{exponent}"] = {
            "seconds": seconds, "qr_svdvals_seconds": plain, "status": found.status.name,
            "relative_width": (found.upper - found.lower) / found.value,
            "relative_difference": abs(value - found.value) / found.value,
        }  # fmt: skip
    return row


def large(n: int, method: str, tolerance: float = 1e-3) -> dict[str, Any]:
    """A kernel from factors, d = 100, widths 512."""
    model = ntk.Network([100, 512, 512, 1], "relu", "he").sample(0)
    X = ntk.data.gaussian(n, 100, seed=1)
    rate = gemm_rate()
    began = time.perf_counter()
    K = ntk.empirical_ntk(model, X)
    plan = ntk.plan(K, method=method)
    print(plan, flush=True)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    shown: dict[str, float] = {}

    def progress(report: ntk.Progress) -> None:
        if time.perf_counter() - shown.get(report.stage, 0.0) > 10:
            shown[report.stage] = time.perf_counter()
            print(f"{time.perf_counter() - began:7.0f} s  {report}", flush=True)

    found = ntk.smallest_eigenvalue(K, method=method, tolerance=tolerance, progress=progress)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "what": f"from factors, d = 100, widths 512, {method}", "N": n,
        "seconds": time.perf_counter() - began, "expected_seconds": plan.seconds,
        "value": found.value, "lower": found.lower, "upper": found.upper, "note": found.note,
        "status": found.status.name, "bound": found.certificate, "products": found.matvecs,
        "relative_width": (found.upper - found.lower) / found.value, "method": found.method,
        "peak_gb": peak / 1e9, "peak_before_gb": held / 1e9, "float64_gflops": rate / 1e9,
    }  # fmt: skip


def write(rows: list[dict[str, Any]], name: str) -> None:
    """Each group of rows keeps the environment that it was measured in."""
    RESULTS.mkdir(exist_ok=True)
    path: Path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")
    for row in rows:
        print(json.dumps(row), flush=True)


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["large"]:
        size, _, method = arguments[1].partition("-")
        write([large(int(size), method or "packed")], f"spectra-{arguments[1]}")
        return
    shrink = 10 if arguments[:1] == ["tiny"] else 1
    rows = [dense(name, n // shrink) for name, n in DENSE]
    rows.append(exponents(tuple(n // shrink for n in EXPONENT_SIZES), rows[0]))
    rows.append(memory(6000 // shrink))
    rows.append(alternatives(2000 // shrink))
    rows.append(singular(20000 // shrink, 800 // shrink))
    write(rows, "spectra" if shrink == 1 else "spectra-tiny")


if __name__ == "__main__":
    main()

"""Kernels, certified eigenvalues and training on a GPU, beside its own rates and, where small, its CPU.

``python -m benchmarks.gpu``; on an H200 about 70 seconds. A row that fails says why.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch

import ntkscope as ntk
from benchmarks._common import record
from benchmarks._models import make
from benchmarks.models import held
from ntkscope.experiments.sweep import Sweep
from ntkscope.papers.bombari2022.figure_2 import FIGURE

INF = float("inf")


def timed(run: Callable[[], Any], repeats: int = 3) -> float:
    """Seconds of the fastest, after one to warm up; everything queued has ended at both ends."""
    run()
    return min(once(run)[0] for _ in range(repeats))


def once(run: Callable[[], Any]) -> tuple[float, Any]:
    torch.cuda.synchronize()
    start = time.perf_counter()
    made = run()
    torch.cuda.synchronize()
    return time.perf_counter() - start, made


def rates() -> dict[str, Any]:
    """Flops a second of square products, bytes a second of a copy."""
    found: dict[str, Any] = {"case": "rates", "device": torch.cuda.get_device_name()}
    for dtype, n in ((torch.float64, 8192), (torch.float32, 8192)):
        a = torch.randn(n, n, dtype=dtype, device="cuda")
        found[f"gemm_{dtype}".replace("torch.", "")] = 2 * n**3 / timed(lambda a=a: a @ a)
    a = torch.randn(1 << 28, device="cuda")
    out = torch.empty_like(a)
    found["copy"] = 2 * 4 * a.numel() / timed(lambda: out.copy_(a))
    return found


def eigenvalue(n: int, device: str = "cuda") -> dict[str, Any]:
    """K of 64-512-512-1 and its λ_min with a certificate, beside one Cholesky factorisation."""
    model = ntk.Network([64, 512, 512, 1]).sample(seed=0, device=device)
    K = ntk.empirical_ntk(model, ntk.data.gaussian(n, 64, seed=1).to(device))
    forming, matrix = once(K.dense)
    matrix = matrix.clone()
    torch.linalg.cholesky(matrix[:512, :512])
    cholesky, _ = once(lambda: torch.linalg.cholesky(matrix))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    seconds, found = once(lambda: ntk.smallest_eigenvalue(matrix))
    return {
        "case": f"λ_min, dense, {device}", "N": n, "forming": forming, "cholesky": cholesky,
        "seconds": seconds, "of_cholesky": seconds / cholesky, "lower": found.lower,
        "upper": found.upper, "value": found.value, "certificate": found.certificate,
        "status": found.status.name, "method": found.method,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
    }  # fmt: skip


def packed(n: int) -> dict[str, Any]:
    model = ntk.Network([64, 512, 512, 1]).sample(seed=0, device="cuda")
    K = ntk.empirical_ntk(model, ntk.data.gaussian(n, 64, seed=1).to("cuda"))
    torch.cuda.reset_peak_memory_stats()
    seconds, found = once(lambda: ntk.smallest_eigenvalue(K, method="packed"))
    return {
        "case": "λ_min, packed, from factors", "N": n, "seconds": seconds, "lower": found.lower,
        "upper": found.upper, "certificate": found.certificate, "status": found.status.name,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9,
    }  # fmt: skip


def tiled(n: int) -> dict[str, Any]:
    """Tiles of a kernel, factored by one worker on the GPU, in files."""
    model = ntk.Network([64, 512, 512, 1]).sample(seed=0)
    K = ntk.empirical_ntk(model, ntk.data.gaussian(n, 64, seed=1))
    with tempfile.TemporaryDirectory() as folder:
        engine = ntk.Engine(workers=0, device="cuda")
        seconds, found = once(lambda: ntk.smallest_eigenvalue(K, engine=engine, folder=folder))
    return {"case": "λ_min, tiles on disk", "N": n, "seconds": seconds, "lower": found.lower,
            "upper": found.upper, "certificate": found.certificate}  # fmt: skip


def limiting(n: int, activation: str) -> dict[str, Any]:
    net = ntk.Network([64, INF, INF, 1], activation, parameterization="ntk")
    K = ntk.limiting_kernel(net, ntk.data.sphere(n, 64, seed=0).to("cuda"))
    out = torch.empty(n, n, dtype=torch.float64, device="cuda")
    seconds = timed(lambda: K.dense(out))
    return {"case": f"limiting kernel, {activation}, three layers", "N": n, "seconds": seconds,
            "nanoseconds_an_entry": 1e9 * seconds / n**2}  # fmt: skip


def streamed(n: int) -> dict[str, Any]:
    net = ntk.Network([64, INF, INF, 1], "relu", parameterization="ntk")
    X = ntk.data.sphere(n, 64, seed=0).to("cuda")
    seconds, found = once(lambda: ntk.streamed_bound(net, X))
    return {"case": "streamed bound, relu, three layers", "N": n, "seconds": seconds,
            "lower": found.lower, "upper": found.upper, "proved": found.proved}  # fmt: skip


def module(case: str, dtype: torch.dtype) -> dict[str, Any]:
    """A model's kernel beside per-sample gradients, all held, and a product for each layer."""
    model, X = make(case, dtype, small=False)
    model = model.to("cuda")
    X = {k: v.to("cuda") for k, v in X.items()} if isinstance(X, dict) else X.to("cuda")
    row: dict[str, Any] = {"case": f"module {case}", "dtype": str(dtype).removeprefix("torch.")}
    made = {}
    for name, run in (("ntkscope", lambda: ntk.empirical_ntk(model, X).dense()),
                      ("held", lambda: held(model, X))):  # fmt: skip
        try:
            run()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            row[name], made[name] = once(run)
            row[f"{name}_gb"] = (torch.cuda.max_memory_allocated() - before) / 1e9
        except RuntimeError as error:
            row[f"{name}_failed"] = str(error).splitlines()[0][:200]
    if len(made) == 2:
        row["times_faster"] = row["held"] / row["ntkscope"]
        row["difference"] = float((made["held"] - made["ntkscope"]).norm() / made["held"].norm())
    return row


def descent(n: int, i: int, device: str = "cuda") -> dict[str, Any]:
    """A point of Bombari et al. 2022, Figure 2: ten networks together, a thousand steps of Adam."""
    settings = dict(FIGURE.settings("full"))
    settings |= {"grid": {"N": [n], "i": [i]}, "training": {**settings["training"], "epochs": 1000}}
    sweep = Sweep(settings)
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = once(lambda: sweep.run(folder, ntk.Engine(workers=0, device=device)))
        rows = sweep.table(folder).records
    epochs = max(row["epochs"] for row in rows)
    return {"case": "descent of ten networks", "N": n, "d": rows[0]["d"], "seconds": seconds,
            "epochs": epochs, "ms_a_step": 1e3 * seconds / epochs}  # fmt: skip


def main() -> None:
    if not torch.cuda.is_available():
        print("torch sees no GPU here: nothing is measured, and the results stay as they were")
        return
    f64, f32 = torch.float64, torch.float32
    models = ("resnet18", "vit", "bert", "lstm")
    cases: list[Callable[[], dict[str, Any]]] = [
        rates,
        *(lambda n=n, i=i: descent(n, i) for n, i in ((2000, 3), (6000, 15), (12_000, 30))),
        lambda: eigenvalue(6000, "cpu"),
        *(lambda n=n: eigenvalue(n) for n in (6000, 20_000)),
        *(lambda c=c, t=t: module(c, t) for c in models for t in (f64, f32)),
        *(lambda a=a: limiting(20_000, a) for a in ("relu", "erf", "gelu")),
        lambda: streamed(100_000),
        lambda: eigenvalue(40_000),
        lambda: tiled(12_000),
        lambda: packed(60_000),
    ]
    rows: list[dict[str, Any]] = []
    try:
        for case in cases:
            start = time.perf_counter()
            try:
                rows.append(case())
            except Exception as error:  # the other rows are still wanted
                rows.append({"failed": f"{type(error).__name__}: {error}"[:500]})
            print(f"{time.perf_counter() - start:.1f} s", rows[-1], flush=True)
            torch.cuda.empty_cache()
    finally:
        record("gpu", rows)


if __name__ == "__main__":
    main()

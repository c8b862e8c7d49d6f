"""What every benchmark here needs: a clock, the machine's rates, and a JSON record beside it."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import psutil
import torch

RESULTS = Path(__file__).parent / "results"


def best_of(run: Callable[[], Any], repeats: int = 3) -> float:
    """Seconds of the fastest of ``repeats`` runs, after one to warm up."""
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def gemm_rate(n: int = 3000, dtype: torch.dtype = torch.float64) -> float:
    """Flops a second of an n×n matrix product, the best of five."""
    a = torch.randn(n, n, dtype=dtype)
    out = torch.empty_like(a)
    return 2 * n**3 / best_of(lambda: torch.mm(a, a, out=out), 5)


def environment() -> dict[str, Any]:
    """The machine and the versions behind a number."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": psutil.cpu_count(logical=True),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "gemm_float64_gflops": round(gemm_rate() / 1e9, 1),
    }


def record(name: str, rows: list[dict[str, Any]]) -> Path:
    """Write ``results/NAME.json``: the environment and the rows."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"environment": environment(), "rows": rows}, indent=1) + "\n")
    return path


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")

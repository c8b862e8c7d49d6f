"""Every statement of the papers on the three acceptance instances: time and peak memory.

Each instance runs ``ntkscope check --all`` in a fresh process, pages written, on two threads; the
peak is that process's VmHWM. Beside it stand the sizes of what must not be formed: the Khatri-Rao
square of the widest layer, and the Jacobian of all parameters.
``python -m benchmarks.statements --small`` shrinks every case, to see that the script runs.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks._common import record

CASES = {
    "relu": ("100,1000,300,1", "--activation relu --init he"),
    "pyramid": ("100,90,80,1", "--activation tanh --init bombari2022"),
    "equal width": (
        "100,600,600,1",
        "--activation tanh --parameterization ntk --init banerjee2023",
    ),
}
GOAL = {"seconds": 60.0, "peak_bytes": 4e9}


def child(arguments: list[str]) -> None:
    """The command in this fresh process; its last line is what it took."""
    import torch

    from ntkscope.cli.main import main as command

    torch.set_num_threads(2)
    with contextlib.suppress(SystemExit):
        command(arguments)
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    print(json.dumps({"peak_bytes": 1024 * int(found[1])}))


def measure(name: str, N: int, widths: str, options: str) -> dict[str, Any]:
    """One instance: wall seconds from start to exit, peak memory, the slowest statements."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["check", "--all", "--data", f"gaussian:N={N},d={widths.split(',')[0]}",
                     "--widths", widths, *options.split(), "--out", folder]  # fmt: skip
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.statements", "child", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        if done.returncode or not (Path(folder) / "result.json").exists():
            return {"case": name, "failed": done.stderr.strip()[-300:]}
        verdicts = json.loads((Path(folder) / "result.json").read_text())
    sizes = [int(w) for w in widths.split(",")]
    slowest = sorted(verdicts, key=lambda v: -v["seconds"])[:5]
    return {
        "case": name, "command": "ntkscope " + " ".join(arguments[:-2]), "N": N,
        "seconds": seconds, **json.loads(done.stdout.splitlines()[-1]), "goal": GOAL,
        "statements": len(verdicts),
        "outcomes": {word: sum(v["outcome"] == word for v in verdicts)
                     for word in sorted({v["outcome"] for v in verdicts})},
        "slowest": {v["id"]: v["seconds"] for v in slowest},
        "khatri_rao_square_bytes": 8 * N * max(sizes) ** 2,
        "jacobian_bytes": 8 * N * sum(a * b for a, b in itertools.pairwise(sizes)),
    }  # fmt: skip


def main(small: bool = False) -> None:
    rows = []
    for name, (widths, options) in CASES.items():
        sizes = [max(1, int(w) // 10) for w in widths.split(",")] if small else []
        rows.append(measure(name, 50 if small else 500, ",".join(map(str, sizes)) or widths,
                            options))  # fmt: skip
        print(json.dumps(rows[-1]))
    if not small:
        record("statements", rows)


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "child":
        child(sys.argv[2:])
    else:
        main(small="--small" in sys.argv)

"""The NTK of ResNet-18, a ViT, a BERT with masks and an LSTM against the plainest ways.

The peer, ``held``: per-sample gradients by ``torch.func`` (where a pass reads values, by one backward
pass a sample and output), all held, and one product for each layer. To make them layer by layer
takes less memory and several times longer, as every layer needs passes of its own. Each way runs in a process of its own on one thread; ``seconds`` are the
processor's, so other work on the machine counts little, ``elapsed`` the clock's.
``python -m benchmarks.models --small`` shrinks every case, and case names pick some.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import torch
from torch import Tensor, nn

from benchmarks._common import record
from benchmarks._models import make

CASES = ("resnet18", "vit", "bert", "lstm")
WAYS = ("ntkscope", "held")


def ntkscope(model: nn.Module, X: Any) -> Tensor:
    import ntkscope as ntk

    return ntk.empirical_ntk(model, X).dense()


def held(model: nn.Module, X: Any) -> Tensor:
    """All gradients (N, C, P) at once, then a product for each layer."""
    return added(_gradients(model, X, list(dict(model.named_parameters()))))


def added(gradients: Iterator[Tensor]) -> Tensor:
    total: Any = 0
    for g in gradients:
        rows = g.flatten(1)
        total = total + rows @ rows.T
    return total


def _gradients(model: nn.Module, X: Any, names: list[str]) -> Iterator[Tensor]:
    """(N, C, P) of each parameter."""
    inputs = tuple(X.values()) if isinstance(X, dict) else (X,)
    try:
        return by_vmap(model, inputs, names)
    except RuntimeError:  # vmap does not take the pass
        return by_loop(model, inputs, names)


def by_vmap(model: nn.Module, inputs: tuple[Tensor, ...], names: list[str]) -> Iterator[Tensor]:
    from torch.func import functional_call, jacrev, vmap

    every = {k: v.detach() for k, v in model.named_parameters()}
    own = {name: every[name] for name in names}

    def single(own: Any, sample: tuple[Tensor, ...]) -> Tensor:
        batch = tuple(x.unsqueeze(0) for x in sample)
        made: Tensor = functional_call(model, {**every, **own}, batch)
        return made.squeeze(0)

    made = vmap(jacrev(single), (None, 0), chunk_size=64)(own, inputs)
    return (g.flatten(2) for g in made.values())


def by_loop(model: nn.Module, inputs: tuple[Tensor, ...], names: list[str]) -> Iterator[Tensor]:
    parameters = [dict(model.named_parameters())[name] for name in names]
    made: list[Tensor] = []
    for i in range(len(inputs[0])):
        outputs = model(*(x[i : i + 1] for x in inputs))[0]
        for c, output in enumerate(outputs):
            found = torch.autograd.grad(
                output, parameters, retain_graph=c < len(outputs) - 1, allow_unused=True
            )
            if not made:
                N, C = len(inputs[0]), len(outputs)
                made = [p.new_zeros(N, C, p.numel(), requires_grad=False) for p in parameters]
            for whole, g in zip(made, found, strict=True):
                if g is not None:
                    whole[i, c] = g.flatten()
    return iter(made)


def child(case: str, way: str, precision: str, small: bool) -> None:
    """One way of one case, in a fresh process."""
    torch.set_num_threads(1)
    model, X = make(case, getattr(torch, precision), small)
    ways: dict[str, Callable[[nn.Module, Any], Tensor]] = {"ntkscope": ntkscope, "held": held}
    few = {k: v[:3] for k, v in X.items()} if isinstance(X, dict) else X[:3]
    ways[way](model, few)  # what only the first call pays
    process, peak, done = psutil.Process(), 0, threading.Event()
    before = process.memory_info().rss

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.01):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start, used = time.perf_counter(), _processor_seconds()
    K = ways[way](model, X)
    seconds, elapsed = _processor_seconds() - used, time.perf_counter() - start
    done.set()
    watcher.join()
    print(json.dumps({
        "seconds": seconds, "elapsed": elapsed, "peak_bytes": max(0, peak - before),
        "norm": float(torch.linalg.matrix_norm(K)),
    }))  # fmt: skip


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(case: str, way: str, precision: str, small: bool) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.models", "child", case, way, precision]
    done = subprocess.run(
        command + (["--small"] if small else []), capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["killed"])[-1][:200]}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(small: bool = False, cases: tuple[str, ...] = CASES) -> None:
    rows: list[dict[str, Any]] = []
    for case in cases:
        found = {way: measure(case, way, "float64", small) for way in WAYS}
        row: dict[str, Any] = {"case": case, "dtype": "float64", **found}
        mine, theirs = found["ntkscope"], found["held"]
        if "seconds" in mine and "seconds" in theirs:
            row["times_faster"] = theirs["seconds"] / mine["seconds"]
            row["times_smaller"] = theirs["peak_bytes"] / max(1, mine["peak_bytes"])
            row["difference"] = abs(mine["norm"] / theirs["norm"] - 1)
        rows.append(row)
        print(json.dumps(row), flush=True)
    if not small and cases == CASES:
        record("models", rows)


if __name__ == "__main__":
    if len(sys.argv) > 2 and sys.argv[1] == "child":
        child(*sys.argv[2:5], small="--small" in sys.argv)
    else:
        picked = tuple(case for case in CASES if case in sys.argv) or CASES
        main(small="--small" in sys.argv, cases=picked)

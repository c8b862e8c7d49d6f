"""Limiting kernels of modules beside neural-tangents, in seconds of the clock and of the processor.

Set NTKSCOPE_NT_PYTHON to a Python that has neural-tangents to measure it in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import ntkscope as ntk
from benchmarks._common import best_of, record
from ntkscope.kernels.limiting.architectures.compiled import compiled
from ntkscope.kernels.limiting.architectures.kernel import ArchitectureKernel

CONV, RELU = ["conv", 3, 1], ["relu"]
WIDTH = 16


def _block(stride: int) -> list[Any]:
    branch = [RELU, ["conv", 3, stride], RELU, CONV]
    return ["sum", branch, [["conv", 1, stride]] if stride > 1 else []]


# operations before the last linear layer; both libraries build from these
NETS: dict[str, list[Any]] = {
    "two convolutions, pool": [CONV, RELU, CONV, RELU, ["mean"]],
    "two convolutions, flatten": [CONV, RELU, CONV, RELU, ["flatten"]],
    "Myrtle-5-like": [
        CONV, RELU, CONV, RELU, ["pool"], CONV, RELU, ["pool"], CONV, RELU, ["mean"],
    ],
    "ResNet-20-like": [
        CONV, *[_block(s) for s in (1, 1, 1, 2, 1, 1, 2, 1, 1)], RELU, ["mean"],
    ],
}  # fmt: skip
CASES = (
    ("two convolutions, pool", 60), ("two convolutions, flatten", 1000),
    ("Myrtle-5-like", 60), ("ResNet-20-like", 60),
)  # fmt: skip
_NT = """
import json, sys, time
import jax, numpy as np
jax.config.update("jax_enable_x64", True)
from neural_tangents import stax
layers, N, repeats = json.loads(sys.argv[1])
def one(kind, *rest):
    if kind == "conv":
        return stax.Conv(1, (rest[0],) * 2, (rest[1],) * 2, padding="SAME", W_std=2**0.5, b_std=0.1)
    if kind == "sum":
        return stax.serial(stax.FanOut(2), stax.parallel(*map(chain, rest)), stax.FanInSum())
    return {"relu": stax.Relu, "mean": stax.GlobalAvgPool, "flatten": stax.Flatten,
            "pool": lambda: stax.AvgPool((2, 2), (2, 2))}[kind]()
chain = lambda layers: stax.serial(*[one(*x) for x in layers]) if layers else stax.Identity()
_, _, kernel = stax.serial(chain(layers), stax.Dense(1))
X = np.random.default_rng(0).standard_normal((N, 8, 8, 3))
run = jax.jit(lambda x: kernel(x, None, "ntk"))
run(X).block_until_ready()
found = []
for _ in range(repeats):
    wall, cpu = time.perf_counter(), time.process_time()
    run(X).block_until_ready()
    found.append((time.perf_counter() - wall, time.process_time() - cpu))
print(json.dumps({"seconds": min(f[0] for f in found), "cpu": min(f[1] for f in found)}))
"""
_MEMORY = """
import json, sys, torch
import ntkscope as ntk
from benchmarks.architectures import images, model
from ntkscope._base import memory
N = 500
net, X = model("two convolutions, pool"), images(N, 8)
before = memory.peak()
K = ntk.limiting_ntk(net, X)
print(json.dumps({"beyond_mb": (memory.peak() - before - K.nbytes) / 1e6}))
"""


class Sum(nn.Module):
    """The sum of two branches."""

    def __init__(self, one: nn.Module, two: nn.Module) -> None:
        super().__init__()
        self.one, self.two = one, two

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.one(x) + self.two(x)
        return y


def model(name: str, side: int = 8) -> nn.Module:
    """The network of that name, of ``WIDTH`` channels."""
    end = nn.LazyLinear(1)
    made = nn.Sequential(*_chain(NETS[name], 3), end)
    with torch.no_grad():
        made(torch.zeros(1, 3, side, side))
    return made


def _chain(layers: list[Any], channels: int) -> list[nn.Module]:
    made: list[nn.Module] = []
    for kind, *rest in layers:
        if kind == "conv":
            size, stride = rest
            made.append(nn.Conv2d(channels, WIDTH, size, stride, size // 2))
            channels = WIDTH
        elif kind == "sum":
            made.append(Sum(*(nn.Sequential(*_chain(branch, channels)) for branch in rest)))
        else:
            made += {
                "relu": [nn.ReLU()], "pool": [nn.AvgPool2d(2)], "flatten": [nn.Flatten()],
                "mean": [nn.AdaptiveAvgPool2d(1), nn.Flatten()],
            }[kind]  # fmt: skip
    return made


def images(N: int, side: int) -> Tensor:
    """Gaussian images of three channels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(N, 3, side, side, dtype=torch.float64, generator=generator)


def _timed(run: Callable[[], Any], repeats: int) -> dict[str, float]:
    found = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    return {"seconds": min(f[0] for f in found), "cpu": min(f[1] for f in found)}


def _ours(name: str, N: int, side: int = 8, repeats: int = 3) -> dict[str, float]:
    net, X = model(name, side), images(N, side)
    ntk.limiting_ntk(net, X[:4])
    return _timed(lambda: ntk.limiting_ntk(net, X), repeats)


def _theirs(name: str, N: int, repeats: int = 2) -> dict[str, float] | None:
    python = os.environ.get("NTKSCOPE_NT_PYTHON")
    if not python:
        return None
    return _answer([python, "-c", _NT, json.dumps([NETS[name], N, repeats])])


def _answer(command: list[str]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    made: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return made


def _floor() -> dict[str, float]:
    """Nanoseconds of a core for two roots and an arcsine of an entry, in cache."""
    x = torch.rand(1 << 14, dtype=torch.float64)
    out = torch.empty_like(x)

    def run() -> None:
        for _ in range(100):
            np.sqrt(x.numpy(), out=out.numpy())
            torch.asin(out, out=out)
            np.sqrt(x.numpy(), out=out.numpy())

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = best_of(run, 5)
    torch.set_num_threads(threads)
    return {"ns_an_entry": 1e9 * seconds / 100 / len(x)}


def _dual_activations(name: str, N: int) -> float:
    """Entries of all covariances that an activation changes, half of the pairs of samples."""
    graph = ArchitectureKernel(model(name), images(2, 8)).graph
    each = sum(
        node.layout.n_positions ** (2 if node.pairs else 1)
        for node in graph
        if node.operation.kind == "activation"
    )
    return each * N * (N + 1) / 2


def main() -> None:
    """Networks beside neural-tangents, larger images, memory, and what an entry costs at least."""
    floor = _floor()
    rows: list[dict[str, Any]] = [{"case": "floor", "compiled": compiled() is not None, **floor}]
    for name, N in CASES:
        row = {"case": name, "N": N, "side": 8, "ntkscope": _ours(name, N)}
        least = 1e-9 * floor["ns_an_entry"] * _dual_activations(name, N)  # of a core
        rows.append({**row, "floor_cpu": least, "neural_tangents": _theirs(name, N)})
    # of the peer one run after the one that compiles: its memory grows with N², and 23 GB do not hold
    # the last network at 200
    for name, N in (("Myrtle-5-like", 200), ("ResNet-20-like", 100)):
        row = {"case": name, "N": N, "side": 8, "ntkscope": _ours(name, N, repeats=1)}
        rows.append({**row, "neural_tangents": _theirs(name, N, repeats=1)})
    last = _ours("ResNet-20-like", 200, repeats=1)
    rows.append({"case": "ResNet-20-like", "N": 200, "side": 8, "ntkscope": last})
    # pairs of samples a second carry over to any N: 60 000² / 2 pairs are CIFAR-10's
    for name, N, side in (
        ("two convolutions, pool", 32, 16), ("two convolutions, pool", 8, 32),
        ("two convolutions, flatten", 200, 32),
    ):  # fmt: skip
        found = _ours(name, N, side, repeats=1)
        each = found["seconds"] / (N * (N + 1) / 2)
        rows.append(
            {"case": name, "N": N, "side": side, "ntkscope": found, "seconds_a_pair": each,
             "N_in_a_minute": int((2 * 60 / each) ** 0.5), "cifar10_days": each * 1.8e9 / 86400}
        )  # fmt: skip
    beyond = _answer([sys.executable, "-c", _MEMORY])
    rows.append({"case": "memory, two convolutions, pool", "N": 500, "side": 8, **beyond})
    print(record("architectures", rows))
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()

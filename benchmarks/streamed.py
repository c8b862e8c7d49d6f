"""A floor of λ_min streamed over tiles at N = 100,000, and the power series behind it."""

from __future__ import annotations

import time

import torch

import ntkscope as ntk
from benchmarks._common import best_of, gemm_rate, record
from ntkscope._base import memory

N, D = 100_000, 64
POWERS = 30  # that a tile of random rows goes through before all higher ones are negligible


def main() -> None:
    """The table's rows."""
    rows = []
    deep = ntk.Network([D, 256, 256, 256, 256, 1])
    seconds = best_of(lambda: ntk.power_series(deep, 200))
    rows.append({"case": "power series, L = 5, degree 200", "seconds": seconds})
    net = ntk.Network([D, 256, 256, 1])
    X = ntk.data.load(f"sphere:N={N},d={D}").X
    pairs = N * (N - 1) / 2
    block = torch.rand(256, 512, dtype=torch.float64)
    ones = torch.ones(512, dtype=torch.float64)

    def pass_once() -> None:
        block.mul_(block)
        block @ ones
        ones[:256] @ block

    per_pair = best_of(pass_once, 50) / block.numel()
    floor = 2 * D * pairs / gemm_rate() + POWERS * per_pair * pairs
    begin = time.perf_counter()
    found = ntk.streamed_bound(net, X)
    seconds = time.perf_counter() - begin
    rows.append(
        {
            "case": f"streamed bound, N = {N}, d = {D}, L = 3", "seconds": seconds,
            "floor_seconds": floor, "peak_bytes": memory.peak(),
            "lower": found.lower, "upper": found.upper, "proved": found.proved,
        }
    )  # fmt: skip
    for row in rows:
        print(row)
    record("streamed", rows)


if __name__ == "__main__":
    main()

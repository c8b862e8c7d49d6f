"""Sweeps: what a trial costs beyond its work, and the figures' time from their parts.

python -m benchmarks.sweeps
"""

from __future__ import annotations

import itertools
import tempfile
import time
from typing import Any

import torch

from benchmarks._common import record
from ntkscope.engines.clusters import connected
from ntkscope.engines.engine import Engine
from ntkscope.experiments.design.trial import Trial
from ntkscope.experiments.figures.gallery import figure
from ntkscope.experiments.running.units import execute, units
from ntkscope.experiments.sweep import Sweep


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def nap(seed: int, seconds: float, point: int) -> float:
    """A trial of a known length."""
    time.sleep(seconds)
    return float(seed + point)


def overhead(trials: int = 10_000, seconds: float = 0.001) -> dict[str, Any]:
    """Wall time a trial of 10,000 trials of 1 ms on two processes, beyond the work itself."""
    sweep = Sweep(
        {
            "name": "overhead",
            "measure": "benchmarks.sweeps:nap",
            "seeds": trials // 100,
            "grid": {"point": list(range(100))},
            "arguments": {"seconds": seconds},
        }
    )
    with _folder() as folder:
        start = time.perf_counter()
        ended = sweep.run(folder, Engine(workers=2))
        wall = time.perf_counter() - start
    assert ended.done == trials
    work = trials * seconds / 2
    return {
        "case": f"{trials} trials of {1000 * seconds:g} ms, 2 processes",
        "seconds": wall,
        "overhead_ms_a_trial": 1000 * (wall - work) / trials,
        "goal_ms": 1.0,
    }


def two_ways(N: int, d: int, count: int = 4) -> dict[str, Any]:
    """Trials on two processes of one thread against one process of two threads."""
    base: dict[str, Any] = {
        "name": "two-ways",
        "seeds": count,
        "batch": 1,
        "data": f"gaussian:N={N},d={d}",
        "network": {"widths": [d, d, d, 1], "activation": "sigmoid", "init": "bombari2022"},
    }
    seconds = []
    for workers, threads in ((2, 1), (1, 2)):
        with connected(Engine(workers=workers), workers) as (client, _), _folder() as folder:
            engine = Engine(cluster=client)
            Sweep({**base, "name": "warm", "data": f"gaussian:N=20,d={d}"}).run(
                f"{folder}/warm", engine
            )
            sweep = Sweep({**base, "threads": threads})
            seconds.append(sweep.run(f"{folder}/sweep", engine).seconds)
    return {
        "case": f"N = {N}, d = {d}, {count} trials",
        "seconds_2_processes": seconds[0],
        "seconds_2_threads": seconds[1],
        "ratio": seconds[0] / seconds[1],
    }


def batched(N: int) -> dict[str, Any]:
    """Sixteen trials in one block against one by one, one thread."""
    values = {
        "name": "b",
        "seeds": 16,
        "data": f"gaussian:N={N},d=50",
        "network": {"widths": [50, 100, 50, 1]},
    }
    seconds = []
    for size in (16, 1):
        work = tuple(units(Sweep({**values, "batch": size}).trials))
        execute(work[:1])
        start = time.perf_counter()
        execute(work)
        seconds.append(time.perf_counter() - start)
    return {
        "case": f"16 trials of N = {N}, in one block and one by one",
        "seconds_block": seconds[0],
        "seconds_one_by_one": seconds[1],
        "ratio": seconds[0] / seconds[1],
    }


def projected(id: str, points: int, goal_minutes: float) -> dict[str, Any]:
    """A figure's full time from one trial at some points of its grid, one thread each.

    A trial's time is taken to be a·(flops) + b·N³ between the points measured; two processes share the sum.
    """
    trials = [t for t in Sweep(figure(id).settings("full")).trials if t.seed == 0]
    seeds = int(figure(id).settings("full")["seeds"])
    cost = {t.key: _flops(t) for t in trials}
    ranked = sorted(trials, key=lambda t: cost[t.key])
    step = (len(ranked) - 1) / (points - 1)
    chosen = [ranked[round(k * step)] for k in range(points)]
    execute(tuple(units([ranked[0]])))
    measured = []
    for trial in chosen:
        start = time.perf_counter()
        rows = execute(tuple(units([trial])))
        assert not rows[0].error, rows[0].error
        measured.append((cost[trial.key], time.perf_counter() - start))
    total = 0.0
    for trial in trials:
        total += _interpolate(measured, cost[trial.key])
    minutes = total * seeds / 2 / 60
    return {
        "case": f"{id} --full, projected from {points} trials",
        "trials": len(trials) * seeds,
        "minutes": minutes,
        "goal_minutes": goal_minutes,
        "measured": [{"gflops": c / 1e9, "seconds": s} for c, s in measured],
    }


def _flops(trial: Trial) -> float:
    plain = trial.plain
    widths = [int(n) for n in plain["network"]["widths"]]
    N = int(plain["data"].split("N=")[1].split(",")[0])
    grams = 2 * sum(widths) - widths[0]
    weights = sum(a * b for a, b in itertools.pairwise(widths))
    if weights < N:
        return 1.0
    return float(N) * N * grams + 6.0 * N * weights + 1.5 * float(N) ** 3


def _interpolate(measured: list[tuple[float, float]], cost: float) -> float:
    for (c0, s0), (c1, s1) in itertools.pairwise(measured):
        if c0 <= cost <= c1:
            return s0 + (s1 - s0) * (cost - c0) / (c1 - c0) if c1 > c0 else s0
    return measured[-1][1]


def main() -> None:
    torch.set_num_threads(2)
    rows = [overhead()]
    rows += [batched(N) for N in (50, 100, 200)]
    rows += [two_ways(N, d) for N, d in ((400, 200), (1000, 400), (2000, 600))]
    rows += [
        projected("bombari2022-figure-1", 7, 8.0),
        projected("banerjee2023-figure-1", 6, 7.0),
        projected("nguyen2021-figure-2-left", 6, 15.0),
        projected("nguyen2021-figure-2-right", 6, 15.0),
    ]
    record("sweeps", rows)


if __name__ == "__main__":
    main()

"""Measurements for the tests: they run in worker processes, so they need a module to be found in."""

import os
import signal
import time

import torch


def normal(seed: int, scale: float = 1.0) -> float:
    generator = torch.Generator()
    generator.manual_seed(seed)
    return scale * float(torch.randn((), generator=generator, dtype=torch.float64))


def slow_normal(seed: int, seconds: float, scale: float = 1.0) -> float:
    time.sleep(seconds)
    return normal(seed, scale)


def sometimes_dies(seed: int, scale: float, bad: int) -> float:
    if seed == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return normal(seed, scale)


def dies_once(seed: int, scale: float, folder: str) -> float:
    """The first worker that meets seed 3 is killed; the next one finds the mark and goes on."""
    mark = os.path.join(folder, "died")
    if seed == 3 and not os.path.exists(mark):
        with open(mark, "w"):
            pass
        os.kill(os.getpid(), signal.SIGKILL)
    return normal(seed, scale)


def fails(seed: int, scale: float, folder: str) -> float:
    """Raises until the folder holds the mark ``mended``."""
    if seed == 1 and not os.path.exists(os.path.join(folder, "mended")):
        raise RuntimeError("no such luck")
    return normal(seed, scale)


def stubborn(seed: int, seconds: float) -> float:
    """Holds the interpreter's lock in one long call, as LAPACK holds its thread."""
    torch.set_num_threads(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        torch.linalg.eigvalsh(torch.eye(1200, dtype=torch.float64))
    return float(seed)


def settings(function: str, seeds: int = 6, scales: int = 4, **arguments: object) -> dict:
    return {
        "name": "test",
        "measure": f"experiments.trial_functions:{function}",
        "seeds": seeds,
        "grid": {"scale": [float(k + 1) for k in range(scales)]},
        "arguments": arguments,
    }


def results(values: dict) -> list[dict]:
    """The results of a sweep's trials, run here and kept nowhere."""
    from ntkscope.experiments.running.units import execute, units
    from ntkscope.experiments.sweep import Sweep

    rows = execute(tuple(units(Sweep(values).trials)))
    assert all(not r.error for r in rows), rows[0].error
    return [r.results for r in rows]

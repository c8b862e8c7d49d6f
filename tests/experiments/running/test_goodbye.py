"""How local workers end: in order, at once, and without a word."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from ntkscope.engines import clusters, local
from ntkscope.engines.engine import Engine
from ntkscope.engines.pool import pool

SOURCE = Path(__file__).parents[3] / "src"
CUT_OFF = """
import time
from ntkscope.engines import clusters, local
from ntkscope.engines.engine import Engine
from ntkscope.engines.pool import pool

local._GOODBYE_SECONDS = 0.01
close = clusters._close
clusters._close = lambda what, seconds: close(what, 0.001)
if __name__ == "__main__":
    with pool(Engine(workers=1), 1) as tasks:
        tasks.submit(0, time.sleep, 0.0)
        tasks.submit(1, time.sleep, 60.0)
        print(tasks.next())
"""


def is_worker(process: psutil.Process) -> bool:
    try:
        return any("spawn_main" in part for part in process.cmdline())
    except psutil.Error:  # it has just ended
        return False


def workers_below() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if is_worker(p)]


def test_a_worker_that_is_ended_is_not_started_again(monkeypatch):
    """What watches a worker sees its death before the cluster is closed: on a busy machine."""
    kill, seen = local._kill_workers, []

    def kill_and_wait(cluster):
        kill(cluster)
        end = time.monotonic() + 20
        while workers_below() and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.3)  # in which one was started again
        seen.append((len(cluster.workers), workers_below()))

    monkeypatch.setattr(local, "_kill_workers", kill_and_wait)
    others = set(local.LocalCluster._instances)  # of tests before this one, to be collected yet
    with pool(Engine(workers=1), 1) as tasks:
        tasks.submit("a", os.getpid)
        assert tasks.next()[1] != os.getpid()
    assert [(of, left) for of, left in seen] == [(1, [])]
    assert not [t for t in threading.enumerate() if t.name == "Dask loop"]
    assert set(local.LocalCluster._instances) <= others


def test_a_goodbye_that_is_cut_off_says_nothing(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(CUT_OFF)
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "(0, None)\n")
    # a worker killed within 10 ms may leave a semaphore, which Python's own tracker counts aloud
    said = [line for line in ended.stderr.splitlines() if "resource_tracker" not in line]
    assert [line for line in said if not line.startswith("  warnings.warn(")] == []


def test_a_start_that_fails_leaves_no_loop(monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(local.LocalCluster, "__init__", fails)
    monkeypatch.setattr(local.LocalCluster, "__del__", lambda _: None)
    with pytest.raises(ConnectionError, match=r"could not be started .Nanny.*--workers 0"):
        clusters.local_cluster(2)
    assert not [t for t in threading.enumerate() if t.name == "Dask loop"]

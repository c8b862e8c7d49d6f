"""A sweep ends with the same table whatever happens on the way."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from experiments.trial_functions import settings
from ntkscope._base import memory
from ntkscope.engines import clusters
from ntkscope.engines.engine import Engine, Tls
from ntkscope.experiments.running import dispatch
from ntkscope.experiments.running.store import Store, StoreBusyError
from ntkscope.experiments.sweep import Sweep

TESTS = Path(__file__).parents[2]
HERE = Engine(workers=0)
KERNELS = {
    "name": "kernels",
    "seeds": 20,
    "grid": {"d": [5, 20], "N": [30, 260]},
    "data": "gaussian:N={N},d={d}",
    "network": {"widths": ["d", 40, 20, 1], "activation": "tanh"},
    "measure": ["lambda_min", "lambda_max", "trace"],
}


def table_of(sweep: Sweep, folder: Path) -> str:
    return sweep.table(folder).to_csv()


def background(file: Path, folder: Path, *options: str) -> subprocess.Popen:
    """`ntkscope sweep FILE` in a process group of its own, as a terminal would start it."""
    command = [sys.executable, "-m", "ntkscope", "sweep", str(file), "--out", str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}"}
    return subprocess.Popen(
        [*command, "--quiet", *options], env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # a shell's background job is started deaf to SIGINT, and its children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def write(path: Path, values: dict) -> Path:
    def text(value):
        if isinstance(value, dict):
            inside = ", ".join(f"{k} = {text(v)}" for k, v in value.items())
            return f"{{{inside}}}"
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(map(text, value)) + "]"
        return f'"{value}"' if isinstance(value, str) else str(value)

    path.write_text("\n".join(f"{k} = {text(v)}" for k, v in values.items()))
    return path


def wait_for_rows(folder: Path, count: int, seconds: int = 240) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with Store.read(folder) as store:
                found = len(store.statuses())
        except (OSError, ValueError):
            found = 0
        if found >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"fewer than {count} rows after {seconds} s")


def test_processes_orders_and_resumes_give_the_same_bits(tmp_path):
    whole = Sweep(KERNELS)
    whole.run(tmp_path / "here", HERE)
    Sweep({**KERNELS, "seeds": 7}).run(tmp_path / "parts", HERE)  # ends in the middle of a block
    whole.run(tmp_path / "parts", HERE)
    whole.run(tmp_path / "processes", Engine(workers=2))
    expected = table_of(whole, tmp_path / "here")
    assert len(expected.splitlines()) == 1 + 4 * 20
    assert table_of(whole, tmp_path / "parts") == expected
    assert table_of(whole, tmp_path / "processes") == expected


@pytest.mark.parametrize("attempt", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_client_resumes_to_the_same_table(tmp_path, attempt):
    values = settings("slow_normal", seeds=25, scales=4, seconds=0.01)
    sweep = Sweep(values)
    sweep.run(tmp_path / "expected", HERE)
    folder = tmp_path / "killed"
    process = background(write(tmp_path / "run.toml", values), folder, "--workers", "1")
    kept = wait_for_rows(folder, random.Random(attempt).randrange(1, 60))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert kept < 100
    ended = sweep.run(folder, HERE)
    assert ended.before >= kept
    assert ended.done == 100
    assert table_of(sweep, folder) == table_of(sweep, tmp_path / "expected")


def test_a_killed_worker_and_a_trial_that_kills_every_worker(tmp_path):
    once = Sweep(settings("dies_once", folder=str(tmp_path)))
    ended = once.run(tmp_path / "once", Engine(workers=2))
    assert (ended.done, ended.failed) == (24, 0)

    always = Sweep(settings("sometimes_dies", scales=1, bad=4))
    ended = always.run(tmp_path / "always", Engine(workers=2))
    assert (ended.done, ended.failed) == (5, 1)
    bad = [r for r in always.table(tmp_path / "always").records if "error" in r]
    assert {r["seed"] for r in bad} == {4}
    assert all("WorkerDied" in r["error"] for r in bad)


@pytest.mark.slow
def test_a_worker_that_stood_still_goes_on(tmp_path, monkeypatch):
    # as on a laptop that was closed, or a job that was suspended: beyond any heartbeat's patience
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "2 seconds")
    values = settings("slow_normal", seeds=40, scales=1, seconds=0.05)
    folder = tmp_path / "out"
    process = background(write(tmp_path / "run.toml", values), folder, "--workers", "1")
    kept = wait_for_rows(folder, 1)
    workers = psutil.Process(process.pid).children(recursive=True)
    for worker in workers:
        worker.suspend()
    time.sleep(8)
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.resume()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert kept < 40
    with Store.read(folder) as store:
        assert len(store.statuses()) == 40


@pytest.mark.slow
def test_workers_that_are_lost_for_good_are_replaced(tmp_path, monkeypatch):
    # a nanny that cannot start its worker again closes, and tells nobody
    monkeypatch.setattr(dispatch, "_LOOK_SECONDS", 0.5)
    monkeypatch.setattr(dispatch, "_PATIENCE_SECONDS", 2.0)
    made, start = [], clusters.local_cluster

    def noted(*arguments):
        made.append(start(*arguments))
        if len(made) == 1:
            threading.Timer(1.0, close).start()
        return made[-1]

    def close():
        for nanny in list(made[0].workers.values()):
            made[0].sync(nanny.close)

    monkeypatch.setattr(clusters, "local_cluster", noted)
    sweep = Sweep(settings("slow_normal", seeds=60, scales=1, seconds=0.05))
    ended = sweep.run(tmp_path / "out", Engine(workers=1))
    assert (ended.done, ended.failed) == (60, 0)
    assert len(made) == 2


def test_ctrl_c_ends_at_once_with_everything_saved(tmp_path):
    values = settings("stubborn", seeds=10, scales=1, seconds=0.3)
    values["grid"] = {"seconds": [0.3, 60.0]}
    del values["arguments"]
    folder = tmp_path / "out"
    process = background(write(tmp_path / "run.toml", values), folder, "--workers", "2")
    kept = wait_for_rows(folder, 1)
    start = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    output, _ = process.communicate(timeout=60)
    seconds = time.monotonic() - start
    assert process.returncode == 130, output
    assert "interrupted" in output
    with Store.open(folder) as store:  # free again, and whole
        assert len(store.statuses()) >= kept
    assert seconds < 3.0 or os.getloadavg()[0] > 2 * (os.cpu_count() or 1), seconds


def test_the_second_client_is_told(tmp_path):
    sweep = Sweep(settings("normal"))
    with Store.open(tmp_path), pytest.raises(StoreBusyError, match="is being written by"):
        sweep.run(tmp_path, HERE)
    assert sweep.run(tmp_path, HERE).done == 24


def test_failures_are_recorded_and_retried_on_request(tmp_path):
    sweep = Sweep(settings("fails", folder=str(tmp_path)))
    ended = sweep.run(tmp_path / "out", HERE)
    assert (ended.done, ended.failed) == (20, 4)
    errors = [r["error"] for r in sweep.table(tmp_path / "out").records if "error" in r]
    assert errors == ["RuntimeError: no such luck"] * 4
    (tmp_path / "mended").touch()
    assert sweep.run(tmp_path / "out", HERE).failed == 4
    assert sweep.run(tmp_path / "out", HERE, retry_failed=True).done == 24


def test_a_trial_too_large_is_refused_before_it_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 10_000_000)
    values = {**KERNELS, "seeds": 1, "grid": {"N": [30, 900], "d": [5]}}
    ended = Sweep(values).run(tmp_path, HERE)
    assert (ended.done, ended.failed) == (1, 1)
    (bad,) = [r for r in Sweep(values).table(tmp_path).records if "error" in r]
    assert bad["N"] == 900
    assert "are free" in bad["error"]


def test_another_sweeps_folder_is_refused(tmp_path):
    Sweep(settings("normal")).run(tmp_path, HERE)
    with pytest.raises(ValueError, match="holds the sweep 'test'"):
        Sweep({**settings("normal"), "name": "other"}).run(tmp_path, HERE)


def test_a_folder_can_be_read_while_it_is_written(tmp_path):
    sweep, seen = Sweep(settings("normal")), []
    sweep.run(
        tmp_path, HERE, progress=lambda p: seen.append(sweep.progress(tmp_path).ended - p.ended)
    )
    assert set(seen) == {0}


def test_the_environment_is_put_back(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    Sweep(settings("normal")).run(tmp_path, Engine(workers=1))
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_cluster_by_client_and_one_that_is_not_there(tmp_path):
    from distributed import Client, LocalCluster, Security

    sweep, keys = Sweep(settings("normal")), Security.temporary()
    files = [tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key")]
    for file, text in zip(
        files, (keys.tls_ca_file, keys.tls_client_cert, keys.tls_client_key), strict=True
    ):
        file.write_text(text)
    sweep.run(tmp_path / "here", HERE)
    cluster = LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tls", host="127.0.0.1",
        security=keys, dashboard_address="127.0.0.1:0", worker_dashboard_address="127.0.0.1:0",
    )  # fmt: skip
    with cluster, Client(cluster, set_as_default=False) as client:
        sweep.run(tmp_path / "client", Engine(cluster=client))
        address = Engine(cluster=cluster.scheduler_address, tls=Tls(*map(str, files)))
        sweep.run(tmp_path / "address", address)
    for name in ("client", "address"):
        assert table_of(sweep, tmp_path / name) == table_of(sweep, tmp_path / "here")
    with pytest.raises(FileNotFoundError, match="scheduler file"):
        sweep.run(tmp_path / "file", Engine(cluster="none.json"))
    with pytest.raises(ValueError, match="workers must be 0"):
        sweep.run(tmp_path / "wrong", Engine(workers=-1))


@pytest.mark.slow
def test_no_scheduler_at_the_address(tmp_path):
    with pytest.raises(ConnectionError, match="no Dask scheduler answers"):
        Sweep(settings("normal")).run(tmp_path, Engine(cluster="tcp://127.0.0.1:9"))
    keys = Engine(cluster="tls://127.0.0.1:9", tls=Tls("none.pem", "none.pem", "none.pem"))
    with pytest.raises(OSError, match="No such file"):
        Sweep(settings("normal")).run(tmp_path, keys)


SBATCH = """#!{python}
import os, subprocess, sys
log = open({log!r}, "ab")
job = subprocess.Popen(["bash", sys.argv[-1]], stdout=log, stderr=log, start_new_session=True)
print(f"Submitted batch job {{job.pid}}")
"""
SCANCEL = """#!/bin/sh
for job in "$@"; do kill -TERM -- -$job 2>/dev/null; done
exit 0
"""


@pytest.mark.slow
def test_a_fake_sbatch_drives_slurm(tmp_path, monkeypatch):
    tools = tmp_path / "bin"
    tools.mkdir()
    log = str(tmp_path / "jobs.log")
    (tools / "sbatch").write_text(SBATCH.format(python=sys.executable, log=log))
    (tools / "scancel").write_text(SCANCEL)
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", f"{TESTS.parent / 'src'}:{TESTS}")
    monkeypatch.chdir(tmp_path)
    sweep = Sweep(settings("normal"))
    sweep.run(tmp_path / "here", HERE)
    spec = "slurm:jobs=2,cores=1,memory=1GB,walltime=00:05:00,interface=lo"
    ended = sweep.run(tmp_path / "slurm", Engine(cluster=spec))
    assert ended.done == 24, Path(log).read_text()
    assert table_of(sweep, tmp_path / "slurm") == table_of(sweep, tmp_path / "here")
    with pytest.raises(ValueError, match="did you mean 'queue'"):
        sweep.run(tmp_path / "wrong", Engine(cluster="slurm:quue=main"))


def on_three_hosts(tmp_path, program):
    """What a program prints that runs on one host, with workers on two others."""
    if not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("needs unshare and ip for hosts on one machine")
    script = Path(__file__).parent / "hosts.sh"
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent / 'src'}:{TESTS}"}
    found = subprocess.run(
        ["unshare", "-Urnm", "--pid", "--fork", "--kill-child", "--mount-proc",
         "bash", str(script), sys.executable, str(tmp_path), program],
        env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    if "CANNOT" in found.stdout or "unshare:" in found.stderr:
        pytest.skip(f"cannot make hosts here: {(found.stdout + found.stderr)[-200:]}")
    assert "cable pulled" in found.stdout, found.stdout + found.stderr
    return found.stdout + found.stderr


SWEEP_ON_HOSTS = """
import sys, threading
from pathlib import Path
from experiments.trial_functions import settings
from ntkscope.engines.engine import Engine
from ntkscope.experiments.sweep import Sweep
threading.Timer(5, Path(sys.argv[1], "pull").touch).start()
values = settings("slow_normal", seeds=10, scales=4, seconds=0.5)
ended = Sweep(values).run(sys.argv[1] + "/sweep", Engine(cluster="tcp://10.9.0.1:8786"))
print("ENDED", ended.done, ended.failed)
"""


@pytest.mark.slow
def test_a_host_that_vanishes(tmp_path):
    assert "ENDED 40 0" in on_three_hosts(tmp_path, SWEEP_ON_HOSTS)

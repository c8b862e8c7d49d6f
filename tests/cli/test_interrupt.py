"""Ctrl-C ends a run with one line and no half-written files."""

import os
import signal
import subprocess
import sys
import time
import types

import pytest
import torch

import ntkscope as ntk
from ntkscope.__main__ import main

ARGUMENTS = [
    sys.executable, "-m", "ntkscope", "inspect", "--data", "gaussian:N=4000,d=50",
    "--widths", "50,900,900,1",
]  # fmt: skip


def heed_interrupts():
    """A shell's background job is started deaf to SIGINT, and its children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_interrupt_leaves_nothing_behind(tmp_path):
    out = tmp_path / "out"
    run = subprocess.Popen(
        [*ARGUMENTS, "--out", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    time.sleep(6)  # well inside a run that takes much longer, after the imports
    assert run.poll() is None, run.communicate()
    os.kill(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=120)
    # CPython itself ends by SIGINT, which a shell reports as 130 too, where the interrupt came
    # within a string that some library executes, though it was caught afterwards
    assert run.returncode in (130, -signal.SIGINT)
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not out.exists() or list(out.iterdir()) == []


def test_an_interrupt_while_the_command_line_is_imported(monkeypatch, capsys):
    class Importing(types.ModuleType):
        def __getattr__(self, name):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "ntkscope.cli.main", Importing("ntkscope.cli.main"))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "ntkscope: interrupted before the start\n"


def test_ctrl_c_in_a_terminal_while_workers_start_is_one_line(tmp_path):
    """A terminal sends it to the workers too, wherever they are in their imports."""
    psutil = pytest.importorskip("psutil")
    K = ntk.MatrixKernel(torch.eye(64, dtype=torch.float64))
    store = ntk.save_kernel(K, tmp_path / "k.zarr").path
    run = subprocess.Popen(
        [sys.executable, "-m", "ntkscope", "eig", str(store), "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=heed_interrupts,
    )  # fmt: skip
    workers = []
    while not workers and run.poll() is None:
        time.sleep(0.02)
        below = psutil.Process(run.pid).children(recursive=True)
        workers = [p for p in below if any("spawn_main" in part for part in p.cmdline())]
    os.killpg(run.pid, signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert err.strip() == "ntkscope: interrupted; nothing was left half-written"
    assert not psutil.wait_procs(workers, timeout=20)[1]

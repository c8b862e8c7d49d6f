"""λ_min by tiles: the schedule in every order of its steps, the factor and its bounds, plans."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace

import pytest
import torch

import ntkscope as ntk
from ntkscope.engines import pool
from ntkscope.spectra.proof.certify import Shifted, factor_error
from ntkscope.spectra.storage.panels import shortfall
from ntkscope.spectra.storage.source import as_source
from ntkscope.spectra.tiled import files, simulation, tasks
from ntkscope.spectra.tiled.run import lowest_by_tiles
from ntkscope.spectra.tiled.schedule import Schedule
from ntkscope.spectra.tiled.simulation import Rates, simulate
from ntkscope.spectra.tiled.tiles import Tiles, tile_width
from oracles.inertia import at_least, exact
from spectra.matrices import prescribed
from spectra.test_error_constants import swallowing
from spectra.tiled_runs import WIDTH, N, Shuffled, factored, kernel, stage, tiles_in

# -- the schedule -------------------------------------------------------------------------------


def play(schedule, workers, rng, taken, finished):
    """Run a schedule to its end with workers that end in any order; check what every step needs."""
    running = []
    while not schedule.ended:
        while len(running) < workers and (step := schedule.next(ahead=rng.random() < 0.8)):
            running.append(step)
            assert step.start == len(taken.get((step.i, step.j), ()))
            for k in range(step.start, step.stop):
                assert {(step.i, k), (step.j, k)} <= finished
            assert not step.last or step.stop == step.j
            assert not step.last or step.i == step.j or (step.j, step.j) in finished
            assert len({(s.i, s.j) for s in running}) == len(running)
        if running:
            step = running.pop(rng.randrange(len(running)))
            taken.setdefault((step.i, step.j), []).extend(range(step.start, step.stop))
            if step.last:
                finished.add((step.i, step.j))
            schedule.done(step)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("workers", [1, 2, 5, 40])
def test_every_product_is_taken_once_and_when_it_is_there(count, workers):
    schedule, taken, finished = Schedule(count), {}, set()
    play(schedule, workers, random.Random(count * workers), taken, finished)
    assert finished == {(i, j) for i in range(count) for j in range(i + 1)}
    assert all(taken.get((i, j), []) == list(range(j)) for i, j in finished)
    assert schedule.share == 1.0


def test_a_worker_is_idle_only_where_nothing_is_open():
    """Two tiles a row more than workers: from the second column on there is work for all."""
    rates = Rates(flops=1e9, read=1e15, write=1e15, overhead=0.0)
    for workers in (2, 8):
        found = simulate(64 * 40, workers, rates, 64)
        assert found.busy > 0.93
    total = sum(
        2.0 * j * 64**3 + (64**3 / 3 if i == j else 64**3) for i in range(40) for j in range(i + 1)
    )
    assert found.flops == pytest.approx(total)


def test_the_simulation_reads_what_a_run_reads(tmp_path, monkeypatch):
    count = 0

    def counted(file):
        nonlocal count
        count += 1
        return files.read_tile(file)

    monkeypatch.setattr(tasks, "read_tile", counted)
    factored(kernel(4 * WIDTH), tmp_path)
    made = simulate(4 * WIDTH, 1, Rates(1e9, 1e9, 1e9), WIDTH)
    assert made.read == 8 * WIDTH**2 * count
    assert made.steps == 10
    assert made.written == 8 * WIDTH**2 * 10


def test_a_tile_s_own_steps_are_slower_than_products():
    rates = Rates(1e9, 1e15, 1e15, factor=0.5, solve=0.25, overhead=0.0)
    flops = 2 * (3 * 1 + 2 * 2 + 3) + 4 * 2 / 3 + 6 * 4
    assert simulate(4 * 64, 1, rates, 64).seconds == pytest.approx(flops * 64**3 / 1e9)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_the_rates_say_what_a_factorisation_takes(tmp_path, monkeypatch, threads):
    """In seconds of the processor, which do not depend on who else is at work."""
    n, width = 3000, 512
    K = ntk.save_kernel(kernel(n), tmp_path / "k.zarr", tile=width)
    clock = type("Clock", (), {"perf_counter": staticmethod(time.thread_time)})
    monkeypatch.setattr(simulation, "time", clock)
    ratios = []
    for k in range(3):
        simulation.measured_rates.cache_clear()
        rates = simulation.measured_rates(str(tmp_path), width, threads)
        rates = replace(rates, overhead=2e-4, entry=1.4e-8)
        made = simulate(n, threads, rates, width)
        with pool.pool(ntk.Engine(workers=0), n, threads) as workers:
            begin = time.process_time()
            factored(K, tmp_path / str(k), workers, width)
            ratios.append((time.process_time() - begin) / (made.seconds * made.busy * threads))
    simulation.measured_rates.cache_clear()
    assert 0.75 < sorted(ratios)[1] < 1.33


def test_more_workers_take_less_time_and_not_less_than_their_share():
    rates = Rates(1e9, 1e9, 1e9)
    times = [simulate(30_000, w, rates).seconds for w in (1, 2, 4, 16)]
    assert times == sorted(times, reverse=True)
    assert all(t >= times[0] / w for t, w in zip(times, (1, 2, 4, 16), strict=True))


# -- the factor ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 63, 64, 65, N])
@pytest.mark.parametrize("seed", [None, 0, 1])
def test_the_factor_is_cholesky_s_and_solves(tmp_path, n, seed):
    K = kernel(n).dense() + torch.eye(n, dtype=torch.float64)
    tiles, taken = factored(K, tmp_path, None if seed is None else Shuffled(seed, far=seed == 1))
    L = torch.zeros(n, n, dtype=torch.float64)
    for index, i in enumerate(range(0, n, WIDTH)):
        rows = tiles.rows(index)
        L[i : i + len(rows), : rows.shape[1]] = rows
    # n u of the trace, as of any Cholesky
    error = (n + 4) * 2.0**-53 * float(K.trace())
    assert float(torch.linalg.matrix_norm(L @ L.T - K, 2)) <= error
    assert float(torch.triu(L, 1).abs().max()) == 0
    assert torch.equal(taken.diagonal, K.diagonal())
    norm = float(torch.linalg.matrix_norm(K))
    assert norm <= taken.frobenius <= norm * (1 + 1e-10)
    B = torch.randn(n, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    X = tiles.solve(B)
    assert float((K @ X - B).norm()) <= 10 * error * float(X.norm())
    measured = factor_error(Shifted(as_source(K), 0.0), tiles, stage(""))
    assert measured <= error


def test_in_any_order_of_steps_the_interval_is_that_of_the_dense_way(tmp_path):
    K = kernel()
    dense = ntk.smallest_eigenvalue(K, method="packed")
    for seed in (0, 1):
        source = as_source(K)
        workers = Shuffled(seed)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ntkscope.spectra.tiled.run.pool", lambda *_, w=workers: _context(w))
            ends = lowest_by_tiles(source, ntk.Engine(workers=2), tmp_path / f"{seed}",
                                   certify=True, callback=None, width=WIDTH)  # fmt: skip
        assert not all(tag.last for name, tag in workers.ran if name == "run_step")
        assert ends.bound == "C"
        for end, other in ((ends.lower[0], dense.lower), (ends.upper[0], dense.upper)):
            assert abs(end - other) <= 0.1 * (dense.upper - dense.lower)
        assert not (tmp_path / f"{seed}").exists()  # nothing is left of it


class _context:
    def __init__(self, value):
        self.value = value

    def __enter__(self):
        return self.value

    def __exit__(self, *_):
        return None


@pytest.mark.parametrize("negative", [-1.0, -1e-9])
def test_what_is_not_positive_definite_is_a_result(negative):
    K = prescribed([negative, *(10.0 ** torch.linspace(-4, 0, N - 1)).tolist()])
    found = ntk.smallest_eigenvalue(K, method="tiled")
    assert found.status is ntk.Status.INDEFINITE
    assert found.lower <= negative * (1 - 1e-5) or negative == -1e-9
    assert found.lower <= found.value <= found.upper < 0


def test_the_bound_of_tiles_is_almost_reached(tmp_path):
    """Tiles of one number take every product off by itself, so that each is swallowed: nearly the
    whole of bound A is lost, and a bound of three quarters of it would be wrong."""
    A = swallowing(26, 4)
    tiles, taken = factored(A, tmp_path, width=1)
    assert tiles.count == len(A)
    c = shortfall(taken.diagonal)
    assert at_least(exact(A), -c)
    assert not at_least(exact(A), -0.75 * c)


def test_threads_of_this_process_make_the_same_factor(tmp_path):
    K, before = kernel(5 * WIDTH), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        factored(K, tmp_path / "one")
    finally:
        torch.set_num_threads(before)
    with pool.pool(ntk.Engine(workers=0), 3, threads=3) as workers:
        assert isinstance(workers, pool.Threads)
        factored(K, tmp_path / "three", workers)
        assert tiles_in(tmp_path / "three") == tiles_in(tmp_path / "one")
        workers.submit("fails", int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            workers.next()
    assert torch.get_num_threads() == before


# -- plans and stored kernels ---------------------------------------------------------------------


def test_the_plan_counts_workers_flops_and_bytes(tmp_path):
    one, four = (ntk.plan(20_000, engine=ntk.Engine(workers=w)) for w in (1, 4))
    assert four.workers == 4
    assert four.seconds < one.seconds
    assert 2 * 20_000**3 / 3 <= one.flops <= 1.2 * 2 * 20_000**3 / 3
    assert one.nbytes_disk == Tiles.nbytes(20_000) >= 4 * 20_000**2
    assert one.certified
    assert not ntk.plan(kernel(), method="tiled", certify=False).certified
    with pytest.raises(ValueError, match="engine and folder are of the tiled way"):
        ntk.plan(kernel(), method="dense", folder=tmp_path)
    with pytest.raises(ValueError, match="N must be at least 1"):
        ntk.plan(0)
    with pytest.raises(ValueError, match="method 'tiled'"):
        ntk.extreme_eigenvalues(kernel(), 2, method="tiled")


@pytest.mark.parametrize("n", [1, 64, 300, 5000, 8192, 40_000, 10**6])
def test_tiles_are_counted_as_they_lie_on_the_disk(n, tmp_path):
    b = tile_width(n)
    assert 60 <= b <= 3840
    for grain in (1, 64, 960, 1024):
        width = tile_width(n, grain)
        assert width % grain == 0 or 2 * width <= grain
        assert b / 2 <= width <= 2 * b
    assert Tiles.nbytes(n) >= 4 * n * n
    if n == 300:
        factored(kernel(n), tmp_path, width=b)
        held = sum(f.stat().st_size for f in tmp_path.rglob("*.tile"))
        count = -(-n // b)
        beside = 64 * count * (count + 1) // 2 + 8 * (n + count * (count + 1) // 2)
        assert held == Tiles.nbytes(n) + beside


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_stored_kernel_is_read_a_panel_at_a_time(tmp_path, dtype):
    K = kernel().to(dtype)
    kept = ntk.save_kernel(K, tmp_path / "k.zarr", tile=64)
    source, whole = as_source(kept), kept.dense().to(torch.float64)
    assert source.repeatable
    for i, i2 in ((0, 10), (10, 64), (60, 70), (70, 230), (5, 6)):
        assert torch.equal(source.rows(i, i2), whole[i:i2])
    V = torch.randn(N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    error = 2 * N * torch.finfo(torch.float64).eps * float(whole.norm()) * float(V.norm())
    assert float((source.matmul(V) - whole @ V).norm()) <= error
    assert torch.equal(source.diagonal(), whole.diagonal())


@pytest.mark.slow
def test_one_interval_from_dense_disk_and_processes_at_4500(tmp_path):
    model = ntk.Network([32, 300, 200, 1], "relu", init="he").sample(seed=0)
    K = ntk.empirical_ntk(model, ntk.data.gaussian(4500, 32, seed=1))
    kept = ntk.save_kernel(K, tmp_path / "k.zarr")
    killed = []

    def kill(progress):
        import psutil

        if progress.stage == "Cholesky" and progress.done > 0.3 and not killed:
            busy = [p for p in psutil.Process().children(recursive=True)
                    if p.cpu_times().user > 2 and "spawn" in " ".join(p.cmdline())]  # fmt: skip
            if busy:
                killed.append(max(busy, key=lambda p: p.cpu_times().user).pid)
                os.kill(killed[0], signal.SIGKILL)

    found = [ntk.smallest_eigenvalue(kept, method=m) for m in ("dense", "disk", "tiled")]
    found.append(ntk.smallest_eigenvalue(kept, engine=ntk.Engine(workers=2), progress=kill))
    assert killed
    width = found[0].upper - found[0].lower
    for other in found[1:]:
        assert other.certificate == "C"
        assert abs(other.lower - found[0].lower) + abs(other.upper - found[0].upper) <= 0.2 * width

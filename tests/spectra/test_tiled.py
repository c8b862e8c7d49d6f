"""λ_min by tiles: every order of the steps, runs that were killed, damage, full disks, dead workers."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ntkscope as ntk
from experiments.running.test_engine import on_three_hosts
from ntkscope.cli.main import main
from ntkscope.engines import clusters, pool
from ntkscope.spectra.progress import Stage
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

N, WIDTH = 230, 64


def stage(name):
    return Stage(name, None)


def kernel(n=N):
    model = ntk.Network([12, 60, 40, 1], "relu", init="he").sample(seed=0)
    return ntk.empirical_ntk(model, ntk.data.gaussian(n, 12, seed=1))


class Shuffled:
    """Three workers that end in any order, in this process; ``stop`` interrupts before that step."""

    remote, copies, slots = True, 1, 3

    def __init__(self, seed=0, stop=None, far=False):
        self.random, self.waiting, self.left = random.Random(seed), [], stop
        self.copies = 0 if far else 1
        self.ran = []

    def submit(self, tag, function, *arguments):
        self.waiting.append((tag, function, arguments))

    def next(self):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
        at = self.random.randrange(len(self.waiting))
        tag, function, arguments = self.waiting.pop(at)
        self.ran.append((function.__name__, tag))
        return tag, function(*arguments)

    def drop(self):
        self.waiting.clear()


def factored(K, folder, workers=None, width=WIDTH):
    tiles = Tiles(len(K), folder, workers or pool.Here(), width)
    taken = tiles.decompose(Shifted(as_source(K), 0.0), stage)
    assert taken is not None
    return tiles, taken


def tiles_in(folder):
    return {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*.tile")}


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


# -- killed, damaged, full ----------------------------------------------------------------------


@pytest.mark.parametrize("stop", [0, 1, 4, 9, 13, 20])
def test_an_interrupted_run_goes_on_where_it_was(tmp_path, stop):
    K = kernel(5 * WIDTH)
    factored(K, tmp_path / "whole", Shuffled())
    with pytest.raises(KeyboardInterrupt):
        factored(K, tmp_path / "cut", Shuffled(1, stop))
    before = tiles_in(tmp_path / "cut")
    assert (len(before) > 0) == (stop > 0)
    workers = Shuffled(2)
    factored(K, tmp_path / "cut", workers)
    after = tiles_in(tmp_path / "cut")
    assert after == tiles_in(tmp_path / "whole")
    assert len(after) == 15
    kept = [f for f in before if f.stem.endswith("L")]
    assert all(after[f] == before[f] for f in kept)
    again = {(tag.i, tag.j) for _, tag in workers.ran}
    assert not again & {tuple(map(int, f.stem.split("-")[:2])) for f in kept}


@pytest.mark.parametrize("place", [(0, 0), (2, 1), (3, 3), (4, 2)])
def test_a_flipped_bit_is_found_and_what_does_not_depend_on_it_is_kept(tmp_path, place):
    K, rng = kernel(5 * WIDTH), random.Random(sum(place))
    tiles, _ = factored(K, tmp_path)
    file = next(tmp_path.rglob(f"{place[0]}-{place[1]}-L.tile"))
    whole, before = file.read_bytes(), {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.tile")}
    for at in (3, rng.randrange(8, 48), rng.randrange(64, len(whole)), len(whole) - 1):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(files.DamagedTileError, match="remove the file"):
            tiles.solve(torch.ones(len(K), 1, dtype=torch.float64))
    file.write_bytes(whole[:-8])
    with pytest.raises(files.DamagedTileError, match="cut short"):
        tiles.rows(place[0])
    file.unlink()
    factored(K, tmp_path)
    i, j = place
    kept = {f for f, made in before.items() if f.stat().st_mtime_ns == made}
    kept = {tuple(map(int, f.stem.split("-")[:2])) for f in kept}
    # row i from column j on, and where row i was a right factor: columns i and beyond
    assert kept == {(r, c) for r in range(5) for c in range(r + 1)
                    if c < i and not (r == i and c >= j)}  # fmt: skip


@pytest.mark.parametrize("at", [2, 10, 17, 25, 33, 57, -1, -9])
def test_what_is_kept_beside_a_tile_has_its_own_check(tmp_path, at):
    file = tmp_path / "0-0-L.tile"
    values = torch.arange(6, dtype=torch.float64).view(2, 3)
    beside = torch.tensor([2.0, 3.0], dtype=torch.float64)
    for made in (values, values.T.contiguous().T):
        file.unlink(missing_ok=True)
        files.write_tile(file, files.Tile(made, beside))
        assert torch.equal(files.read_tile(file).values, values)
        assert torch.equal(files.read_beside(file), beside)
        damaged = bytearray(file.read_bytes())
        damaged[at] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(files.DamagedTileError, match="remove the file"):
            files.read_beside(file)
    file.write_bytes(b"")
    with pytest.raises(files.DamagedTileError, match="cut short"):
        files.read_beside(file)


def test_the_first_to_write_a_tile_stays(tmp_path):
    one, two = (files.Tile(torch.full((2, 3), v, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
                for v in (1.0, 2.0))  # fmt: skip
    for tile in (one, two):
        files.write_tile(tmp_path / "0-0-L.tile", tile)
    assert torch.equal(files.read_tile(tmp_path / "0-0-L.tile").values, one.values)
    assert [f.name for f in tmp_path.iterdir()] == ["0-0-L.tile"]


def test_a_full_disk_is_said_and_what_was_written_is_kept(tmp_path):
    K, soft = kernel(), resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(progress):
        if progress.stage == "Cholesky" and progress.done > 0.5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, soft[1]))

    try:
        with pytest.raises(OSError, match="could not be written") as caught:
            lowest_by_tiles(as_source(K), ntk.Engine(workers=0), tmp_path / "f", certify=True,
                            callback=fill, width=WIDTH)  # fmt: skip
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert caught.value.errno == errno.EFBIG
    before = tiles_in(tmp_path / "f")
    assert len(before) >= 5
    assert not list((tmp_path / "f").rglob("*.part"))
    steps = []
    found = ntk.smallest_eigenvalue(K, method="packed")
    ends = lowest_by_tiles(as_source(K), ntk.Engine(workers=0), tmp_path / "f", certify=True,
                           callback=lambda p: steps.append(p), width=WIDTH)  # fmt: skip
    assert steps[0].done >= 0.5
    assert ends.lower[0] <= found.upper
    assert found.lower <= ends.upper[0]


def test_a_folder_is_of_one_kernel(tmp_path):
    folder = tmp_path / "f"
    with pytest.raises(KeyboardInterrupt):
        ntk.smallest_eigenvalue(kernel(), folder=folder, progress=_interrupt)
    with pytest.raises(ValueError, match="of another kernel"):
        ntk.smallest_eigenvalue(kernel(N + 1), folder=folder)

    def second(_):
        with pytest.raises(OSError, match="another run is at work"):
            ntk.smallest_eigenvalue(kernel(), folder=folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.smallest_eigenvalue(kernel(), folder=folder, progress=second)
    (folder / "run.json").rename(folder / "run.part")  # killed while it wrote it
    for factor in folder.glob("factor-*"):
        factor.rename(tmp_path / "away")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="is not empty"):
        ntk.smallest_eigenvalue(kernel(), folder=tmp_path / "mine")
    assert ntk.smallest_eigenvalue(kernel(), folder=folder).status is ntk.Status.OK
    assert not folder.exists()


def _interrupt(progress):
    if progress.done > 0.3:
        raise KeyboardInterrupt


def test_the_eigenvectors_of_a_run_that_ended_after_them_are_taken_up(tmp_path):
    K, folder = kernel(), tmp_path / "f"

    def second(progress):
        if progress.stage == "Cholesky" and (folder / "pairs.npz").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ntk.smallest_eigenvalue(K, folder=folder, progress=second)
    stages = []
    found = ntk.smallest_eigenvalue(K, folder=folder, progress=lambda p: stages.append(p.stage))
    assert "inverse Lanczos" not in stages
    assert found.certificate == "C"
    assert found.lower <= ntk.smallest_eigenvalue(K).value <= found.upper


def test_a_sigkill_at_any_moment_is_gone_on_from(tmp_path):
    folder = tmp_path / "f"
    code = f"""
        import time
        import ntkscope as ntk
        from spectra.test_tiled import kernel
        ntk.smallest_eigenvalue(kernel(), folder={str(folder)!r}, progress=lambda p: time.sleep(0.1))
    """
    paths = os.pathsep.join([str(Path(__file__).parents[1]), str(Path(ntk.__file__).parents[1])])
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)],
                               env={**os.environ, "PYTHONPATH": paths})  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list(folder.rglob("*.tile"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {f: f.stat().st_mtime_ns for f in folder.rglob("*-L.tile")}
    assert kept
    seen = {}

    def look(progress):
        if progress.stage == "Cholesky" and not seen:
            seen.update({f: f.stat().st_mtime_ns for f in kept if f.exists()})

    found = ntk.smallest_eigenvalue(kernel(), folder=folder, progress=look)
    assert seen == kept
    assert found.status is ntk.Status.OK


# -- workers ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client():
    distributed = pytest.importorskip("distributed")
    with clusters.cleared_threads(), clusters.dask.config.set(clusters._CONFIG):
        cluster = clusters.local_cluster(2)
        with distributed.Client(cluster, set_as_default=False) as made:
            yield made
        clusters._close_local(cluster)


def test_a_worker_that_dies_costs_its_tiles_and_not_the_run(tmp_path, client):
    K = kernel(130)
    kept = ntk.save_kernel(K, tmp_path / "k.zarr", tile=64)
    victims = iter([min(client.run(os.getpid).values())])

    def kill(progress):
        if 0.2 < progress.done < 0.9 and (pid := next(victims, None)):
            os.kill(pid, signal.SIGKILL)

    found = ntk.smallest_eigenvalue(kept, engine=ntk.Engine(cluster=client), progress=kill)
    assert next(victims, None) is None
    own = ntk.smallest_eigenvalue(K)
    assert found.certificate == own.certificate == "C"
    assert abs(found.lower - own.lower) + abs(found.upper - own.upper) <= own.upper - own.lower


def test_a_cluster_that_is_gone_is_said(monkeypatch):
    monkeypatch.setattr(pool, "_PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(pool, "_LOOK_SECONDS", 0.1)

    class Gone:
        status, loop = "closed", None

        def nthreads(self):
            return {}

    made = object.__new__(pool.OnCluster)
    made._client, made._given = Gone(), {}
    made._completed = type("None", (), {"has_ready": lambda _: False})()
    with pytest.raises(ConnectionError, match="no worker for"):
        made.next()


def test_kernels_that_cannot_travel_are_refused_with_a_remedy(tmp_path):
    class Local(ntk.MatrixKernel):
        def __reduce__(self):
            raise TypeError("holds a file")

    K = Local(torch.eye(70, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"cannot be sent to workers .*save_kernel"):
        factored(K, tmp_path, Shuffled())


def test_a_worker_of_another_version_or_without_the_folder_is_said(tmp_path, monkeypatch):
    workers = Shuffled(stop=0)
    with pytest.raises(KeyboardInterrupt):
        factored(kernel(70), tmp_path, workers)
    (folder,) = tmp_path.glob("factor-*")
    step = Schedule(1).next()
    with pytest.raises(FileNotFoundError, match="does not see the run's folder"):
        tasks.run_step(str(tmp_path / "elsewhere"), "mark", step)
    monkeypatch.setattr(tasks, "__version__", "0.0.1")
    with pytest.raises(ImportError, match=r"has ntkscope 0\.0\.1, this run is of"):
        tasks.run_step(str(folder), "another", step)


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    return ended.value.code


def test_the_command(tmp_path, capsys):
    ntk.save_kernel(kernel(), tmp_path / "k.zarr", tile=128)
    own = ntk.smallest_eigenvalue(kernel())
    assert run("eig", str(tmp_path / "k.zarr"), "--workers", "2", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["smallest"]
    assert found["certificate"] == "C"
    assert abs(found["lower"] - own.lower) <= own.upper - own.lower
    assert run("eig", str(tmp_path / "k.zarr"), "--workers", "2", "--plan") == 0
    assert "workers  2;" in capsys.readouterr().out
    for wrong in (["--workers", "2", "--method", "dense"], ["--workers", "-1"],
                  ["--workers", "2", "--k", "3"], ["--workers", "2", "--cluster", "tcp://x:1"],
                  ["--singular", "--workers", "2"]):  # fmt: skip
        assert run("eig", str(tmp_path / "k.zarr"), *wrong) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


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
    assert 64 <= b <= 4096
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


ON_HOSTS = """
import sys
from pathlib import Path
import ntkscope as ntk
from ntkscope.spectra.storage.source import as_source
from ntkscope.spectra.tiled.run import lowest_by_tiles
from spectra.test_tiled import kernel
out = Path(sys.argv[1])
kept = ntk.save_kernel(kernel(700), out / "k.zarr", tile=64)
def pull(progress):
    if progress.stage == "Cholesky" and progress.done > 0.3:
        (out / "pull").touch()
ends = lowest_by_tiles(as_source(kept), ntk.Engine(cluster="tcp://10.9.0.1:8786"), out / "factor",
                       certify=True, callback=pull, width=64)
own = ntk.smallest_eigenvalue(kept, method="packed")
wide = own.upper - own.lower
print("ENDED", ends.bound, abs(ends.lower[0] - own.lower) + abs(ends.upper[0] - own.upper) < wide)
"""


@pytest.mark.slow
def test_a_host_that_vanishes_costs_its_tiles(tmp_path):
    assert "ENDED C True" in on_three_hosts(tmp_path, ON_HOSTS)

"""The tiled factor where something goes wrong: kills, flipped bits, full disks, workers that die."""

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
from pathlib import Path
from threading import Condition

import pytest
import torch

import ntkscope as ntk
from experiments.running.test_engine import on_three_hosts
from ntkscope.cli.main import main
from ntkscope.engines import clusters, pool
from ntkscope.spectra.storage.source import as_source
from ntkscope.spectra.tiled import files, tasks
from ntkscope.spectra.tiled.run import lowest_by_tiles
from ntkscope.spectra.tiled.schedule import Schedule
from spectra.tiled_runs import WIDTH, N, Shuffled, factored, kernel, tiles_in

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
        cluster.end()


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
    made._completed = type(
        "None", (), {"has_ready": lambda _: False, "thread_condition": Condition()}
    )()
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


ON_HOSTS = """
import sys
from pathlib import Path
import ntkscope as ntk
from ntkscope.spectra.storage.source import as_source
from ntkscope.spectra.tiled.run import lowest_by_tiles
from spectra.tiled_runs import kernel
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

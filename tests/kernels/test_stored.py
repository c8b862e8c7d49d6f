"""Kernels on disk: the same bits, resumed after a kill, damage found, others refused."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

import ntkscope as ntk
from ntkscope.cli.main import main

X = ntk.data.gaussian(70, 5, seed=1)
MODEL = ntk.Network([5, 30, 1], "tanh").sample(0)


def chunks(folder):
    return sorted(p for p in (folder / "c").rglob("*") if p.is_file())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_bits_come_back_and_the_eigenvalue_with_them(tmp_path, dtype):
    K = ntk.empirical_ntk(MODEL, X).to(dtype)
    kept = ntk.save_kernel(K, tmp_path / "k.zarr", tile=32)
    for i in range(0, 70, 32):
        for j in range(0, i + 1, 32):
            tile = K.tile(slice(i, i + 32), slice(j, j + 32))
            got = kept.tile(slice(i, i + 32), slice(j, j + 32))
            assert torch.equal(got, tile if i != j else torch.tril(tile) + torch.tril(tile, -1).T)
    rows = torch.tensor([3, 69, 40, 3])
    assert torch.equal(kept.tile(rows, slice(20, 50)), kept.dense()[rows][:, 20:50])
    assert len(chunks(tmp_path / "k.zarr")) == 6  # of nine, those on and below the diagonal
    found, own = ntk.smallest_eigenvalue(kept), ntk.smallest_eigenvalue(K)
    assert found.lower <= own.upper
    assert own.lower <= found.upper
    assert found.covers == own.covers


def test_a_cross_kernel(tmp_path):
    K = ntk.empirical_ntk(MODEL, X, X[:20] + 1)
    kept = ntk.save_kernel(K, tmp_path / "k.zarr", tile=16)
    assert kept.shape == (70, 20)
    assert not kept.symmetric
    assert torch.allclose(kept.T.dense(), K.dense().T, rtol=0, atol=1e-12 * float(K.dense().max()))
    assert torch.equal(kept.tile([3], slice(0, 16))[0], K.tile(slice(0, 16), slice(0, 16))[3])


def test_missing_and_damaged_tiles_are_made_again_and_no_other(tmp_path):
    K = ntk.limiting_kernel(ntk.Network([5, 30, 1]), X)
    folder = tmp_path / "k.zarr"
    whole = ntk.save_kernel(K, folder, tile=32).dense()
    files = chunks(folder)
    files[0].unlink()
    with pytest.raises(FileNotFoundError, match=r"the tile at .* is missing, its chunk .*/c/"):
        ntk.load_kernel(folder).dense()
    damaged = bytearray(files[1].read_bytes())
    damaged[1000] ^= 1
    files[1].write_bytes(damaged)
    before = {f: f.stat().st_mtime_ns for f in files[2:]}
    row, column = (32 * int(part) for part in files[1].parts[-2:])
    with pytest.raises(OSError, match=r"the tile at .* cannot be read"):
        ntk.load_kernel(folder).tile(slice(row, row + 1), slice(column, column + 1))
    begun = files[0].with_name("0.1f.partial")  # what a killed run leaves
    begun.write_bytes(b"half")
    os.utime(begun, (1e9, 1e9))
    being_written = files[0].with_name("0.2f.partial")
    being_written.write_bytes(b"half")
    os.utime(being_written, (4e9, 4e9))
    again = ntk.save_kernel(K, folder, tile=32)
    assert torch.equal(again.dense(), whole)
    assert {f: f.stat().st_mtime_ns for f in files[2:]} == before
    assert (begun.exists(), being_written.exists()) == (False, True)


def test_another_kernel_is_not_mixed_in(tmp_path):
    folder = tmp_path / "k.zarr"
    ntk.save_kernel(ntk.empirical_ntk(MODEL, X), folder, tile=32)
    moved = X.clone()
    moved[5, 2] += 1e-9
    with pytest.raises(ValueError, match="another kernel"):
        ntk.save_kernel(ntk.empirical_ntk(MODEL, moved), folder)
    with pytest.raises(ValueError, match="another kernel"):
        ntk.save_kernel(ntk.empirical_ntk(MODEL, X[:60]), folder)


def test_what_is_no_finished_store_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no kernel at"):
        ntk.load_kernel(tmp_path / "none")
    (tmp_path / "plain").mkdir()
    with pytest.raises(ValueError, match="is no stored kernel"):
        ntk.load_kernel(tmp_path / "plain")
    with pytest.raises(ValueError, match="tile must be within"):
        ntk.save_kernel(ntk.empirical_ntk(MODEL, X), tmp_path / "k.zarr", tile=3)
    folder = tmp_path / "k.zarr"
    ntk.save_kernel(ntk.empirical_ntk(MODEL, X), folder, tile=32)
    about = json.loads((folder / "zarr.json").read_text())
    del about["attributes"]["complete"]
    (folder / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="was not finished"):
        ntk.load_kernel(folder)
    about["attributes"]["kernel"]["format"] = "ntkscope-kernel-99"
    (folder / "zarr.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="ntkscope-kernel-99"):
        ntk.load_kernel(folder)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"semidefinite": true', '"semidefanite": true'), ('"entry_error": ', '"entry_error": 1'),
        ('"shape": [', '"shape": [1'), ('"symmetric"', '"symmetriC"'), ('"kernel"', '"kernal"'),
    ],
)  # fmt: skip
def test_what_is_said_of_the_kernel_is_guarded_too(tmp_path, old, new):
    folder = tmp_path / "k.zarr"
    ntk.save_kernel(ntk.empirical_ntk(MODEL, X), folder, tile=32)
    text = json.dumps(json.loads((folder / "zarr.json").read_text()))
    assert old in text
    (folder / "zarr.json").write_text(text.replace(old, new))
    with pytest.raises(ValueError, match=r"damaged|no stored kernel"):
        ntk.load_kernel(folder)


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    """SIGKILL between tiles: what is there stays, and the whole is the same."""
    folder = tmp_path / "k.zarr"
    code = f"""
        import time
        import ntkscope as ntk
        K = ntk.empirical_ntk(ntk.Network([5, 30, 1], "tanh").sample(0), ntk.data.gaussian(70, 5, seed=1))
        ntk.save_kernel(K, {str(folder)!r}, tile=16, progress=lambda done: time.sleep(0.2))
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    deadline = time.monotonic() + 120
    while len(chunks(folder)) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {f: f.stat().st_mtime_ns for f in chunks(folder)[:2]}
    with pytest.raises(ValueError, match="was not finished"):
        ntk.load_kernel(folder)
    K = ntk.empirical_ntk(MODEL, X)
    undisturbed = ntk.save_kernel(K, tmp_path / "whole.zarr", tile=16)
    assert torch.equal(ntk.save_kernel(K, folder, tile=16).dense(), undisturbed.dense())
    assert {f: f.stat().st_mtime_ns for f in kept} == kept


def test_on_the_command_line(tmp_path, capsys):
    folder = tmp_path / "k.zarr"
    arguments = ["--data", "gaussian:N=40,d=4", "--widths", "4,50,1", "--out", str(folder)]
    for command in (["kernel", *arguments], ["eig", str(folder)]):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 0
    assert "λ_min" in capsys.readouterr().out
    chunks(folder)[0].unlink()
    with pytest.raises(SystemExit) as ended:
        main(["eig", str(folder)])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is missing" in line
    with pytest.raises(SystemExit) as ended:
        main(["kernel", "--data", "gaussian:N=40,d=4", "--out", str(folder)])
    assert ended.value.code == 2
    assert "--widths" in capsys.readouterr().err

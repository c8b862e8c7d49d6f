"""Bad input on the command line: one readable line, exit code 2, nothing left behind."""

import contextlib
import json
import sqlite3

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.cli.main import main
from ntkscope.experiments.running.store import FILE
from ntkscope.experiments.sweep import Sweep
from ntkscope.training.checkpoints import read, write

DEAD = "4," + "8," * 199 + "1"


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return ended.value.code, said.out, said.err


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "K.npy", np.eye(3))
    np.save(tmp_path / "K[red].npy", np.eye(3))
    np.save(tmp_path / "zeros.npy", np.zeros((5, 4)))
    np.save(tmp_path / "tiny.npy", np.full((5, 4), 1e-310))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    torch.save(torch.eye(4).to_sparse(), tmp_path / "sparse.pt")
    torch.save({0: torch.ones(8, 4), 1: torch.ones(8)}, tmp_path / "numbered.pt")
    (tmp_path / "fine.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(4, 1))\n"
    )
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "garbage.npz").write_bytes(b"PK\3\4 not an archive")
    (tmp_path / "garbage.pt").write_bytes(bytes(range(256)))
    (tmp_path / "exits.py").write_text("import sys\nsys.exit(7)\n")
    (tmp_path / "exits_later.py").write_text("def build():\n    raise SystemExit(7)\n")
    return tmp_path


SAMPLES = "gaussian:N=6,d=4"
WRONG = [
    (["inspect", "--data", "gaussian:N=1000000000000,d=10", "--widths", "10,4,1"], "are free"),
    (["inspect", "--data", SAMPLES, "--widths", "4,2000000000000,1"], "are free"),
    (["memorize", "--data", SAMPLES, "--widths", "4,1000000000000,1"], "are free"),
    (["memorize", "--data", SAMPLES, "--widths", "4,inf,1"], "infinite widths"),
    (["hermite", "relu", "--order", "1000000"], "up to order 10000"),
    (["eig", "{}/empty.npy"], "cannot read"),
    (["eig", "{}/garbage.npz"], "cannot read"),
    (["eig", "{}/garbage.pt"], "Python objects and not numbers alone"),
    (["eig", "{}/objects.npy"], "Python objects and not numbers alone"),
    (["eig", "{}/K.npy:x"], "takes no key"),
    (["inspect", "--data", "{}/sparse.pt", "--widths", "4,8,1"], "has the layout torch.sparse_coo"),
    (["eig", "{}/sparse.pt"], "has the layout torch.sparse_coo"),
    (["inspect", "--data", "{}/numbered.pt", "--widths", "4,8,1"], "say which"),
    (
        [
            "inspect",
            "--data",
            SAMPLES,
            "--model",
            "{}/fine.py:build",
            "--checkpoint",
            "{}/numbered.pt",
        ],
        "whose keys are names",
    ),
    (["hermite", "relu", "--plot", "o"], "writes a .png, .pdf or .svg"),
    (["hermite", "relu", "--plot", "{}/K.npy/x.png"], "is no folder"),
    (["train", "--data", SAMPLES, "--widths", "4,8,1", "--out", "{}/K.npy"], "is no folder"),
    (
        ["check", "--all", "--data", SAMPLES, "--widths", "4,8,1", "--out", "{}/K.npy/x"],
        "is no folder",
    ),
    (["falsify", "nguyen2021.lemma-5.4", "--out", "{}"], "a folder stands there"),
    (
        ["inspect", "--data", SAMPLES, "--widths", "4,8,1", "--config", "{}/none.toml"],
        "no settings",
    ),
    (["eig", "{}/missing.npy"], "no file"),
    (["eig", "{}/K.npy", "--k", "0"], "--k must be at least 1"),
    (["eig", "{}/K.npy", "--singular", "--k", "2"], "leave out --k"),
    (["inspect", "--data", "cube:N=5,d=4,centered=maybe", "--widths", "4,8,1"], "true or false"),
    (
        ["predict", "--widths", "4,8,1", "--samples", "100", "--bias-std", "1e308"],
        "range of float64",
    ),
    (["lipschitz", "--widths", "2,4,1", "--init", "1e308,1e308"], "range of float64"),
    (
        ["width", "--data", SAMPLES, "--target-lambda-min", "1", "--networks", "9" * 30],
        "from 1 to 10000",
    ),
    (
        ["predict", "--widths", "4,8,1", "--samples", "100", "--out", "x/" * 2000],
        "nested too deeply",
    ),
    (["inspect", "--data", SAMPLES, "--model", "{}/exits.py:build"], "failed"),
    (["inspect", "--data", SAMPLES, "--model", "{}/exits_later.py:build"], "failed when called"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=lambda v: " ".join(v)[:60])
def test_one_line_and_exit_code_two(arguments, words, files, capsys):
    code, _, err = run(capsys, *(a.replace("{}", str(files)) for a in arguments))
    assert code == 2
    assert words in err
    assert len(err.splitlines()) == 1
    assert "allow_pickle" not in err
    assert "weights_only" not in err


@pytest.mark.parametrize("data", ["zeros.npy", "tiny.npy"])
def test_kernels_of_zeros_have_a_report(data, files, capsys):
    code, out, _ = run(
        capsys, "inspect", "--data", files / data, "--widths", "4,5,1", "--out", files
    )
    assert code == 0
    assert "below noise" in out or "cannot be told from zero" in out
    assert (files / "report.html").exists()


def test_dead_networks_have_a_report(capsys):
    code, _, _ = run(capsys, "inspect", "--data", SAMPLES, "--widths", DEAD)
    assert code == 0


def test_names_are_not_taken_for_markup(files, capsys):
    for command in (["eig"], ["inspect", "--widths", "3,5,1", "--data"]):
        code, _, _ = run(capsys, *command, files / "K[red].npy")
        assert code == 0


def test_every_flipped_bit_of_a_checkpoint_is_found_or_changes_nothing(tmp_path):
    path = tmp_path / "state.pt"
    content = {"x": torch.arange(50, dtype=torch.float64), "step": 7}
    write(path, content)
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        try:
            found = read(path, "state")
        except ValueError:
            continue
        assert torch.equal(found["x"], content["x"])
        assert found["step"] == 7


def test_what_is_said_of_bad_input_is_short_and_drives_no_terminal(capsys, files):
    code, _, err = run(
        capsys, "inspect", "--data", SAMPLES, "--widths", "4,8,1", "--weights", "a" * 100_000
    )
    assert code == 2
    assert len(err) < 1100
    assert err.startswith("ntkscope: unknown weights 'aaa")
    assert "known" in err
    code, _, err = run(capsys, "eig", files / "\x1b[31mred\u202e.npy")
    assert code == 2
    assert "\x1b" not in err
    assert "\u202e" not in err


def newer_kernel(folder):
    ntk.save_kernel(ntk.MatrixKernel(torch.eye(4, dtype=torch.float64)), folder)
    about = json.loads((folder / "zarr.json").read_text())
    about["attributes"]["kernel"]["format"] = "ntkscope-kernel-99"
    (folder / "zarr.json").write_text(json.dumps(about))


def newer_zarr(folder):
    newer_kernel(folder)
    about = json.loads((folder / "zarr.json").read_text())
    (folder / "zarr.json").write_text(json.dumps({**about, "zarr_format": 99}))


def newer_sweep(folder):
    settings = {
        "name": "one", "data": "gaussian:N=4,d=2", "network": {"widths": [2, 3, 1]}, "grid": {}
    }  # fmt: skip
    Sweep(settings).run(folder, ntk.Engine(workers=0))
    with contextlib.closing(sqlite3.connect(folder / FILE)) as store:
        store.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "command", "reason"),
    [
        (newer_kernel, ["eig"], "of the format 'ntkscope-kernel-99', this ntkscope reads"),
        (newer_zarr, ["eig"], "is no stored kernel"),
        (newer_sweep, ["sweep", "status"], "of version 99, this ntkscope writes version"),
        (newer_sweep, ["fit", "--x", "d"], "of version 99, this ntkscope writes version"),
    ],
)
def test_a_store_of_a_later_version_is_told_in_a_line(tmp_path, capsys, make, command, reason):
    make(tmp_path / "store")
    before = {f: f.read_bytes() for f in (tmp_path / "store").rglob("*") if f.is_file()}
    code, out, err = run(capsys, command[0], *command[1:], tmp_path / "store")
    assert (code, out) == (2, "")
    assert reason in err
    assert len(err.strip().splitlines()) == 1
    assert {f: f.read_bytes() for f in before} == before  # SQLite puts its own files beside

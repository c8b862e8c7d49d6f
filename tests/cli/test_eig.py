"""``ntkscope eig`` on files of every kind."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from ntkscope.cli.main import main
from spectra.matrices import prescribed

K = prescribed(np.geomspace(1e-3, 1, 20)).numpy()


def call(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["eig", *arguments])
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "K.npy", K)
    np.savez(tmp_path / "K.npz", K=K, other=K[:3])
    np.savetxt(tmp_path / "K.csv", K, delimiter=",", fmt="%.18g")
    torch.save(torch.from_numpy(K), tmp_path / "K.pt")
    return tmp_path


@pytest.mark.parametrize("name", ["K.npy", "K.npz:K", "K.csv", "K.pt"])
def test_every_kind_of_file(capsys, files, name):
    code, out, _ = call(capsys, str(files / name), "--json")
    found = json.loads(out)["smallest"][0]
    assert code == 0
    assert found["status"] == "OK"
    assert found["lower"] <= float(np.linalg.eigvalsh(K)[0]) + 1e-15
    assert found["value"] == pytest.approx(1e-3, rel=1e-10)


def test_text_names_interval_status_and_bound(capsys, files):
    code, out, _ = call(capsys, str(files / "K.npy"), "--condition", "--density", "--k", "3")
    assert code == 0
    rounding = 20 * np.finfo(float).eps  # of the matrix itself, whose norm is 1
    for name, true, unsure in (("λ_min", 1e-3, rounding), ("κ", 1e3, 1e6 * rounding)):
        shown = re.search(rf"{name} +(\S+) ± (\S+)", out)
        assert shown is not None
        assert abs(float(shown[1]) - true) <= unsure + float(shown[2])
    assert "(ok)" in out
    assert "Lehmann" in out
    assert "effective rank" in out
    assert sum(" ± " in line for line in out.splitlines()) >= 7


def test_plan_runs_nothing(capsys, files):
    code, out, _ = call(capsys, str(files / "K.npy"), "--plan")
    assert code == 0
    assert "dense" in out
    assert "certified interval" in out


def test_singular(capsys, files):
    code, out, _ = call(capsys, f"{files / 'K.npz'}:other", "--singular")
    assert code == 0
    assert "σ_min" in out


def test_a_value_below_noise_has_exit_code_1(capsys, tmp_path):
    np.save(tmp_path / "ones.npy", np.ones((4, 4)))
    code, out, _ = call(capsys, str(tmp_path / "ones.npy"))
    assert code == 1
    assert "below noise" in out


def test_a_page_s_settings_run_again(capsys, files):
    first, second = files / "a", files / "b"
    options = ("--k", "2", "--condition", "--no-certify", "--density", "--out", str(first))
    assert call(capsys, str(files / "K.npy"), *options)[0] == 1  # not certified
    settings = first / "settings.toml"
    assert call(capsys, "--config", str(settings), "--out", str(second))[0] == 1
    one, two = (json.loads((f / "result.json").read_text()) for f in (first, second))
    assert len(one["smallest"]) == len(one["largest"]) == 2
    for record in (one, two):
        for row in (*record["smallest"], *record["largest"]):
            del row["seconds"]
    assert one == two
    code, out, _ = call(capsys, str(files / "K.csv"), "--config", str(settings), "--k", "1")
    assert code == 1
    assert "Lehmann" not in out


def test_a_matrix_must_be_named(capsys):
    code, out, err = call(capsys)
    assert (code, out) == (2, "")
    assert "name a matrix" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.npy",), "no file"),
        (("K.npz",), "say which"),
        (("K.npz:k",), "known: K, other"),
        (("K.npy", "--method", "dens"), "dense"),
        (("K.npy", "--k", "21"), "from 1 to N = 20"),
    ],
)
def test_bad_input_is_one_line(capsys, files, arguments, message):
    code, out, err = call(capsys, str(files / arguments[0]), *arguments[1:])
    assert code == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1

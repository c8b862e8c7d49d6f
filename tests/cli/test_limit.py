"""``ntkscope limit`` and ``inspect --width-limit`` on models of one's own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.cli.main import main

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "small.py"
    file.write_text(
        "from torch import nn\n"
        "def build():\n"
        "    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), nn.ReLU(),\n"
        "                         nn.Flatten(), nn.Linear(288, 2))\n"
    )
    return f"{file}:build"


def test_limit_writes_the_kernel(model, tmp_path, capsys):
    out = tmp_path / "K.npy"
    assert run("limit", "--model", model, "--data", "digits:N=12", "--out", str(out)) == 0
    K = np.load(out)
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["shape"] == [12, 12]
    assert abs(np.linalg.eigvalsh(K)[0] - record["smallest_eigenvalue"]["value"]) < 1e-9 * K.trace()
    assert "same position" in capsys.readouterr().out
    assert run("limit", "--model", model, "--data", "digits:N=12", "--out", "K.txt") == 2


def test_what_has_no_limit_is_said_in_one_line(capsys):
    spec = f"{EXAMPLES / 'resnet.py'}:build"
    assert run("limit", "--model", spec, "--data", "digits:N=4") == 2
    said = capsys.readouterr().err
    assert "blocks.0 (Block)" in said
    assert "not Gaussian" in said


def test_inspect_with_the_limit(model, tmp_path):
    arguments = ["--model", model, "--data", "digits:N=12", "--width-limit", "--out", str(tmp_path)]
    assert run("inspect", *arguments) == 0
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["extra"]["width_limit"]["convergence"] is None
    assert 0 < found["extra"]["width_limit"]["relative"] < 2


def test_regressor_of_a_module():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
    X = np.random.default_rng(0).normal(size=(12, 3))
    fitted = ntk.NTKRegressor(kernel=net.double()).fit(X, X.sum(1))
    mean, spread = fitted.predict(X, return_std=True)
    assert np.abs(mean - X.sum(1)).max() < 1e-2
    assert spread.shape == (12,)

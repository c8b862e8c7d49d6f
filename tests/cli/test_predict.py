"""`ntkscope predict` as a user types it, right and wrong; and its line in `inspect`."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import ntkscope as ntk
from ntkscope.cli.main import main

GOOD = ["predict", "--widths", "60,inf,inf,1", "--init", "unit", "--samples", "1000"]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_the_number_is_the_library_s(capsys):
    code, out, _ = run(capsys, *GOOD, "--dim", "60", "--json")
    assert code == 0
    found = json.loads(out)["prediction"]
    net = ntk.Network([60, float("inf"), float("inf"), 1], "relu", "unit")
    assert found["value"] == ntk.predict_smallest_eigenvalue(net, 1000).value


def test_a_curve_has_a_picture(capsys, tmp_path):
    code, out, _ = run(capsys, *GOOD, "--over", "samples=100:1e6", "--out", str(tmp_path / "p"))
    assert code == 0
    assert "bulk" in out
    assert (tmp_path / "p" / "prediction.png").read_bytes().startswith(b"\x89PNG")
    curve = json.loads((tmp_path / "p" / "result.json").read_text())["curve"]
    values = [p["value"] for p in curve["predictions"]]
    assert values == sorted(values, reverse=True)
    assert len(values) == 25


def test_the_constant_of_a_curve(capsys):
    """Over d the sphere's K_ii is L d at β = 1, in the limit's units: the share is λ_min/(L d)."""
    code, out, _ = run(capsys, *GOOD, "--over", "dim=30:3000", "--json")
    assert code == 0
    curve = json.loads(out)["curve"]
    assert curve["exponent"] == 1
    net = ntk.Network([60, float("inf"), float("inf"), 1], "relu", "unit")
    for d, p, constant, share in zip(
        curve["values"], curve["predictions"], curve["constants"], curve["shares"], strict=True
    ):
        X = ntk.data.sphere(1, d, seed=0)
        diagonal = float(ntk.limiting_ntk(net.with_widths((d, *net.widths[1:])), X))
        assert p["diagonal"] == pytest.approx(diagonal, rel=1e-9)
        assert diagonal == pytest.approx(3 * d)
        assert constant == pytest.approx(p["value"] / d)
        assert share == pytest.approx(p["value"] / diagonal)
    assert curve["law"]["trend"] == "rises"
    code, out, _ = run(capsys, *GOOD, "--over", "dim=30:3000")
    assert "λ_min/d" in out
    assert "rises with the size" in out


def test_a_curve_over_the_width(capsys):
    command = ["predict", "--widths", "30,64,64,1", "--samples", "60"]
    code, out, _ = run(capsys, *command, "--over", "width=40:1000", "--json")
    assert code == 0
    curve = json.loads(out)["curve"]
    assert curve["exponent"] == 1  # He: every term but the first grows with the width before it
    assert "40" in curve["refused"]
    wide = ntk.Network([30, 1000, 1000, 1])
    last = ntk.predict_smallest_eigenvalue(wide, 60, kernel="empirical")
    assert curve["predictions"][-1]["value"] == last.value
    code, out, _ = run(capsys, *command, "--over", "width=40:1000")
    assert "λ_min/n" in out
    assert "none at n = 40" in out
    code, _, err = run(capsys, *command, "--over", "width=3:5")
    assert code == 2
    assert "no width has a prediction" in err


def test_a_page_s_settings_predict_again(capsys, tmp_path):
    code, _, err = run(
        capsys, *GOOD, "--bias-std", "0.1", "--over", "dim=30:300", "--out", str(tmp_path / "a")
    )
    assert code == 0, err
    again = ["predict", "--config", str(tmp_path / "a" / "settings.toml"), "--out"]
    code, _, err = run(capsys, *again, str(tmp_path / "b"))
    assert code == 0, err
    first, second = ((tmp_path / x / "result.json").read_text() for x in "ab")
    assert first == second
    code, out, _ = run(capsys, *again[:-1], "--samples", "500", "--json")
    assert json.loads(out)["prediction"]["n_samples"] == 500


def test_finite_widths_show_both(capsys):
    code, out, _ = run(
        capsys, "predict", "--widths", "100,200,1", "--activation", "tanh", "--samples", "500"
    )
    assert code == 0
    assert "at these widths" in out
    assert "the widths leave" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*GOOD, "--dim", "50"], "disagree"),
        ([*GOOD[:-1], "many"], "a valid number"),
        ([*GOOD[:-1], "0.5"], "whole number"),
        ([*GOOD, "--over", "samples=9:many"], "1000 or 1e9"),
        ([*GOOD[:-1], "1e300"], "n_samples"),
        ([*GOOD, "--data", "digits"], "unknown data"),
        ([*GOOD, "--data", "norms"], "norms:FILE"),
        ([*GOOD, "--data", "norms:here.bin"], ".npy"),
        ([*GOOD, "--data", "norms:missing.npy"], "no file"),
        ([*GOOD, "--dim", "0"], "--dim must be at least 2"),
        ([*GOOD, "--out", "/dev/null/x"], "--out /dev/null/x: cannot write"),
        (
            [
                "predict",
                "--widths",
                "60,inf,1",
                "--activation",
                "tanh",
                "--init",
                "unit",
                "--samples",
                "10",
            ],
            "add --parameterization ntk",
        ),
        ([*GOOD, "--over", "width=1:2"], "--over"),
        ([*GOOD, "--over", "samples=9:3"], "LOW < HIGH"),
        (["predict", "--widths", "60,inf,inf,1", "--init", "he", "--samples", "10"], "common wide"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_infinite_widths_need_no_further_option(capsys):
    arguments = ["predict", "--widths", "60,inf,inf,1", "--samples", "100"]
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert "taken: --parameterization ntk" in out
    assert "(relu, he, ntk)" in out
    _, out, _ = run(capsys, *arguments, "--json")
    net = ntk.Network([60, float("inf"), float("inf"), 1], "relu", "he", "ntk")
    found = json.loads(out)
    assert found["prediction"]["value"] == ntk.predict_smallest_eigenvalue(net, 100).value
    assert "ntk" in found["taken"]
    _, out, _ = run(capsys, *GOOD, "--json")
    assert "taken" not in json.loads(out)


def test_norms_come_from_a_file(capsys, tmp_path):
    norms = np.linspace(6.0, 9.0, 200)
    np.save(tmp_path / "n.npy", norms)
    np.savez(tmp_path / "n.npz", other=np.ones(3), r=norms[:, None])
    np.savetxt(tmp_path / "n.csv", norms)
    net = ntk.Network([60, float("inf"), float("inf"), 1], "relu", "unit")
    expected = ntk.predict_smallest_eigenvalue(net, 1000, data=norms).value
    for name in ("n.npy", "n.npz:r", "n.csv"):
        code, out, err = run(capsys, *GOOD, "--data", f"norms:{tmp_path / name}", "--json")
        assert code == 0, err
        assert json.loads(out)["prediction"]["value"] == pytest.approx(expected, rel=1e-12)
    np.save(tmp_path / "two.npy", np.ones((5, 2)))
    code, _, err = run(capsys, *GOOD, "--data", f"norms:{tmp_path / 'two.npy'}")
    assert code == 2
    assert "one number a sample" in err


def test_zero_is_said_to_be_exact(capsys):
    code, out, _ = run(
        capsys, "predict", "--widths", "10,70,1", "--activation", "identity", "--samples", "1e9"
    )
    assert code == 0
    assert out.count("0 exactly") == 2
    assert "N = 1,000,000,000" in out
    assert "±" not in out
    assert "0 … 0" not in out
    net = ntk.Network([10, 70, 1], "identity")
    exact = ntk.predict_smallest_eigenvalue(net, 50, kernel="empirical")
    assert exact.value == exact.upper == 0.0
    K = ntk.empirical_ntk(net.sample(0), ntk.data.sphere(50, 10, seed=0)).dense()
    assert int(torch.linalg.matrix_rank(K, hermitian=True)) == 10


def test_inspect_says_it_too():
    report = ntk.inspect(ntk.Network([10, 50, 1], "identity"), ntk.data.gaussian(60, 10, seed=0))
    assert str(report).count("0 exactly: the kernel") == 2
    assert report.to_html().count("0 exactly</td>") == 2


def test_inspect_shows_it_beside_the_measured_value():
    X = ntk.data.sphere(200, 60, seed=0)
    report = ntk.inspect(
        ntk.Network([60, 300, 300, 1], "relu", "unit"), X, seed=1, width_limit=True
    )
    found = report.prediction.prediction
    assert found is not None
    computed = report.extra["width_limit"]["limiting"]["value"]
    assert computed == pytest.approx(found.value, rel=0.03)
    assert report.prediction.empirical is not None
    assert "in the wide limit" in str(report)
    assert "Predicted, in the wide limit" in report.to_html()


def test_inspect_refuses_digits():
    data = ntk.data.load("digits", seed=0)
    report = ntk.inspect(ntk.Network([64, 100, 1]), data.X[:300], seed=0)
    assert report.prediction.prediction is None
    assert "far from isotropic" in report.prediction.refused
    assert "no prediction" in str(report)


def test_a_prediction_loads_nothing_heavy_besides_torch():
    code = (
        "import sys\n"
        "from ntkscope.cli.main import main\n"
        "try:\n"
        "    main('predict --widths 60,100,100,1 --samples 100'.split())\n"
        "except SystemExit as stop:\n"
        "    assert stop.code == 0\n"
        "heavy = ('scipy.stats', 'scipy.integrate', 'sklearn',\n"
        "         'matplotlib', 'jinja2', 'pandas', 'flint')\n"
        "print('\\nloaded:', [name for name in heavy if name in sys.modules])\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "loaded: []"

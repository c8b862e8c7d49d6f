"""`ntkscope predict` as a user types it, right and wrong; and its line in `inspect`."""

import json

import pytest

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
    curve = json.loads((tmp_path / "p" / "prediction.json").read_text())["curve"]
    values = [p["value"] for p in curve["predictions"]]
    assert values == sorted(values, reverse=True)
    assert len(values) == 25


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
        ([*GOOD[:-1], "many"], "1000 or 1e9"),
        ([*GOOD[:-1], "0.5"], "whole number"),
        ([*GOOD[:-1], "1e300"], "n_samples"),
        ([*GOOD, "--data", "digits"], "unknown data"),
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

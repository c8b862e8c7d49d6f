"""Constants of scaling laws: exact laws are recovered, drifts are seen, bad input is named."""

import json
import math

import numpy as np
import pytest

import ntkscope as ntk
from ntkscope.cli.main import main
from ntkscope.engines.engine import Engine
from ntkscope.experiments.design.expressions import names
from ntkscope.experiments.reading.constants import fit_constant
from ntkscope.experiments.reading.fits import constant_at
from ntkscope.experiments.reading.table import Table


def table(law, trials=8, noise=0.02, seed=0, xs=((2, 50), (2, 100), (3, 100), (4, 100), (4, 200))):
    rng = np.random.default_rng(seed)
    records = [
        {"L": L, "d": d, "seed": s, "y": law(L, d) * (1 + noise * rng.standard_normal())}
        for L, d in xs
        for s in range(trials)
    ]
    return Table(("L", "d", "seed", "y"), tuple(records))


def test_an_exact_law_gives_its_constant_and_its_exponent():
    (fit,) = fit_constant(table(lambda L, d: 0.3 * L * d, noise=0.0), "y", "L*d")
    assert fit.constant.constant.value == pytest.approx(0.3, rel=1e-12)
    assert fit.constant.scatter < 1e-12
    assert fit.exact
    assert fit.free.exponent.value == pytest.approx(1)
    assert fit.line.slope.value == pytest.approx(0.3)
    assert fit.line.intercept.value == pytest.approx(0, abs=1e-9)
    assert [p.x for p in fit.points] == [100, 200, 300, 400, 800]
    assert fit.trend == "settled"


def test_intervals_hold_the_constant_as_often_as_they_say():
    inside = [
        fit_constant(table(lambda _, d: 2.0 * d, seed=s), "y", "d")[0].constant.constant.contains(
            2.0
        )
        for s in range(40)
    ]
    assert 32 <= sum(inside) <= 40


def test_a_power_a_drift_and_an_intercept():
    (square,) = fit_constant(table(lambda _, d: 5 * d**2), "y", "d", exponent=2)
    assert square.constant.constant.value == pytest.approx(5, rel=0.02)
    assert "d^2" in str(square)
    (drift,) = fit_constant(
        table(lambda _, d: d**1.2, xs=[(2, d) for d in (25, 50, 100, 200)]), "y", "d"
    )
    assert (drift.trend, drift.exact) == ("rises", False)
    assert "do not lie on this law" in str(drift)
    assert drift.free.exponent.value == pytest.approx(1.2, abs=0.02)
    (shifted,) = fit_constant(table(lambda _, d: 3 * d - 60, noise=0.0), "y", "d")
    assert (shifted.line.slope.value, shifted.line.intercept.value) == pytest.approx((3, -60))


def test_expressions_on_both_sides_and_one_fit_a_value():
    made = table(lambda L, d: 0.3 * L * d, noise=0.01)
    fits = fit_constant(made, "y/L", "d", by="L")
    assert [f.curve for f in fits] == ["L = 2", "L = 3", "L = 4"]
    assert [f.constant.constant.value for f in fits] == pytest.approx([0.3] * 3, rel=0.02)
    assert fits[1].free is None
    assert fits[1].trend == "open"
    assert names("max(n_1, 2*d)/L") == ("L", "d", "n_1")


def test_points_at_zero_and_failed_trials_are_left_out():
    good = table(lambda _, d: 2.0 * d)
    zero = [{"L": 2, "d": 25, "seed": s, "y": 0.0} for s in range(3)]
    failed = {"L": 2, "d": 30, "seed": 0, "error": "ValueError: no"}
    made = Table((*good.columns, "error"), (*zero, failed, *good.records))
    (fit,) = fit_constant(made, "y", "d")
    assert fit.left_out == 1
    assert fit.constant.n_points == 3
    assert "1 points at zero left out" in str(fit)
    with pytest.raises(ValueError, match="every trial failed, the first with: ValueError: no"):
        fit_constant(Table(made.columns, (failed,)), "y", "d")


def test_bad_input():
    made = table(lambda _, d: 2.0 * d)
    with pytest.raises(ValueError, match=r"unknown column 'dd'.*in 'L\*dd'"):
        fit_constant(made, "y", "L*dd")
    with pytest.raises(ValueError, match="cannot read the expression"):
        fit_constant(made, "y", "L*")
    with pytest.raises(ValueError, match="no value"):
        fit_constant(made, "y", "L/(d-d)")
    with pytest.raises(ValueError, match="needs x > 0"):
        fit_constant(made, "y", "-d")
    with pytest.raises(ValueError, match="no rows"):
        fit_constant(Table(made.columns, ()), "y", "d")
    with pytest.raises(ValueError, match="at least 1 points"):
        constant_at({}, 1.0)


SETTINGS = """
name = "constant"
seeds = 2
data = "sphere:N=24,d={d}"
grid = { d = [12, 24, 48] }
network = { widths = ["d", "inf x L-1", 1], activation = "relu", init = "unit" }
define = { L = "3" }
measure = ["lambda_min", "trace", "limiting_lambda_min"]
fit = [{ x = "L*d", y = "trace/24" }]
"""


def test_infinite_widths_measure_the_limit():
    sweep = ntk.Sweep({
        "name": "limits", "seeds": 1, "grid": {"d": [6]}, "data": "sphere:N=10,d={d}",
        "network": {"widths": ["d", math.inf, "inf", 1], "activation": "relu", "init": "unit"},
        "measure": ["lambda_min", "lambda_max", "trace", "limiting_lambda_min"],
    })  # fmt: skip
    (trial,) = sweep.trials
    assert trial.plain["network"]["widths"] == [6, "inf", "inf", 1]
    from ntkscope.experiments.measures.registry import measure_of

    (row,) = measure_of(trial.plain).run(trial.plain, [0], "cpu")
    assert row["lambda_min"] == pytest.approx(row["limiting_lambda_min"])
    assert row["trace"] == pytest.approx(3 * 6 * 10)  # K_ii = L ‖x_i‖²
    assert row["lambda_min.lower"] <= row["lambda_min"] <= row["lambda_min.upper"]


def test_what_needs_a_sample_refuses_infinite_widths():
    settings = {
        "name": "no", "grid": {"d": [6]}, "data": "sphere:N=10,d={d}",
        "network": {"widths": ["d", "inf", 1], "parameterization": "ntk"},
    }  # fmt: skip
    for measure in ("layers", "features", "final_loss", "check:nguyen2021.eq-27"):
        with pytest.raises(ValueError, match="infinite widths; measure lambda_min"):
            ntk.Sweep({**settings, "measure": measure})


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return stop.value.code, out.out, out.err


def test_one_command_finds_the_constant(tmp_path, capsys):
    file = tmp_path / "constant.toml"
    file.write_text(SETTINGS)
    folder = tmp_path / "out"
    code, out, _ = run(capsys, "fit", file, "--x", "L*d", "--y", "trace/24", "--out", folder,
                       "--workers", 0, "--quiet")  # fmt: skip
    assert code == 0
    assert out.startswith("all: trace/24 = c · (L*d)\n  constant       c = 1 [1, 1]")
    # the folder and its table give the same without running anything
    ntk.Sweep.of(folder).table(folder).save(tmp_path / "table.csv")
    for source in (folder, tmp_path / "table.csv"):
        code, out, _ = run(capsys, "fit", source, "--x", "d", "--json")
        assert code == 0
        (fit,) = json.loads(out)
        assert fit["constant"]["constant"]["value"] > 0
        assert fit["trend"] in ("rises", "settled", "falls")
        assert len(fit["points"]) == 3
    code, out, _ = run(capsys, "sweep", file, "--out", folder, "--quiet")
    assert "trace/24 ∝ L*d^1 [1, 1]" in out
    assert "\n    constant       c = 1 [1, 1], residual" in out


@pytest.mark.parametrize(("arguments", "message"), [
    (["none.csv", "--x", "d"], "no table 'none.csv'"),
    (["none", "--x", "d"], "no sweep in 'none'"),
    (["none.toml", "--x", "d"], "no settings file 'none.toml'"),
])  # fmt: skip
def test_sources_that_are_not_there(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "fit", *arguments)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_sweep_in_the_same_process_with_an_engine(tmp_path):
    sweep = ntk.Sweep({
        "name": "in-process", "seeds": 2, "grid": {"d": [8, 16]}, "data": "sphere:N=6,d={d}",
        "network": {"widths": ["d", "inf", 1], "parameterization": "ntk"},
    })  # fmt: skip
    sweep.run(tmp_path, Engine(workers=0))
    assert len(sweep.table(tmp_path)) == 4

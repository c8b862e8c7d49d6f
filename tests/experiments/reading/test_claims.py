"""A statement's scaling over a sweep."""

import json

import numpy as np
import pytest

from ntkscope import Network
from ntkscope.cli.main import main
from ntkscope.experiments.growing import check_sweep, sweep_settings
from ntkscope.experiments.measures.statement_measure import MEASURED, ORDER, PREDICTED
from ntkscope.experiments.reading.claims import judge
from ntkscope.experiments.reading.table import Table
from ntkscope.experiments.running.engine import Engine
from ntkscope.experiments.sweep import Sweep

ID = "nguyen2021.theorem-4.1"
NET = Network([8, 40, 10, 1], "relu", "he")


def table(law, order):
    rng = np.random.default_rng(0)
    records = tuple(
        {"s": s, "seed": k, "violations": 0, "hypotheses_failed": 1,
         "y" + MEASURED: law(10 * s) * (1 + 0.01 * rng.standard_normal()),
         "y" + PREDICTED: 10 * s, "y" + ORDER: order}
        for s in (0.5, 1.0, 2.0, 4.0) for k in range(6)
    )  # fmt: skip
    return Table(tuple(records[0]), records)


@pytest.mark.parametrize(
    ("order", "power", "holds"),
    [
        ("Θ", 1.0, True), ("Θ", 1.3, False), ("Θ", 0.7, False),
        ("Ω", 1.3, True), ("Ω", 0.7, False), ("O", 0.7, True), ("O", 1.3, False),
    ],
)  # fmt: skip
def test_slopes_allow_what_the_order_claims(order, power, holds):
    found = judge(ID, table(lambda x: 3 * x**power, order))
    (claim,) = found.claims
    assert claim.holds is holds
    assert claim.law.exponent.value == pytest.approx(power, abs=0.05)
    assert claim.constant_low <= 3 * 5 ** (power - 1) * 1.05
    assert found.hypotheses_failed == 24
    assert claim.name in str(found)


def test_a_law_that_cannot_be_fitted_says_so():
    (claim,) = judge(ID, table(lambda x: -x, "O")).claims
    assert claim.holds is None
    assert "no fit" in str(claim)


def test_everything_grows_together():
    trials = Sweep(sweep_settings(ID, NET, "sphere", 20, seeds=1, factors=(1.0, 2.0))).trials
    assert [t.plain["network"]["widths"] for t in trials] == [[8, 40, 10, 1], [16, 80, 20, 1]]
    assert [t.plain["data"] for t in trials] == ["sphere:N=20,d=8", "sphere:N=40,d=16"]


def test_a_statement_runs_over_its_sweep(tmp_path):
    found = check_sweep(
        ID, NET, "gaussian", 20, tmp_path, Engine(workers=0), seeds=2, factors=(0.5, 1.0, 2.0)
    )
    assert (found.trials, found.failed) == (6, 0)
    assert found.claims
    assert all(c.constant_low <= c.constant_high for c in found.claims)
    assert {c["name"] for c in found.to_dict()["claims"]} == {c.name for c in found.claims}


def test_wrong_statements_and_networks():
    with pytest.raises(ValueError, match="did you mean"):
        sweep_settings("nguyen2021.theorem-4.2", NET, "gaussian", 20)
    with pytest.raises(ValueError, match="infinite"):
        sweep_settings(ID, Network([8, float("inf"), 1]), "gaussian", 20)


def test_check_sweep_on_the_command_line(tmp_path, capsys):
    options = ["--widths", "8,40,10,1", "--sweep", "--seeds", "2", "--workers", "0"]
    data = ["--data", "gaussian:N=20,d=8", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(["check", ID, *data, *options])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"{ID}: " in out
    assert "slope" in out
    (record,) = json.loads((tmp_path / "check-sweep.json").read_text())
    assert record["trials"] == 10
    with pytest.raises(SystemExit) as ended:
        main(["check", ID, "--data", "digits", *options])
    assert ended.value.code == 2
    assert "give a distribution" in capsys.readouterr().err

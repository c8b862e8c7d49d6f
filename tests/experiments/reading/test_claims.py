"""A statement's scaling over a sweep."""

import json

import numpy as np
import pytest

from ntkscope import Network
from ntkscope.cli.main import main
from ntkscope.data import Gaussian
from ntkscope.engines.engine import Engine
from ntkscope.experiments.growing import check_sweep, sweep_settings
from ntkscope.experiments.measures.statement_measure import MEASURED, ORDER, PREDICTED, labelled
from ntkscope.experiments.reading.claims import judge
from ntkscope.experiments.reading.table import Table
from ntkscope.experiments.sweep import Sweep
from ntkscope.statements.instance import Instance
from ntkscope.statements.kinds import Constant
from ntkscope.statements.quantity import Quantity
from ntkscope.statements.registry import find, statements

ID = "nguyen2021.theorem-4.1"
NET = Network([8, 40, 10, 1], "relu", "he")


def table(law, order):
    rng = np.random.default_rng(0)
    records = tuple(
        {"s": s, "seed": k, "hypotheses_failed": 1, "outcome": "does not apply",
         "y" + MEASURED: law(10 * s) * (1 + 0.01 * rng.standard_normal()),
         "y" + PREDICTED: 10 * s, "y" + ORDER: order}
        for s in (0.5, 1.0, 2.0, 4.0) for k in range(6)
    )  # fmt: skip
    return Table(tuple(records[0]), records)


@pytest.mark.parametrize(
    ("order", "power", "outcome"),
    [
        ("Θ", 1.0, "consistent"), ("Θ", 1.3, "contradicted"), ("Θ", 0.7, "contradicted"),
        ("Ω", 1.3, "consistent"), ("Ω", 0.7, "contradicted"), ("O", 0.7, "consistent"),
        ("O", 1.3, "contradicted"),
    ],
)  # fmt: skip
def test_slopes_allow_what_the_order_claims(order, power, outcome):
    # constants beyond 1 on the claim's own side: the slope alone decides
    factor = 0.1 if order == "Ω" else 3.0
    found = judge(ID, table(lambda x: factor * x**power, order))
    (claim,) = found.claims
    assert claim.outcome == outcome
    assert claim.whole.exponent.value == pytest.approx(power, abs=0.05)
    assert claim.constant_low <= factor * 40 ** (power - 1) * 1.05
    assert found.outside == 24
    assert found.outcomes == {"does not apply": 24}
    assert claim.name in str(found)
    assert outcome in str(found)


@pytest.mark.parametrize(("order", "factor"), [("O", 0.005), ("Ω", 400.0)])
def test_a_bound_far_from_used_up_is_seen_whatever_its_slope(order, factor):
    power = 1.3 if order == "O" else 0.7
    (claim,) = judge(ID, table(lambda x: factor * x**power, order)).claims
    assert claim.constant_high < 0.021 or claim.constant_low > 1
    assert claim.outcome == "consistent"
    assert "constant 1" in str(claim)


def test_a_slope_that_comes_nearer_is_approached():
    (claim,) = judge(ID, table(lambda x: 3 * x * (1 + 2 / x), "Θ")).claims
    assert claim.outcome == "approached"


def test_an_expression_that_does_not_change_asks_for_slope_zero():
    def constant(power):
        made = table(lambda x: 3 * x**power, "Θ")
        records = tuple({**r, "y" + PREDICTED: 1.0} for r in made.records)
        (claim,) = judge(ID, Table(made.columns, records)).claims
        return claim

    assert constant(0.0).outcome == "consistent"
    assert constant(0.5).outcome == "contradicted"
    assert constant(0.5).claimed == 0.0


def test_trials_outside_of_the_hypotheses_are_left_out_where_there_are_others():
    inside, outside = table(lambda x: 3 * x, "Θ"), table(lambda x: 3 * x**3, "Θ")
    records = tuple({**r, "hypotheses_failed": 0} for r in inside.records) + outside.records
    found = judge(ID, Table(inside.columns, records))
    (claim,) = found.claims
    assert claim.outcome == "consistent"
    assert found.outside == 24


def test_a_law_that_cannot_be_fitted_says_so():
    (claim,) = judge(ID, table(lambda x: -x, "O")).claims
    assert claim.outcome == "open"
    assert "no fit" in str(claim)


def test_conclusions_that_read_the_same_are_all_kept():
    q = Quantity(1.0)
    same = [Constant("λ_min(K)", q, "Ω", Quantity(p), "dN", key=key, at={"r": 2})
            for p, key in ((1.0, "upper"), (2.0, "lower"), (3.0, "lower"))]  # fmt: skip
    found = labelled(same)
    assert list(found.values()) == same
    assert next(iter(found)) == "λ_min(K) = Ω(dN)"
    assert "lower, r = 2" in list(found)[1]


@pytest.mark.parametrize("id", [s.id for s in statements("bombari2022")])
def test_no_conclusion_is_lost_in_a_sweep(id):
    law = Gaussian(4)
    instance = Instance(
        Network([4, 9, 8, 1], "tanh", "bombari2022"), law.sample(5, 0), distribution=law,
        samples=64, trials=3,
    )  # fmt: skip
    verdict = find(id).check(instance)
    concluding = [c for c in verdict.constants if c.concludes] or list(verdict.constants)
    assert len(labelled(verdict.constants)) == len(concluding)


def test_minimum_over_parameterization_holds_the_ratio_of_samples_to_pairs_of_neurons():
    settings = sweep_settings(
        "bombari2022.theorem-3.1", Network([8, 12, 10, 1], "tanh", "bombari2022"), "sphere", 20,
        seeds=1, factors=(0.5, 1.0, 2.0),
    )  # fmt: skip
    trials = Sweep(settings).trials
    sizes = [(int(t.plain["data"].split("N=")[1].split(",")[0]), t.plain["network"]["widths"])
             for t in trials]  # fmt: skip
    assert {N / (w[-3] * w[-2]) for N, w in sizes} == {20 / 120}


def test_everything_grows_together():
    trials = Sweep(sweep_settings(ID, NET, "sphere", 20, seeds=1, factors=(1.0, 2.0))).trials
    assert [t.plain["network"]["widths"] for t in trials] == [[8, 40, 10, 1], [16, 80, 20, 1]]
    assert [t.plain["data"] for t in trials] == ["sphere:N=20,d=8", "sphere:N=40,d=16"]


def test_a_statement_runs_over_its_sweep(tmp_path):
    found = check_sweep(
        ID, NET, "gaussian", 16, tmp_path, Engine(workers=0), seeds=1, factors=(0.5, 1.0)
    )
    assert (found.trials, found.failed) == (2, 0)
    assert found.claims
    assert all(c.constant_low <= c.constant_high for c in found.claims)
    assert {c["name"] for c in found.to_dict()["claims"]} == {c.name for c in found.claims}
    assert sum(found.outcomes.values()) == 2


def test_wrong_statements_and_networks():
    with pytest.raises(ValueError, match="did you mean"):
        sweep_settings("nguyen2021.theorem-4.2", NET, "gaussian", 20)
    with pytest.raises(ValueError, match="infinite"):
        sweep_settings(ID, Network([8, float("inf"), 1]), "gaussian", 20)


def test_check_sweep_on_the_command_line(tmp_path, capsys):
    options = ["--widths", "8,40,10,1", "--sweep", "--seeds", "1", "--workers", "0"]
    data = ["--data", "gaussian:N=12,d=8", "--out", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(["check", ID, *data, *options])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"{ID}: " in out
    assert "slope" in out
    (record,) = json.loads((tmp_path / "result.json").read_text())
    assert record["trials"] == 5
    with pytest.raises(SystemExit) as ended:
        main(["check", ID, "--data", "digits", *options])
    assert ended.value.code == 2
    assert "give a distribution" in capsys.readouterr().err

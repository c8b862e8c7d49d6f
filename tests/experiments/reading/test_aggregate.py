"""Tables of groups: means, standard errors and counts against NumPy; bad input by name."""

import math

import numpy as np
import pytest

from ntkscope.experiments.design.expressions import listed
from ntkscope.experiments.reading.table import Table

COLUMNS = ("n", "act", "seed", "lam", "lam.lower", "lam.status", "error")


def table():
    rng = np.random.default_rng(0)
    rows = [
        {
            "n": n,
            "act": a,
            "seed": s,
            "lam": float(rng.normal(n)),
            "lam.lower": 0.0,
            "lam.status": "OK",
        }
        for n in (4, 8)
        for a in ("relu", "tanh")
        for s in range(5)
    ]
    rows += [{"n": 16, "act": "relu", "seed": 0, "lam": 3.0, "lam.lower": 0.0, "lam.status": "OK"}]
    rows += [{"n": 32, "act": "relu", "seed": 0, "error": "ValueError: no"}]
    return Table(COLUMNS, tuple(rows))


def test_mean_error_and_count_of_each_point():
    made = table().aggregate()
    assert made.columns == ("n", "act", "lam.mean", "lam.error", "lam.n")
    assert len(made) == 6
    for row in made.records[:4]:
        values = table().where(n=row["n"], act=row["act"]).column("lam")
        assert row["lam.mean"] == pytest.approx(np.mean(values), rel=1e-14)
        assert row["lam.error"] == pytest.approx(np.std(values, ddof=1) / math.sqrt(5), rel=1e-12)
        assert row["lam.n"] == 5
    alone, failed = made.records[4:]
    assert (alone["lam.mean"], alone["lam.n"], "lam.error" in alone) == (3.0, 1, False)
    assert (failed["lam.n"], "lam.mean" in failed) == (0, False)
    assert made.to_csv().splitlines()[-1] == "32,relu,,,0"


def test_groups_and_expressions_that_are_asked_for():
    made = table().aggregate("n", y=["lam/n", "lam"])
    assert made.columns[1:] == (
        "lam/n.mean",
        "lam/n.error",
        "lam/n.n",
        "lam.mean",
        "lam.error",
        "lam.n",
    )
    for row in made.records[:2]:
        assert row["lam.n"] == 10
        assert row["lam/n.mean"] == pytest.approx(row["lam.mean"] / row["n"])
        assert row["lam/n.error"] == pytest.approx(row["lam.error"] / row["n"])


def test_without_variables_all_trials_are_one_group():
    made = Table(("seed", "lam"), ({"seed": 0, "lam": 1.0}, {"seed": 1, "lam": 2.0})).aggregate()
    assert made.records == ({"lam.mean": 1.5, "lam.n": 2, "lam.error": 0.5},)


def test_bad_input():
    with pytest.raises(ValueError, match="unknown column 'm'"):
        table().aggregate("m")
    with pytest.raises(ValueError, match="'act' holds 'relu': only numbers have a mean"):
        table().aggregate("n", y=["act"])
    with pytest.raises(ValueError, match="no empty part"):
        listed("a,,b")
    assert listed("lam, max(n, 3)/2,lam") == ("lam", "max(n, 3)/2")


def test_as_a_data_frame():
    pandas = pytest.importorskip("pandas")
    frame = table().to_pandas()
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == len(table())
    assert frame["lam"].isna().sum() == 1
    means = frame.groupby(["n", "act"])["lam"].mean()
    assert means.loc[(4, "tanh")] == pytest.approx(
        table().where(n=4, act="tanh").aggregate().records[0]["lam.mean"]
    )
    assert isinstance(frame, pandas.DataFrame)

"""Settings files: what they stand for, and every way to get them wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.trial_functions import settings
from ntkscope.experiments.design.expressions import evaluate, fill
from ntkscope.experiments.design.settings import Range, expand, read_settings
from ntkscope.experiments.figures.gallery import figures
from ntkscope.experiments.measures.registry import measure_of
from ntkscope.experiments.running.sweep import Sweep, interleave
from ntkscope.experiments.running.trial import streams, units

SMALL = {
    "name": "small",
    "seeds": 3,
    "grid": {"d": [4, 8], "N": [10, 20]},
    "data": "gaussian:N={N},d={d}",
    "network": {"widths": ["d", "2*N", 1]},
}


@given(st.integers(-50, 50), st.integers(1, 50))
def test_expressions_agree_with_python(a, b):
    text = "3*a - b // 2 + a % b + 2**(b % 4) - max(a, b) + (a < b) * 2"
    assert evaluate(text, {"a": a, "b": b}) == eval(text, {}, {"a": a, "b": b})  # the oracle
    assert fill("x={a+b},y={b}", {"a": a, "b": b}) == f"x={a + b},y={b}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os')", "not allowed|unknown function"),
        ("a.b", "not allowed"),
        ("c", "unknown variable"),
        ("1 +", "cannot read"),
        ("1/0", "has no value"),
        ("'text'", "not allowed"),
        ("[1]", "not allowed"),
    ],
)
def test_expressions_allow_arithmetic_alone(text, message):
    with pytest.raises(ValueError, match=message):
        evaluate(text, {"a": 1})


def test_a_grid_is_every_combination_with_every_seed():
    trials = Sweep(SMALL).trials
    assert len(trials) == 2 * 2 * 3
    assert len({t.key for t in trials}) == len(trials)
    assert trials[0].plain["network"]["widths"] == [4, 20, 1]
    assert dict(trials[-1].coordinates) == {"d": 8, "N": 20}


def test_points_define_where_and_repeated_layers():
    trials = Sweep(
        {
            **SMALL,
            "grid": {"L": [2, 4]},
            "points": [{"N": 10}, {"N": 200}],
            "define": {"d": "floor(sqrt(N))"},
            "where": "N < 100 or L == 2",
            "network": {"widths": ["d", "7 x L-1", 1]},
        }
    ).trials
    shapes = {tuple(t.plain["network"]["widths"]) for t in trials}
    assert shapes == {(3, 7, 1), (3, 7, 7, 7, 1), (14, 7, 1)}


def test_the_key_is_of_the_settings_and_not_of_the_grid():
    other = {**SMALL, "name": "other", "grid": {"N": [20], "d": [8]}, "seeds": 1}
    assert Sweep(other).trials[0].key in {t.key for t in Sweep(SMALL).trials}


def test_another_quantity_speaks_of_the_same_instance():
    one = Sweep(SMALL).trials[0].plain
    two = Sweep({**SMALL, "measure": ["trace", "layers"]}).trials[0].plain
    assert streams(one, 0, "data", "weights") == streams(two, 0, "data", "weights")
    assert streams(one, 0, "data") != streams(one, 1, "data")
    assert streams(one, 0, "data") != streams(one, 0, "weights")


def test_ranges():
    assert Range(start=1, stop=100, num=3, spacing="log").values() == [1, 10, 100]
    assert Range(start=5, stop=30, step=10).values() == [5, 15, 25]
    assert Range(start=0.0, stop=0.5, num=3).values() == [0.0, 0.25, 0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 0}, "at least 1"),
        ({"sedes": 3}, "did you mean 'seeds'"),
        ({"network": {"widths": ["d", 3, 1], "activaton": "relu"}}, "activation"),
        ({"measure": "lambda_mni"}, "did you mean 'lambda_min'"),
        ({"network": {"widths": ["d", "N/3", 1]}}, "no whole number"),
        ({"network": {"widths": ["q", 3, 1]}}, "unknown variable 'q'"),
        ({"network": {"widths": [5, 3, 1]}}, "takes 5 inputs"),
        ({"network": {"widths": ["d", 3, 1], "activation": "rleu"}}, "relu"),
        ({"data": "gausian:N={N},d={d}"}, "gaussian"),
        ({"data": None}, "settings need"),
        ({"where": "N > 100"}, "no points"),
        ({"grid": {"d": {"start": 1, "stop": 3}}}, "either num or step"),
        ({"grid": {"a b": [1]}}, "variables are names"),
        ({"measure": "no_such_module:f"}, "cannot import"),
        ({"measure": ["final_loss", "lambda_min"]}, "only measure"),
        ({"measure": "final_loss", "training": {"epochs": 0}}, "must be positive"),
        ({"seeds": 10_000_000}, "split the sweep"),
    ],
)
def test_wrong_settings_are_told(change, message):
    with pytest.raises(ValueError, match=message):
        Sweep({**SMALL, **change})


def test_files_that_are_no_settings(tmp_path):
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ValueError, match="not TOML"):
        read_settings(tmp_path / "bad.toml")
    with pytest.raises(FileNotFoundError, match="no settings file"):
        read_settings(tmp_path / "none.toml")


def test_the_beginning_of_the_order_spans_the_grid():
    trials = Sweep({**settings("normal", seeds=8, scales=16)}).trials
    order = interleave(trials)
    assert sorted(t.key for t in order) == sorted(t.key for t in trials)
    first = [dict(t.coordinates)["scale"] for t in order[:4]]
    assert max(first) - min(first) >= 12
    assert {t.seed for t in order[:16]} == {0}


def test_blocks_are_whole_whatever_is_asked_for():
    trials = expand(read_settings({**SMALL, "seeds": 20}))
    for unit in units(trials[3:18]):
        size = measure_of(unit.settings).block(unit.settings)
        assert len(unit.seeds) == size
        assert unit.seeds[0] % size == 0
        assert {t.seed for t in unit.trials} <= set(unit.seeds)


@pytest.mark.parametrize("scale", ["quick", "full"])
def test_every_figure_has_a_sweep_that_can_run(scale):
    for figure in figures():
        sweep = Sweep(figure.settings(scale))
        assert len({t.key for t in sweep.trials}) == len(sweep.trials)
        assert figure.claim
        assert figure.choices


def test_the_papers_sizes():
    sizes = {f.id: len(Sweep(f.settings("full")).trials) for f in figures()}
    assert sizes["bombari2022-figure-1"] == 600
    assert sizes["bombari2022-figure-2"] == 30 * 30 * 10
    assert sizes["banerjee2023-figure-1"] == 2 * 39 * 3

"""Settings files: what they stand for, and every way to get them wrong."""

from pathlib import Path

import pytest

from ntkscope.experiments.design.settings import Range, read_settings, with_plugins
from ntkscope.experiments.design.trial import streams
from ntkscope.experiments.sweep import Sweep

SMALL = {
    "name": "small",
    "seeds": 3,
    "grid": {"d": [4, 8], "N": [10, 20]},
    "data": "gaussian:N={N},d={d}",
    "network": {"widths": ["d", "2*N", 1]},
}
CALLED = {
    "name": "called",
    "measure": "experiments.trial_functions:normal",
    "seeds": 2,
    "grid": {"scale": [1.0]},
}
TRAINED = {**SMALL, "name": "trained", "measure": "final_loss", "training": {"epochs": 7}}


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
        ({"seeds": 0}, "greater than or equal to 1"),
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
        ({"measure": "final_loss", "training": {"epoch": 9}}, "did you mean 'epochs'"),
        ({"measure": ["lambda_min", "layers"], "batch": 4}, "leave it out"),
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


def test_a_key_stays_what_it_was():
    """Stores of older versions hold their trials under these names."""
    keys = {s["name"]: Sweep(s).trials[-1].key for s in (SMALL, CALLED, TRAINED)}
    assert keys == {
        "small": "trial-30a06cfdb9544857b67ad86a615477f2c7e36bfd",
        "called": "trial-7aafb0bcf90f3bfb58af27e3a838df4b2c2e6501",
        "trained": "trial-33e95ea77dd8f46bc903f669450bb797a82d53b1",
    }


def test_plugins_are_named_in_full(tmp_path):
    (tmp_path / "run.toml").write_text('name = "x"\nplugin = ["own.py", "a.module", "own.py"]')
    read = read_settings(tmp_path / "run.toml")
    assert read.plugin == [str(tmp_path / "own.py"), "a.module"]
    more = with_plugins(read, ["other.py", "a.module"])
    assert more.plugin == [*read.plugin, str(Path("other.py").resolve())]

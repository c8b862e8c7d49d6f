"""Settings of a sweep that would hang, exhaust memory or do nothing are refused before lists are built."""

import time

import pytest

from ntkscope.experiments.design.expansion import expand
from ntkscope.experiments.design.expressions import evaluate
from ntkscope.experiments.design.settings import read_settings

BASE = {
    "name": "limits", "grid": {"N": [10]}, "seeds": 1, "data": "gaussian:N={N},d=4",
    "network": {"widths": [4, 8, 1]},
}  # fmt: skip
WRONG = {
    "batch": ({"batch": -1}, "batch"),
    "large batch": ({"batch": 1_000_000}, "batch"),
    "threads": ({"threads": 100_000}, "threads"),
    "no threads": ({"threads": 0}, "threads"),
    "no measure": ({"measure": []}, "measure"),
    "training unmeasured": ({"training": {"epoch": 3}}, "final_loss"),
    "path": ({"name": "../../x"}, "name"),
    "absolute": ({"name": "/tmp/x"}, "name"),
    "steps": ({"grid": {"N": {"start": 0, "stop": 1e12, "step": 1}}}, "at most"),
    "tiny step": ({"grid": {"N": {"start": 0, "stop": 1, "step": 1e-308}}}, "at most"),
    "num": ({"grid": {"N": {"start": 0, "stop": 1, "num": 1_000_000_000}}}, "num must be within"),
    "infinite": ({"grid": {"N": [float("inf")]}}, "finite"),
    "nan": ({"grid": {"N": [float("nan")]}}, "finite"),
    "product": ({"grid": {k: list(range(1000)) for k in "NMKJI"}}, "more than"),
    "depth": ({"network": {"widths": [4, "8 x 100000000", 1]}}, "at most"),
    "no number of layers": ({"network": {"widths": [4, "8 x 1e308*10", 1]}}, "whole number"),
    "where": ({"where": "9**9**9 > N"}, "no value"),
    "define": ({"define": {"M": "10**400"}}, "no value"),
    "deep": ({"define": {"M": "(" * 400 + "N" + ")" * 400}}, "expression"),
    "long": ({"define": {"M": "N+" * 600 + "N"}}, "characters"),
    "string": ({"grid": {"N": ["a"]}, "define": {"M": "N*3000000000"}}, "no value"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_refused_at_once(name):
    change, words = WRONG[name]
    begin = time.perf_counter()
    with pytest.raises(ValueError, match=words):
        expand(read_settings(BASE | change))
    assert time.perf_counter() - begin < 20  # a hang, not a benchmark


def test_training_options_are_known():
    settings = BASE | {"measure": "final_loss", "training": {"epoch": 3}}
    from ntkscope.experiments.sweep import Sweep

    with pytest.raises(ValueError, match="did you mean 'epochs'"):
        Sweep(settings)
    with pytest.raises(ValueError, match="epochs must be positive"):
        Sweep(BASE | {"measure": "final_loss", "training": {"epochs": -1}})


@pytest.mark.parametrize(
    ("text", "value"),
    [("2**10", 1024), ("2**0.5", 2**0.5), ("10**20", 10**20), ("-3**2", -9), ("7 // 2", 3)],
)
def test_ordinary_expressions_keep_their_values(text, value):
    assert evaluate(text, {}) == value
    assert type(evaluate(text, {})) is type(value)

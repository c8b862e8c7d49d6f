"""The arithmetic of settings files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntkscope.experiments.design.expressions import evaluate, fill


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

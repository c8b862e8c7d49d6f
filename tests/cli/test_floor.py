"""``ntkscope floor``."""

import json

import pytest

import ntkscope as ntk
from ntkscope.cli.main import main

NET = ["--data", "sphere:N=300,d=16", "--widths", "16,100,100,1"]


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["floor", *arguments])
    return ended.value.code


def test_bounds_in_text_and_json(capsys):
    assert run(*NET) == 0
    assert "λ_min in [" in capsys.readouterr().out
    assert run(*NET, "--measure", "2", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    X = ntk.data.load("sphere:N=300,d=16").X
    least = ntk.smallest_eigenvalue(ntk.limiting_kernel(ntk.Network([16, 100, 100, 1]), X))
    assert 0 < found["lower"] < least.value < found["upper"]
    assert found["proved"] is True


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--measure", "two"], "--measure is a list of powers"),
        (["--degree", "-1"], "degree must be within"),
        (["--activation", "tanh", "--data", "gaussian:N=10,d=16"], "scale the rows to one norm"),
    ],
)
def test_bad_input_is_one_line(option, said, capsys):
    assert run(*NET, *option) == 2
    out = capsys.readouterr().err
    assert said in out
    assert "Traceback" not in out

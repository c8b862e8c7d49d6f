"""`ntkscope hermite` as a user types it."""

import json

import pytest

from ntkscope.cli.main import main


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_table_numbers_and_figure(capsys, tmp_path):
    code, text, _ = run(capsys, "hermite", "tanh", "--variance", "1.3", "--order", "12")
    assert code == 0
    assert "ν₀²" in text
    path = tmp_path / "tanh.png"
    code, text, _ = run(capsys, "hermite", "relu", "--order", "4", "--json", "--plot", str(path))
    record = json.loads(text)
    assert code == 0
    assert record["second_moment"] == 0.5
    assert record["nu0_sq"] == 2.0
    assert path.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["tanhh"], "did you mean 'tanh'"),
        (["tanh", "--variance", "0"], "above 0"),
        (["tanh", "--order", "-1"], "order"),
        (["tanh", "--plot", "x.docx"], "docx"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, word):
    code, _, err = run(capsys, "hermite", *arguments)
    assert code == 2
    assert word in err
    assert err.count("\n") == 1

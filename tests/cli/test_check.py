"""``ntkscope check``: listing, running, files, and what it says to bad input."""

import json
import subprocess
import sys

import pytest
from rich.cells import cell_len

from ntkscope.cli.main import main

SMALL = ["--data", "gaussian:N=12,d=5", "--widths", "5,16,8,1", "--samples", "64", "--trials", "5"]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["check", *arguments])
    captured = capsys.readouterr()
    return stop.value.code or 0, captured.out, captured.err


def test_list_names_every_statement(capsys):
    import ntkscope as ntk

    code, out, _ = run(capsys, "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [s.id for s in ntk.statements()]


def test_one_statement_prints_its_table(capsys):
    code, out, _ = run(capsys, "nguyen2021.eq-26", *SMALL)
    assert code == 0
    assert "outcome: identities only" in out
    assert "Steps" in out


def test_a_paper_writes_page_and_json(capsys, tmp_path):
    code, _, _ = run(capsys, "--paper", "nguyen2021", *SMALL, "--out", str(tmp_path / "check"))
    assert code == 0
    records = json.loads((tmp_path / "check" / "result.json").read_text())
    page = (tmp_path / "check" / "report.html").read_text()
    assert len(records) > 30
    for record in records:
        assert record["id"] in page
    assert "http://" not in page.split("</script>")[-1]


def test_the_reproducing_line_reproduces(capsys):
    _, out, _ = run(capsys, "nguyen2021.lemma-5.4", *SMALL, "--json")
    record = json.loads(out)[0]
    command = record["command"].split()
    assert command[:2] == ["ntkscope", "check"]
    _, again, _ = run(capsys, *command[2:], "--json")
    assert json.loads(again)[0]["inequalities"] == record["inequalities"]


def test_latex_is_a_table(capsys):
    _, out, _ = run(capsys, "nguyen2021.eq-27", *SMALL, "--latex")
    assert out.count(r"\begin{tabular}") == out.count(r"\end{tabular}") == 1
    assert "seed 0" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nguyen2021.lemma-54", *SMALL], "did you mean 'nguyen2021.lemma-5.4'"),
        (["lemma-4.3", *SMALL], "'nguyen2021.lemma-4.3' or 'banerjee2023.lemma-4.3'"),
        (SMALL, "say which statements"),
        (["--paper", "nguyen2012", *SMALL], "did you mean 'nguyen2021'"),
        (["nguyen2021.eq-5"], "--data is needed"),
        (["nguyen2021.eq-5", "--data", "gaussian:N=5,d=3", "--widths", "4,3,1"], "3 features"),
        (["nguyen2021.eq-5", "--data", "gaussian:N=5,d=4", "--widths", "4,3,2"], "one output"),
        (["nguyen2021.eq-5", *SMALL, "--trials", "9" * 30], "trials must be at most 1,000,000"),
        *(
            (["nguyen2021.eq-5", *SMALL, "--delta", delta], f"0 < delta < 1, got {shown}")
            for delta, shown in (
                ("nan", "nan"),
                ("1", "1.0"),
                ("2", "2.0"),
                ("0", "0.0"),
                ("-0.1", "-0.1"),
            )
        ),
        *(
            (["nguyen2021.eq-5", *SMALL, option, value], f"at least {least}, got {value}")
            for option, value, least in (
                ("--trials", "0", 1),
                ("--trials", "-5", 1),
                ("--samples", "0", 2),
                ("--samples", "1", 2),
                ("--samples", "-3", 2),
            )
        ),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, message):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_help_does_not_load_torch():
    code = (
        "import sys\nfrom ntkscope.cli.main import main\n"
        "try:\n    main(['check', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_inspect_shows_the_statements_that_apply(capsys, tmp_path):
    network = ["--data", "gaussian:N=6,d=4", "--widths", "4,8,5,1", "--activation", "tanh"]
    with pytest.raises(SystemExit) as stop:
        main(["inspect", *network, "--statements", "--out", str(tmp_path)])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert "nguyen2021.eq-26" in out
    assert "nguyen2021.theorem-4.1" not in out  # it asks for ReLU
    ids = {r["id"] for r in json.loads((tmp_path / "statements" / "result.json").read_text())}
    assert "nguyen2021.eq-27" in ids


def test_ids_are_whole_in_eighty_columns_and_options_have_their_help(capsys, monkeypatch):
    from ntkscope.statements.registry import statements

    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run(capsys, "--paper", "banerjee2023", *SMALL)
    for s in statements("banerjee2023"):
        assert f" {s.id} " in out
    assert max(map(cell_len, out.splitlines())) <= 80
    _, out, _ = run(capsys, "--help")
    assert "Subtract the mean row" in out

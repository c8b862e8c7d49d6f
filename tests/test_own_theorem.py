"""docs/tutorials/run-your-own-theorem.md: its file, copied away from here, with the page's own commands."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tutorials" / "run-your-own-theorem.md").read_text()
COMMANDS = re.findall(r"^ntkscope (.+)$", PAGE, re.MULTILINE)
LESS = {"falsify": ["--trials", "4", "--seconds", "3"], "sweep": ["--workers", "0", "--quiet"],
        "reproduce": ["--workers", "0", "--quiet"]}  # fmt: skip


# one process for all: a plugin stays out of the other tests, and torch is imported once
RUN = """
import contextlib, io, json, sys
from ntkscope.cli.main import main
shown = []
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main(arguments)
        except SystemExit as stop:
            shown.append((stop.code or 0, out.getvalue()))
print(json.dumps(shown))
"""


def ntkscope(folder, *commands):
    """(exit code, output) of each command, run in a folder far from the package."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)], cwd=folder, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("elsewhere")
    shutil.copy(ROOT / "examples" / "own_theorem.py", made)
    (settings,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (made / "own.toml").write_text(settings)
    return made


def test_the_pages_commands_run_in_their_order(folder):
    commands = [[verb, *rest, *LESS.get(verb, [])] for verb, *rest in map(shlex.split, COMMANDS)]
    found, errors = ntkscope(folder, *commands)
    assert [code for code, _ in found] == [0] * len(commands), errors
    shown = {command[0]: out for command, (_, out) in zip(commands, found, strict=True)}
    assert list(shown) == ["check", "falsify", "sweep", "fit", "reproduce"]
    assert "outcome: holds: λ_min(K) ≤ min K_ii − K_ij²/K_jj" in shown["check"]
    assert "own2027.neighbour" in shown["falsify"]
    assert "refuted" not in shown["falsify"]
    assert "lambda_min/complement = c · d^0" in shown["fit"]
    assert "of the bound" in shown["reproduce"]
    made = folder / "out/reproduce/own2027-neighbour-quick"
    for name in ("own2027-neighbour.png", "own2027-neighbour.csv", "result.json", "report.html"):
        assert (made / name).exists()


@pytest.mark.slow
def test_the_pages_false_version_is_refuted(folder):
    source = (folder / "own_theorem.py").read_text()
    broken = source.replace(
        "Quantity(float(complement(i.K))", "Quantity(0.5 * float(complement(i.K))"
    )
    broken = broken.replace("smallest_of([K[i, i]", "smallest_of([0.5 * K[i, i]").replace(
        "- K[i, j] ** 2", "- 0.5 * K[i, j] ** 2"
    )
    assert broken.count("0.5 *") == 3
    (folder / "false_theorem.py").write_text(broken)
    [(code, out)], errors = ntkscope(
        folder,
        [
            "falsify",
            "own2027.neighbour",
            "--plugin",
            "false_theorem.py",
            "--trials",
            "20",
            "--seconds",
            "8",
        ],
    )
    assert code == 0, errors
    assert "refuted in ball arithmetic" in out


def test_the_pages_excerpts_are_those_of_the_file():
    source = "".join((ROOT / "examples" / "own_theorem.py").read_text().split())
    excerpts = re.findall(r"```py\n(.*?)```", PAGE, re.DOTALL)
    for line in "\n".join(excerpts).splitlines():
        line = re.sub(r"\(b\)|\(i, out\)", "", line)
        if line.strip() and "…" not in line and not line.startswith("def "):
            assert "".join(line.split()) in source, line

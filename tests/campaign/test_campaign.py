"""A small campaign, and that a campaign sees what it looks for."""

import random

import pytest

from campaign import commands, kills, runs
from campaign.__main__ import PARTS, tried


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_small_campaign(part):
    most = {"commands": 150, "kills": 6, "flips": 25, "fuzz": 20_000}[part]
    count, broken = tried(part, random.randrange(10**6), 600.0, most)
    assert count >= most / 10
    assert broken == []


def test_every_command_has_a_line_and_every_option_a_bad_value():
    declared = commands.declared()
    assert set(declared) == set(commands.LINES)
    covered = {(case.command, case.option) for case in commands.cases()}
    for name, command in declared.items():
        wanted = {p.name for p in command.params if commands.takes_a_value(p)}
        assert wanted <= {option for of, option in covered if of == name}


def test_what_a_run_may_not_do_is_seen():
    def ended(code=2, said="ntkscope: no\n", left=()):
        return runs.Run((), code, said, 0.1, left)

    assert ended().faults() == []
    assert ended(0, "fine").faults() == []
    assert ended(0, "fine").faults(must_refuse=True) == ["accepted"]
    assert ended(None, "").faults()[0].startswith("no end")
    assert ended(1, "Traceback (most recent call last):\n").faults() == ["traceback"]
    assert ended(said="ntkscope: \x1b[31m\n").faults() == ["escape sequence in the output"]
    assert ended(said="").faults() == ["0 lines of refusal"]
    assert ended(left=("a/x.npy.part",)).faults() == ["left a/x.npy.part"]
    assert ended(-9).faults() == ["exit code -9"]


def test_a_run_in_a_fork_is_followed(tmp_path):
    good = runs.run(["hermite", "relu"], tmp_path)
    assert good.code == 0
    assert "Hermite" in good.said or "relu" in good.said
    bad = runs.run(["hermite", "relu", "--order", "x"], tmp_path)
    assert bad.code == 2
    assert bad.faults(must_refuse=True) == []
    late = runs.run(["hermite", "relu"], tmp_path, seconds=0.0)
    assert late.code is None


def test_times_are_left_out_of_results():
    assert kills.without_times({"a": [{"seconds": 1, "b": 2}], "peak_memory": 3}) == {
        "a": [{"b": 2}]
    }

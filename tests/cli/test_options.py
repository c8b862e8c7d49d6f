"""Options that commands share, from the command line and from a file."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from ntkscope.cli.main import main
from ntkscope.cli.settings import as_typed, read


@dataclass(frozen=True, kw_only=True)
class Some:
    data: str
    bias_std: float | None = None
    count: int = 3
    fast: bool = False
    out: Path | None = None


def test_the_command_line_overrides_the_file(tmp_path):
    (tmp_path / "a.toml").write_text('data = "x"\ncount = 5\nbias_std = 1\nout = "b/c"\n')
    made = read(Some, tmp_path / "a.toml", {"count": 7, "fast": None})
    assert made == Some(data="x", bias_std=1.0, count=7, out=Path("b/c"))
    assert type(made.bias_std) is float
    assert as_typed(made) == "--data x --bias-std 1.0 --count 7 --out b/c"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("count = 5", "--data is needed"),
        ('data = "x"\ncount = true', "count: expected int, got True"),
        ('data = "x"\ncount = 1.5', "count: expected int, got 1.5"),
        ('data = "x"\nfast = 1', "fast: expected bool, got 1"),
        ("data = 3", "data: expected str, got 3"),
        ('data = "x"\nbias_std = "y"', "bias_std: expected float, got 'y'"),
        ('data = "x"\ncuont = 1', "did you mean 'count'"),
    ],
)
def test_bad_files_are_told(tmp_path, text, said):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ValueError, match=said):
        read(Some, tmp_path / "a.toml", {})


def test_every_grouped_command_reads_a_file(tmp_path, capsys):
    config = tmp_path / "net.toml"
    config.write_text(f'widths = [3, 8, 1]\nseed = 4\nout = "{tmp_path}/found.json"\n')
    with pytest.raises(SystemExit) as stop:
        main(["lipschitz", "--config", str(config), "--layer", "2", "--steps", "5", "--json"])
    assert stop.value.code == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "found.json").read_text())
    assert printed["network"]["widths"] == [3, 8, 1]
    assert [i["layer"] for i in printed["intervals"]] == [2]
    assert printed["seed"] == 4

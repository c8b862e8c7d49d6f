"""Bad input for every option of every command, from the option's own declaration.

A command needs a line that works (:data:`LINES`); each of its options is then given each bad value
of its type in turn. A new option is covered when it is declared, a new command when it has a line.
"""

from __future__ import annotations

import importlib
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from campaign.runs import run
from ntkscope.cli.main import COMMANDS

DATA = "gaussian:N=6,d=4"
NET = ["--data", DATA, "--widths", "4,6,1"]
# every command, or command and subcommand, with arguments that work in the folder of :func:`prepare`
LINES: dict[str, list[str]] = {
    "inspect": NET,
    "limit": ["--data", "file.npy", "--model", "model.py:build"],
    "kernel": [*NET, "--out", "made.zarr"],
    "floor": ["--data", DATA, "--widths", "4,inf,1", "--parameterization", "ntk"],
    "falsify": ["nguyen2021.lemma-5.5", "--trials", "2", "--seconds", "2"],
    "lipschitz": ["--widths", "2,4,1", "--starts", "1", "--steps", "2"],
    "check": ["nguyen2021.lemma-5.5", *NET, "--trials", "3", "--samples", "64"],
    "cite": [],
    "hermite": ["relu"],
    "train": [*NET, "--targets", "random", "--steps", "3"],
    "width": ["--data", DATA, "--target-lambda-min", "0.1", "--max-width", "64"],
    "memorize": [*NET, "--certificate-only"],
    "sweep run": ["sweep.toml", "--out", "swept", "--quiet", "--workers", "0"],
    "sweep status": ["stored"],
    "sweep export": ["stored"],
    "sweep plot": ["stored", "--x", "N"],
    "eig": ["K.npy"],
    "fit": ["stored", "--x", "N"],
    "reproduce": ["--list"],
    "explore": ["--out", "explorer.html"],
    "predict": ["--widths", "4,8,1", "--samples", "100"],
}
# what these take is more than their type says: a 0, a negative number or a word may be right
_LONG = "9" * 400
NUMBERS = ["", "abc", "nan", "-nan", "1e", "0x", "1,2", "one", "[red]1[/red]", "\x1b[31m1", "١x"]
INTEGERS = [*NUMBERS, "1.5", "inf", "-inf", "1e400"]
WHATEVER = ["0", "-1", "-0", "1e308", "-1e308", "1e-320", "inf", "-inf", "9" * 19, "9" * 30, _LONG]
TEXTS = [
    "", " ", ",", ":", "=", "💥", "nan", "-1", "0", "[red]x[/red]", "[/]", "\x1b[31mred\x1b[0m",
    "a" * 100_000, "../../../x", "/", "\\", "'", '"', "%s%n", "{}", "${HOME}", "a\nb",
    "gaussian:N=", "gaussian:N=nan,d=4", "gaussian:N=-1,d=4", "gaussian:N=1e12,d=4",
    "gaussian:N=6,d=4,N=7", "gaussian:N=6,d=4,what=1", "gaussian:N=6;d=4", "sphere:N=1,d=0",
    "9**9**9", "__import__('os').system('true')", "4,-6,1", "4,0,1", "4,1e12,1", "4,nan,1", "4",
    "4,,1", "4,6,1,", "inf,inf,inf", "relu:", "relu:alpha=", "leaky_relu:alpha=nan",
    "leaky_relu:alpha=1e400", "he:x=1", "missing.py:build", "missing.npy", "empty.npy",
    "garbage.npz", "garbage.pt", "[red]x[/red].npy", "objects.npy", "nan.npy", "text.csv", ".",
    "/dev/null", "model.py", "model.py:", "model.py:missing", "model.py:raises", "model.py:exits",
    "model.py:number", "K.npy:x", "file.npy:0",
]  # fmt: skip
PATHS = [*TEXTS, "/proc/nowhere/x", "/dev/full", "file.npy/x", "link", "x/" * 2000, "a\0b"]


@dataclass(frozen=True)
class Case:
    """One command line; must_refuse: its value is none of its option's type."""

    command: str
    option: str
    arguments: tuple[str, ...]
    must_refuse: bool

    def __str__(self) -> str:
        shown = [a if len(a) < 60 else f"{a[:50]}…({len(a)})" for a in self.arguments]
        return " ".join(repr(a)[1:-1] for a in shown)


def prepare(folder: Path) -> None:
    """The files that lines and values name."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((6, 4))
    np.save(folder / "file.npy", X)
    np.save(folder / "K.npy", X @ X.T + np.eye(6))
    (folder / "[red]x[").mkdir()
    np.save(folder / "[red]x[" / "red].npy", X)  # a name that reads as markup
    np.save(folder / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(folder / "nan.npy", np.full((6, 4), np.nan))
    (folder / "empty.npy").write_bytes(b"")
    (folder / "garbage.npz").write_bytes(b"PK\3\4 not an archive")
    (folder / "garbage.pt").write_bytes(bytes(range(256)))
    (folder / "text.csv").write_text("a,b\n1,x\n2\n")
    (folder / "link").symlink_to(folder / "nowhere" / "at" / "all")
    (folder / "model.py").write_text(
        "import sys\nfrom torch import nn\n"
        "def build():\n    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1))\n"
        "def raises():\n    raise RuntimeError('[red]no[/red]')\n"
        "def exits():\n    sys.exit(7)\nnumber = 3\n"
    )
    (folder / "sweep.toml").write_text(SWEEP)
    made = run(
        ["sweep", "run", "sweep.toml", "--out", "stored", "--quiet", "--workers", "0"], folder
    )
    if made.code != 0:
        raise RuntimeError(f"the sweep that others read cannot be made: {made.said}")


SWEEP = """\
name = "small"
measure = ["lambda_min"]
seeds = 2
data = "gaussian:N={N},d={d}"
grid = { d = [4], N = [4, 6] }
network = { widths = ["d", 8, 1], activation = "relu", init = "he" }
plot = { x = "N" }
"""


def declared() -> dict[str, Any]:
    """Every command, or command and subcommand, as the command line library holds it."""
    import typer

    found: dict[str, Any] = {}
    for name, (module, _) in COMMANDS.items():
        command = typer.main.get_command(importlib.import_module(module).app)
        inside = getattr(command, "commands", None)
        if inside:
            found |= {f"{name} {sub}": one for sub, one in inside.items()}
        else:
            found[name] = command
    return found


def cases(names: list[str] | None = None) -> Iterator[Case]:
    """Every option of every command with every bad value of its type."""
    for name, command in declared().items():
        if names and name not in names:
            continue
        line = LINES[name]
        for parameter in command.params:
            for value, refuse in _values(parameter):
                yield Case(name, parameter.name, _with(name, line, parameter, value), refuse)
            if parameter.opts and parameter.opts[0].startswith("-") and not parameter.is_flag:
                yield Case(name, parameter.name, (*name.split(), *line, parameter.opts[0]), True)
        for extra in ("--no-such-option", "-x", "surplus", "--"):
            yield Case(name, extra, (*name.split(), *line, extra), extra != "--")


def takes_a_value(parameter: Any) -> bool:
    """Flags do not."""
    return _kind(parameter) is not bool


def _kind(parameter: Any) -> type:
    kind = parameter.type_descriptor.annotation
    inside = [a for a in typing.get_args(kind) if a is not types.NoneType]
    return inside[0] if inside else kind


def _values(parameter: Any) -> Iterator[tuple[str, bool]]:
    kind = _kind(parameter)
    if not takes_a_value(parameter):
        return
    if kind is int:
        yield from ((v, True) for v in INTEGERS)
        yield from ((v, False) for v in WHATEVER)
    elif kind is float:
        yield from ((v, v not in ("nan", "-nan")) for v in NUMBERS)
        yield from ((v, v in ("nan", "-nan")) for v in (*WHATEVER, "nan"))
    elif kind is Path:
        yield from ((v, False) for v in PATHS)
    else:
        yield from ((v, False) for v in TEXTS)


def _with(name: str, line: list[str], parameter: Any, value: str) -> tuple[str, ...]:
    """The line with one value changed or added."""
    words = name.split()
    option = parameter.opts[-1] if parameter.opts else parameter.name
    if not option.startswith("-"):  # an argument: the first of the line
        return (*words, value, *line[1:])
    if option in line:
        at = line.index(option)
        return (*words, *line[:at], option, value, *line[at + 2 :])
    return (*words, *line, option, value)

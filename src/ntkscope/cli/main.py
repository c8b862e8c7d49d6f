"""The command line: parse, call the library, render. Each command is a file of its own here."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any, NoReturn

from ntkscope._base.extras import needs
from ntkscope._base.specs import unknown
from ntkscope._base.version import __version__

with needs("cli"):
    import typer

    from ntkscope.cli.examples import examples

# group → command → (module, what it does); a module is imported when its command runs, so that
# --help does not wait for torch. It holds `app`, a typer.Typer of one command or of several.
GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Measure": {
        "inspect": ("ntkscope.cli.inspect", "Measure a network's NTK on data: λ_min, layers, bounds."),
        "eig": ("ntkscope.cli.eig", "λ_min of a matrix in a file, as a certified interval."),
        "kernel": ("ntkscope.cli.kernel", "Write a kernel to a folder, tile by tile; resumes."),
        "lipschitz": ("ntkscope.cli.lipschitz", "Enclose the Lipschitz constants of the feature maps."),
    },
    "Predict and bound": {
        "predict": ("ntkscope.cli.predict", "Predict λ_min from widths, N and d alone, before any data."),
        "limit": ("ntkscope.cli.limit", "The infinite-width kernel of a model, written to a file."),
        "floor": ("ntkscope.cli.floor", "Proved bounds on λ_min of a limiting kernel at any N."),
        "hermite": ("ntkscope.cli.hermite", "Hermite coefficients of an activation, c and ν₀²."),
        "explore": ("ntkscope.cli.explore", "Write an offline page with sliders: λ_min, bounds, spectrum."),
    },
    "Theory": {
        "check": ("ntkscope.cli.check", "Run the papers' statements on a network and data."),
        "falsify": ("ntkscope.cli.falsify", "Search for a counterexample to a statement."),
        "cite": ("ntkscope.cli.cite", "BibTeX of ntkscope and of the papers it runs."),
    },
    "Training": {
        "train": ("ntkscope.cli.train", "Gradient descent beside what λ_min promises of it."),
        "width": ("ntkscope.cli.width", "The smallest width that reaches a λ_min or a training time."),
        "memorize": ("ntkscope.cli.memorize", "Whether N labels can be fitted, and a network that does."),
    },
    "Sweeps and figures": {
        "sweep": ("ntkscope.cli.sweep", "Run many trials from one settings file; resume, export, plot."),
        "fit": ("ntkscope.cli.fit", "The constant of a scaling law, from a sweep or a table."),
        "reproduce": ("ntkscope.cli.reproduce", "Make a figure of the papers: data, fits and verdict."),
    },
}  # fmt: skip
COMMANDS = {name: about for group in GROUPS.values() for name, about in group.items()}

# typer carries click's classes under its own name in some versions; this one is in all of them
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
_GROUP: Any = typer.core.TyperGroup
_LONGEST_LINE = 1000
_INTERRUPTED = "interrupted; nothing was left half-written"


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; bad input ends with one readable line and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = _run(arguments)
    except (typer.Abort, KeyboardInterrupt):
        _fail(_INTERRUPTED, 130)
    except _UsageError as error:
        _fail(f"{error.format_message()} (see ntkscope {_name(arguments)} --help)", 2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (ValueError, TypeError, OSError, MemoryError, ImportError) as error:
        if os.environ.get("NTKSCOPE_TRACEBACK"):
            raise
        _fail(str(error) or type(error).__name__, 2)
    except OverflowError as error:
        if os.environ.get("NTKSCOPE_TRACEBACK"):
            raise
        _fail(
            f"a number leaves the range of float64 ({error.args[-1]}); scale the data or --init", 2
        )
    except RecursionError:
        if os.environ.get("NTKSCOPE_TRACEBACK"):
            raise
        _fail("what was given is nested too deeply; give a shorter path or a flatter file", 2)
    except RuntimeError as error:
        # torch has a class of its own for devices, and for this machine none
        if type(error).__name__ != "OutOfMemoryError" and "allocate memory" not in str(error):
            raise
        _fail(f"memory ran out ({error}); use fewer samples or smaller widths", 2)
    if code == 130:  # what typer makes of Ctrl-C, without a word
        _fail(_INTERRUPTED, code)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    command = typer.main.get_command(_overview())
    code = command.main(args=arguments or ["--help"], prog_name="ntkscope", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _name(arguments: list[str]) -> str:
    return arguments[0] if arguments and not arguments[0].startswith("-") else ""


class _Commands(_GROUP):  # type: ignore[misc]  # typer's group is Any to mypy
    """Lists every command without importing any; imports the one that runs or is completed."""

    def resolve_command(self, context: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        name, *rest = args
        if name in COMMANDS:
            app = importlib.import_module(COMMANDS[name][0]).app
            return name, typer.main.get_command(app), rest
        if context.resilient_parsing:  # a word that is being completed
            return None, None, args
        raise ValueError(unknown("command", name, COMMANDS))


def _overview() -> typer.Typer:
    """All commands, each with its line: the page of ``ntkscope --help``."""
    app = typer.Typer(
        cls=_Commands,
        pretty_exceptions_enable=False,
        epilog=examples(
            "ntkscope predict --widths 100,inf,1 --samples 1000",
            "ntkscope inspect --data digits --widths 64,2048,512,1 --out out/digits",
            "ntkscope COMMAND --help",
        ),
    )

    @app.callback()
    def root(
        version: bool = typer.Option(
            False, "--version", callback=_version, is_eager=True, help="Print the version."
        ),
    ) -> None:
        """Measure, bound, predict and reproduce the spectrum of the neural tangent kernel."""

    for group, commands in GROUPS.items():
        for name, (_, line) in commands.items():
            app.command(name, help=line, rich_help_panel=group)(lambda: None)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ntkscope {__version__}")
        raise typer.Exit


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"ntkscope: {_readable(message)}", err=True)
    sys.exit(code)


def _readable(message: str) -> str:
    """One line that a terminal can show: what the user gave may be long, or drive the terminal."""
    line = " ".join(message.split())
    if len(line) > _LONGEST_LINE:
        half = _LONGEST_LINE // 2
        line = f"{line[:half]} … {line[-half:]}"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)

"""Options that several commands share: which data, which network."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ntkscope._base.files import no_file
from ntkscope.cli import completion, progress
from ntkscope.cli.examples import examples
from ntkscope.cli.settings import read

if TYPE_CHECKING:
    from ntkscope.data import Dataset
    from ntkscope.networks.network import Network

_DATA, _NETWORK = "Data", "Network"  # panels of the help
OUTPUT = "Output and settings"


def option(help: str, *names: str, panel: str | None = None, **more: Any) -> Any:
    """An option in a panel of the help."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **more)


Data = Annotated[
    str,
    option(
        "digits, breast_cancer, diabetes, wine, iris; gaussian:N=1000,d=100 (sphere, cube, "
        "binary, generated, circle, equispaced); or a file: data.npy, data.npz:X, data.csv, "
        "data.parquet, data.pt:X (of a --model's several inputs: tokens.npz, arrays by keyword)",
        panel=_DATA, metavar="SOURCE", autocompletion=completion.data,
    ),
]  # fmt: skip
Center = Annotated[bool, option("Subtract the mean row.", panel=_DATA)]
Scale = Annotated[bool, option("Scale every row to norm √d (after centring).", panel=_DATA)]
Targets = Annotated[
    str,
    option(
        "auto (two classes: −1, +1; otherwise the numbers), signs, real, random:seed=0",
        panel=_DATA, metavar="KIND", autocompletion=completion.of("auto", "signs", "real", "random"),
    ),
]  # fmt: skip
Seed = Annotated[
    int, option("Seed of the weights, and of synthetic data.", panel=_DATA, metavar="N")
]

Widths = Annotated[
    str,
    option("Inputs, hidden layers, outputs; inf for an infinite layer.", panel=_NETWORK, metavar="N0,…,NL"),
]  # fmt: skip
MaybeWidths = Annotated[str | None, *Widths.__metadata__]
Activation = Annotated[
    str,
    option(
        "relu, leaky_relu:alpha=0.1, abs, sigmoid, tanh, erf, gelu, silu, softplus:beta=1, "
        "sin, identity",
        panel=_NETWORK, metavar="NAME", autocompletion=completion.activations,
    ),
]  # fmt: skip
Init = Annotated[
    str,
    option(
        "he, lecun, unit, bombari2022, bombari2022-paired, banerjee2023, or β_1,…,β_L",
        panel=_NETWORK, metavar="NAME|β_1,…,β_L", autocompletion=completion.initializations,
    ),
]  # fmt: skip
ParameterizationOption = Annotated[
    str,
    option(
        "standard or ntk", "--parameterization", panel=_NETWORK, metavar="NAME",
        autocompletion=completion.of("standard", "ntk"),
    ),
]  # fmt: skip
Weights = Annotated[
    str,
    option(
        "gaussian, uniform, rademacher or orthogonal entries.", panel=_NETWORK, metavar="LAW",
        autocompletion=completion.of("gaussian", "uniform", "rademacher", "orthogonal"),
    ),
]  # fmt: skip
BiasStd = Annotated[
    float | None,
    option("Biases N(0, s²) in every layer; off by default.", panel=_NETWORK, metavar="S"),
]
Residual = Annotated[
    float,
    option("f_l = f_(l-1) + α φ(g_l); 0: a plain network.", panel=_NETWORK, metavar="α"),
]

Model = Annotated[
    str | None,
    option(
        "Your own model in place of --widths: file.py:build or package.module:name. "
        "This runs that code.",
        panel=_NETWORK, metavar="FILE.py:NAME",
    ),
]  # fmt: skip
Weighting = Annotated[
    str | None,
    option(
        "Weights for --model: .pt (state_dict, never code) or .safetensors.", "--checkpoint",
        panel=_NETWORK, metavar="FILE",
    ),
]  # fmt: skip
Dtype = Annotated[
    str,
    option(
        "float64 or float32.", metavar="TYPE", autocompletion=completion.of("float64", "float32")
    ),
]

Device = Annotated[
    str,
    option(
        "Where numbers are crunched: cpu, cuda, cuda:1.", "--device", metavar="DEVICE",
        autocompletion=completion.of("cpu", "cuda"),
    ),
]  # fmt: skip

Out = Annotated[
    str | None,
    option("Folder for the page, result.json and the network.", panel=OUTPUT, metavar="DIR"),
]
Style = Annotated[
    str,
    option(
        "Of the picture: screen, or a paper's column: paper (3.25 in), paper:double (6.75 in).",
        "--style", panel=OUTPUT, metavar="STYLE",
        autocompletion=completion.of("screen", "paper", "paper:double"),
    ),
]  # fmt: skip
Json = Annotated[bool, option("Print JSON instead of text and tables.", "--json", panel=OUTPUT)]
Quiet = Annotated[bool, option("No progress on stderr.", "--quiet", panel=OUTPUT)]
Config = Annotated[
    Path | None,
    option("A TOML file with any of these settings.", panel=OUTPUT, metavar="FILE.toml"),
]


def out(help: str, metavar: str = "DIR") -> Any:
    """The option ``--out`` of a command that writes something of its own."""
    return option(help, panel=OUTPUT, metavar=metavar)


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which data."""

    data: Data
    center: Center = False
    scale: Scale = False


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """Which network; defaults live here and nowhere else."""

    widths: Widths
    activation: Activation = "relu"
    init: Init = "he"
    parameterization: ParameterizationOption = "standard"
    weights: Weights = "gaussian"
    bias_std: BiasStd = None
    residual: Residual = 0.0
    seed: Seed = 0

    def network(self) -> Network:
        """The network that the options describe."""
        return make_network(
            self.widths, self.activation, self.init, self.parameterization, self.weights,
            self.bias_std, self.residual,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Problem(NetworkOptions, DataOptions):
    """A network on data; a command adds its own options in a subclass."""

    def dataset(self) -> Dataset:
        """The data that the options describe."""
        return load_data(self.data, self.seed, self.center, self.scale)


def command(run: Callable[..., None], *lines: str, folder: bool | None = True) -> typer.Typer:
    """The command ``run(options, …)``: an option for each field of ``options``' dataclass.

    The fields may come from a TOML file (``--config``) as well; what the command line gives
    overrides it. The other parameters of ``run`` are options or arguments of its own. ``--quiet``
    is every command's, ``--out`` (a folder, a file, or None: either) is tried before the work. lines: examples for
    the help.
    """
    first, *own = inspect.signature(run, eval_str=True).parameters.values()
    kind = first.annotation
    names = {field.name for field in fields(kind)}

    @functools.wraps(run)
    def flat(config: Path | None, quiet: bool, **given: Any) -> None:
        about = read(kind, config, {k: v for k, v in given.items() if k in names})
        try_out(getattr(about, "out", None), folder)
        with progress.quiet(quiet):
            run(about, **{k: v for k, v in given.items() if k not in names})

    _sign(flat, [*_shared(options_of(kind)), _CONFIG, *own, _QUIET])
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(epilog=examples(*lines))(flat)
    return app


def takes(kinds: dict[str, Any], run: Callable[..., None]) -> Callable[..., None]:
    """``run`` with the options ``kinds`` in place of its ``**given``, each ``None`` by default."""

    @functools.wraps(run)
    def flat(**arguments: Any) -> None:
        run(**arguments)

    own = inspect.signature(run, eval_str=True).parameters.values()
    named = [p for p in own if p.kind is not p.VAR_KEYWORD]
    _sign(flat, [*named, *_shared(kinds)])
    return flat


_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_CONFIG = inspect.Parameter("config", _KEYWORD, default=None, annotation=Config)
_QUIET = inspect.Parameter("quiet", _KEYWORD, default=False, annotation=Quiet)


def _sign(run: Any, parameters: list[inspect.Parameter]) -> None:
    run.__signature__ = inspect.Signature([p.replace(kind=_KEYWORD) for p in parameters])


def _shared(kinds: dict[str, Any]) -> list[inspect.Parameter]:
    """The options, each ``None`` unless given: then the file or the dataclass says its value."""
    return [
        inspect.Parameter(
            name, _KEYWORD, default=None, annotation=Annotated[kind.__origin__ | None, *kind.__metadata__]
        )
        for name, kind in kinds.items()
    ]  # fmt: skip


def options_of(kind: type) -> dict[str, Any]:
    """Name → annotation of each field, with its default in the help."""
    made = {}
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        base, (option, *_) = hints[field.name].__origin__, hints[field.name].__metadata__
        option = copy.copy(option)
        if field.default not in (MISSING, None, False):
            option.show_default = str(field.default)
        made[field.name] = Annotated[base, option]
    return made


NETWORK = options_of(Problem)


def parse_widths(text: str) -> list[int | float]:
    """``64,2048,inf,1`` as numbers. Raises ValueError naming the part that is none."""
    widths: list[int | float] = []
    for part in text.split(","):
        word = part.strip()
        if word in ("inf", "∞"):
            widths.append(math.inf)
            continue
        try:
            widths.append(int(word))
        except ValueError:
            raise ValueError(
                f"widths must be integers or inf, such as 64,2048,512,1; got {word!r} in {text!r}"
            ) from None
    return widths


def parse_init(text: str) -> str | list[float]:
    """A named rule, or ``1.0,0.5,0.1`` as β_1, …, β_L."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return text


def make_network(
    widths: str,
    activation: str,
    init: str,
    parameterization: str,
    weights: str = "gaussian",
    bias_std: float | None = None,
    residual: float = 0.0,
) -> Network:
    """The network that the options describe."""
    from ntkscope.networks.network import Network

    return Network(
        parse_widths(widths), activation, parse_init(init), parameterization, weights,
        bias_std, residual,
    )  # fmt: skip


@contextlib.contextmanager
def writing(out: str | Path) -> Iterator[None]:
    """An OSError of writing to ``--out``, said in a line that names the option."""
    try:
        yield
    except OSError as error:
        raise _unwritable(out, error.strerror or str(error)) from error


def try_out(out: str | Path | None, folder: bool | None = True, name: str = "--out") -> None:
    """Raise OSError now if nothing could be written to ``out`` after the work; makes nothing."""
    if out is None:
        return
    path = target = Path(out)
    with contextlib.suppress(ValueError):  # a name that no file can have is told by the writer
        while not path.exists() and path != path.parent:
            path = path.parent
        if (folder or path != target) and not path.is_dir():
            raise _unwritable(out, f"{path} is no folder", name)
        if not folder and (reason := no_file(target)) and (folder is False or not path.is_dir()):
            raise _unwritable(out, reason, name, "file")
        if not os.access(path, os.W_OK):
            raise _unwritable(out, f"{path} is not writable", name)


def _unwritable(out: str | Path, reason: str, name: str = "--out", what: str = "folder") -> OSError:
    return OSError(
        f"{name} {out}: cannot write there ({reason}); give a {what} that exists or can be made"
    )


def load_data(spec: str, seed: int, center: bool, scale: bool) -> Dataset:
    """The data that the options describe."""
    from ntkscope.data import load

    return load(spec, seed=seed, centered=center, scaled=scale)

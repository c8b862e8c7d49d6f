"""Options that several commands share: which data, which network."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from ntkscope.cli.settings import read

if TYPE_CHECKING:
    from ntkscope.data import Dataset
    from ntkscope.networks.network import Network

Data = Annotated[
    str,
    typer.Option(
        help="digits, breast_cancer, diabetes, wine, iris; gaussian:N=1000,d=100 (sphere, cube, "
        "binary, generated, circle, equispaced); or a file: data.npy, data.npz:X, data.csv, "
        "data.parquet, data.pt:X (of a --model's several inputs: tokens.npz, arrays by keyword)"
    ),
]
Center = Annotated[bool, typer.Option(help="Subtract the mean row.")]
Scale = Annotated[bool, typer.Option(help="Scale every row to norm √d (after centring).")]
Widths = Annotated[str, typer.Option(help="n_0,…,n_L: inputs, hidden layers, outputs.")]
MaybeWidths = Annotated[str | None, *Widths.__metadata__]
Activation = Annotated[
    str,
    typer.Option(
        help="relu, leaky_relu:alpha=0.1, abs, sigmoid, tanh, erf, gelu, silu, softplus:beta=1, "
        "sin, identity"
    ),
]
Init = Annotated[
    str,
    typer.Option(
        help="he, lecun, unit, bombari2022, bombari2022-paired, banerjee2023, or β_1,…,β_L"
    ),
]
ParameterizationOption = Annotated[str, typer.Option("--parameterization", help="standard or ntk")]
Weights = Annotated[str, typer.Option(help="gaussian, uniform, rademacher or orthogonal entries.")]
BiasStd = Annotated[
    float | None, typer.Option(help="Biases N(0, s²) in every layer; off by default.")
]
Residual = Annotated[float, typer.Option(help="α of f_l = f_(l-1) + α φ(g_l); 0: a plain network.")]
Style = Annotated[
    str,
    typer.Option(
        help="Of the picture: screen, or a paper's column: paper (3.25 in), paper:double (6.75 in)."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of the weights, and of synthetic data.")]

Targets = Annotated[
    str,
    typer.Option(
        help="auto (two classes: −1, +1; otherwise the numbers), signs, real, random:seed=0"
    ),
]
Out = Annotated[str | None, typer.Option(help="Folder for the page, result.json and the network.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text and tables.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file with any of these settings.")]


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


def command(run: Callable[..., None]) -> typer.Typer:
    """The command ``run(options, …)``: an option for each field of ``options``' dataclass.

    The fields may come from a TOML file (``--config``) as well; what the command line gives
    overrides it. The other parameters of ``run`` are options or arguments of its own.
    """
    first, *own = inspect.signature(run, eval_str=True).parameters.values()
    kind = first.annotation
    names = {field.name for field in fields(kind)}

    @functools.wraps(run)
    def flat(config: Path | None, **given: Any) -> None:
        about = read(kind, config, {k: v for k, v in given.items() if k in names})
        run(about, **{k: v for k, v in given.items() if k not in names})

    config = inspect.Parameter("config", _KEYWORD, default=None, annotation=Config)
    return _app(flat, [*_shared(options_of(kind)), config, *own])


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


def _app(run: Callable[..., None], parameters: list[inspect.Parameter]) -> typer.Typer:
    _sign(run, parameters)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(run)
    return app


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
        raise OSError(
            f"--out {out}: cannot write there ({error.strerror or error}); "
            "give a folder that exists or can be made"
        ) from error


def load_data(spec: str, seed: int, center: bool, scale: bool) -> Dataset:
    """The data that the options describe."""
    from ntkscope.data import load

    return load(spec, seed=seed, centered=center, scaled=scale)

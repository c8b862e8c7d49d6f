"""Options that several commands share: which data, which network."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ntkscope.data import Dataset
    from ntkscope.networks.network import Network

Data = Annotated[
    str,
    typer.Option(
        help="digits, breast_cancer, diabetes, wine, iris; gaussian:N=1000,d=100 (sphere, cube, "
        "binary, generated, circle, equispaced); or a file: data.npy, data.npz:X, data.csv, "
        "data.parquet, data.pt:X"
    ),
]
Center = Annotated[bool, typer.Option(help="Subtract the mean row.")]
Scale = Annotated[bool, typer.Option(help="Scale every row to norm √d (after centring).")]
Widths = Annotated[str, typer.Option(help="n_0,…,n_L: inputs, hidden layers, outputs.")]
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
Seed = Annotated[int, typer.Option(help="Seed of the weights, and of synthetic data.")]

# what a command with a settings file takes: an option that is not given leaves the file's value
NETWORK: dict[str, Any] = {
    "data": Data, "center": Center, "scale": Scale, "widths": Widths, "activation": Activation,
    "init": Init, "parameterization": ParameterizationOption, "weights": Weights,
    "bias_std": BiasStd, "residual": Residual, "seed": Seed,
}  # fmt: skip


def takes(kinds: dict[str, Any], run: Callable[..., None]) -> Callable[..., None]:
    """``run`` with the options ``kinds`` in place of its ``**given``, each ``None`` by default."""

    @functools.wraps(run)
    def command(**arguments: Any) -> None:
        run(**arguments)

    signature = inspect.signature(run, eval_str=True)
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    shared = [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=None,
            annotation=Annotated[kind.__origin__ | None, *kind.__metadata__],
        )
        for name, kind in kinds.items()
    ]  # fmt: skip
    made = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    command.__signature__ = signature.replace(parameters=[*made, *shared])  # type: ignore[attr-defined]
    return command


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

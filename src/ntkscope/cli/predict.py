"""``ntkscope predict``: λ_min before anything is computed on data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ntkscope.cli import completion, options
from ntkscope.cli.printing import draw
from ntkscope.cli.results import write

if TYPE_CHECKING:
    from ntkscope.networks.network import Network
    from ntkscope.prediction.result import Prediction

_POINTS = 25
_DEGREES = 10  # of the table; --json has all

Data = Annotated[
    str,
    options.option(
        "sphere (radius √d), sphere:radius=r, gaussian, or the rows' norms in a file: "
        "norms:file.npy, norms:file.npz:name, norms:file.csv",
        panel="Data", metavar="LAW", autocompletion=completion.laws,
    ),
]  # fmt: skip
Init = Annotated[
    str | None,
    options.option(
        "he (unless given), lecun, unit, bombari2022, bombari2022-paired, banerjee2023, "
        "or β_1,…,β_L",
        panel="Network", metavar="NAME|β_1,…,β_L", autocompletion=completion.initializations,
    ),
]  # fmt: skip
Parameterization = Annotated[
    str | None,
    options.option(
        "standard or ntk; unless given, standard, or ntk where a width is infinite and "
        "--init is not given either",
        panel="Network", metavar="NAME", autocompletion=completion.of("standard", "ntk"),
    ),
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The sizes, the law of the data and the network."""

    widths: options.Widths
    samples: Annotated[
        float,
        options.option("Number of samples, for instance 1000 or 1e9.", panel="Data", metavar="N"),
    ]
    dim: Annotated[
        int | None,
        options.option("d = n_0; the first width unless given.", panel="Data", metavar="d"),
    ] = None
    data: Data = "sphere"
    activation: options.Activation = "relu"
    init: Init = None
    parameterization: Parameterization = None
    bias_std: options.BiasStd = None
    over: Annotated[
        str | None,
        typer.Option(
            help="A curve: samples=100:1e6, dim=10:1000 or width=64:4096 (every hidden layer), 25 "
            "points on a log axis, with λ_min over what it scales with.",
            metavar="AXIS=LOW:HIGH",
        ),
    ] = None
    style: options.Style = "screen"
    out: Annotated[
        Path | None, options.out("Folder for report.html, result.json, settings.toml.")
    ] = None


def run(about: PredictOptions, json: options.Json = False) -> None:
    """Predict λ_min of the limiting kernel on random inputs, from the sizes alone."""
    from ntkscope.prediction.predict import predict_smallest_eigenvalue
    from ntkscope.report import files
    from ntkscope.report import style as styles

    look = styles.Style(about.style)
    net, taken = _network(about)
    n_samples, law = _whole(about.samples, "--samples"), _law(about.data)
    found = predict_smallest_eigenvalue(net, n_samples, net.dim, law)
    record: dict[str, Any] = {"prediction": found.to_dict(), "empirical": None, "refused": ""}
    if taken:
        record["taken"] = taken
    try:
        finite = predict_smallest_eigenvalue(net, n_samples, net.dim, law, kernel="empirical")
        record["empirical"] = finite.to_dict()
    except ValueError as error:
        record["refused"] = str(error)
    pictures: dict[str, str | bytes] = {}
    if about.over is not None:
        from ntkscope.cli.predicted_curve import LABELS, curve_record

        curve = record["curve"] = curve_record(net, n_samples, *_axis(about.over), law)
        if about.out is not None:
            from ntkscope.report.curves import prediction_pictures

            drawn = prediction_pictures(
                curve["values"], curve["predictions"], LABELS[curve["over"]],
                f"{found.network}, {found.data}", look,
            )  # fmt: skip
            pictures |= {f"prediction.{kind}": made for kind, made in drawn.items()}
    if about.out is not None:
        from ntkscope.report.prediction_page import page

        again = "ntkscope predict --config settings.toml"
        write(about.out, page(record), record, about, again, pictures)
    if json:
        typer.echo(files.to_json(record), nl=False)
        return
    _show(found, record, about.out)


app = options.command(
    run,
    "ntkscope predict --widths 100,inf,1 --samples 1000",
    "ntkscope predict --widths 50,500,500,1 --samples 1e4 --over samples=100:1e6",
)


def _network(about: PredictOptions) -> tuple[Network, str]:
    """The network, and what was taken because nothing was said."""
    init, parameterization = about.init, about.parameterization
    infinite = math.inf in options.parse_widths(about.widths)
    taken = ""
    if infinite and init is None and parameterization is None:
        parameterization = "ntk"
        taken = "--parameterization ntk, since he in the standard one has no wide limit"
    net = options.make_network(
        about.widths, about.activation, init or "he", parameterization or "standard",
        bias_std=about.bias_std,
    )  # fmt: skip
    if about.dim is not None and about.dim < 2:
        raise ValueError(f"--dim must be at least 2, got {about.dim}")
    if about.dim is not None and about.dim != net.dim:
        raise ValueError(
            f"--dim {about.dim} and the first width {net.dim} disagree; give one, or make them equal"
        )
    if infinite:
        try:
            _ = net.ntk_normalization
        except ValueError:
            unit = " or --init unit" if net.activation.homogeneity == 1 else ""
            raise ValueError(
                f"--init {init or 'he'} in the standard parameterization has no common wide limit "
                f"for {net.activation}: its terms scale with different widths; add "
                f"--parameterization ntk{unit}"
            ) from None
    return net, taken


def _law(data: str) -> Any:
    """What the predictor takes as data: the name of a law, or the norms that a file holds."""
    kind, colon, file = data.partition(":")
    if kind != "norms":
        return data
    if not colon or not file:
        raise ValueError(f"--data norms:FILE needs a file, such as norms:norms.npy, got {data!r}")
    from ntkscope.data.loaders import load_vector

    return load_vector(file)


def _count(text: str, name: str) -> int:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number such as 1000 or 1e9, got {text!r}") from None
    return _whole(value, name)


def _whole(value: float, name: str) -> int:
    if not math.isfinite(value) or value != int(value):
        raise ValueError(f"{name} must be a whole number, got {value:g}")
    return int(value)


def _axis(text: str) -> tuple[str, list[int]]:
    """``samples=100:1e6`` as a name and 25 whole numbers, evenly spaced in the logarithm."""
    name, _, span = text.partition("=")
    low, colon, high = span.partition(":")
    if name not in ("samples", "dim", "width") or not colon:
        raise ValueError(
            f"--over is samples=LOW:HIGH, dim=LOW:HIGH or width=LOW:HIGH, got {text!r}"
        )
    ends = [_count(end, "--over") for end in (low, high)]
    if not 2 <= ends[0] < ends[1]:
        raise ValueError(f"--over needs 2 ≤ LOW < HIGH, got {low}:{high}")
    step = math.log(ends[1] / ends[0]) / (_POINTS - 1)
    return name, sorted({round(ends[0] * math.exp(step * i)) for i in range(_POINTS)})


def _show(found: Prediction, record: dict[str, Any], out: Path | None) -> None:
    from rich.table import Table

    from ntkscope.report.numbers import number, predicted

    table = Table(show_header=False, box=None)
    table.add_column(style="dim", min_width=16)
    table.add_column(overflow="fold")
    table.add_row("network", found.network)
    if "taken" in record:
        table.add_row("", f"taken: {record['taken']}")
    table.add_row("data", f"N = {found.n_samples:,.0f}, d = {found.dim}, {found.data}")
    if found.regime == "zero":
        table.add_row("λ_min, limiting", f"0 exactly: {found.reason}")
    elif found.regime == "below rounding":
        table.add_row(
            "λ_min, limiting", f"0 … {number(found.upper, 2)}, below rounding: {found.reason}"
        )
    else:
        table.add_row("λ_min, limiting", f"{number(found.value, 6)} ± {number(found.error, 2)}")
        table.add_row("nine of ten in", f"{number(found.lower)} … {number(found.upper)}")
        table.add_row("regime", f"{found.regime}: {found.reason}")
    finite = record["empirical"]
    table.add_row("at these widths", record["refused"] if finite is None else predicted(finite))
    table.add_row("closest pair", f"about {number(found.pair_angle, 3)} rad")
    if found.degrees:
        shown = found.degrees[:_DEGREES]
        parts = ", ".join(f"{d.degree}: {100 * d.share:.1f}%" for d in shown)
        rest = len(found.degrees) - len(shown)
        table.add_row("degrees in λ_min", parts + (f", and {rest} more" if rest else ""))
    table.add_row("holds for", found.validity)
    if not found.reliable:
        table.add_row("warning", "not to be relied on: see the line above")
    draw(table)
    if "curve" in record:
        from ntkscope.cli.predicted_curve import show_curve

        show_curve(record["curve"])
    if out is not None:
        typer.echo(f"\nThe page: {out / 'report.html'}")

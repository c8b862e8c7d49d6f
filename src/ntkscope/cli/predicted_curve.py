"""``predict --over``: the curve as a record and as a table, with the constant of its law."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ntkscope.networks.network import Network

LABELS = {"samples": "N, samples", "dim": "d, inputs", "width": "n, width of every hidden layer"}


def curve_record(
    net: Network, n_samples: int, axis: str, values: list[int], data: Any
) -> dict[str, Any]:
    """The predictions along an axis, and the constant at the power that K_ii grows with."""
    from ntkscope.experiments.reading.constants import fit_curve
    from ntkscope.prediction.over import predict_over

    curve = predict_over(net, n_samples, axis, values, data)
    record = curve.to_dict() | {"symbol": curve.symbol, "law": None, "text": ""}
    points = {float(v): [p.value] for v, p in zip(curve.values, curve.predictions, strict=True)}
    if any(p.value > 0 for p in curve.predictions):
        law = fit_curve("predicted", "λ_min", curve.symbol, curve.exponent, points)
        record |= {"law": law.to_dict(), "text": str(law)}
    return record


def show_curve(curve: dict[str, Any]) -> None:
    """The table of a curve and its law, printed."""
    from rich.table import Table

    from ntkscope.cli.printing import draw, say
    from ntkscope.report.numbers import number

    power = {0: "", 1: f"/{curve['symbol']}"}.get(
        curve["exponent"], f"/{curve['symbol']}^{curve['exponent']}"
    )
    table = Table(box=None)
    columns = [curve["over"], "λ_min", *([f"λ_min{power}"] if power else []), "λ_min/K_ii"]
    for name in (*columns, "edge", "regime"):
        table.add_column(name, justify="right")
    rows = zip(
        curve["values"], curve["predictions"], curve["constants"], curve["shares"], strict=True
    )
    for value, p, constant, share in rows:
        scaled = [number(constant, 4)] if power else []
        table.add_row(
            f"{value:,}", number(p["value"], 5), *scaled, number(share, 3), number(p["edge"], 5),
            p["regime"],
        )  # fmt: skip
    draw(table)
    if curve["refused"]:
        at = ", ".join(curve["refused"])
        say(f"none at {curve['symbol']} = {at}: {next(iter(curve['refused'].values()))}")
    if curve["text"]:
        say(curve["text"])

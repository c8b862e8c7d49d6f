"""Pages and plots of training, memorization and width. Draws the records it is given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ntkscope._base.extras import needs
from ntkscope.report.html import figure_html, render_page
from ntkscope.report.numbers import interval, number
from ntkscope.report.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PALETTE, VERMILION
from ntkscope.report.plots import style

with needs("report"):
    import plotly.graph_objects as go

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Section:
    """A card of a page: text, a plot, a table; whatever is empty is left out."""

    heading: str
    text: Sequence[str] = ()
    figure: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default=())


def _study(title: str, subtitle: str, tiles: Any, warnings: Any, sections: list[Section]) -> str:
    return render_page(
        "study.html", title, subtitle=subtitle, tiles=tiles, warnings=warnings, sections=sections
    )


def _line(x: Any, y: Any, name: str, color: str, dash: str = "solid", width: float = 2.0) -> Any:
    return go.Scatter(
        x=x, y=y, name=name, mode="lines", line={"color": color, "dash": dash, "width": width},
        hovertemplate="%{x}: %{y:.5g}",
    )  # fmt: skip


def _log_axes(figure: go.Figure, y_title: str, x_log: bool = True) -> go.Figure:
    figure.update_xaxes(title="step + 1" if x_log else "step", type="log" if x_log else "linear")
    figure.update_yaxes(title=y_title, type="log", exponentformat="power")
    return style(figure)


def losses(record: Record) -> go.Figure:
    """Observed loss, the linearised prediction and the fitted geometric rates, on log axes."""
    steps = [t + 1 for t in record["loss_steps"]]
    # a line of at most 1500 points is as exact as a screen
    keep = _thin(len(steps), 1500)
    x = [steps[i] for i in keep]
    figure = go.Figure(_line(x, [record["loss"][i] for i in keep], "observed", BLACK, width=3.0))
    if record["predicted_loss"] is not None:
        figure.add_trace(
            _line(
                x, [record["predicted_loss"][i] for i in keep], "linearised at θ₀", ORANGE, "dash"
            )
        )
    for rate, color in zip(record["rates"], (BLUE, GREEN), strict=False):
        if math.isfinite(rate["constant"]) and 0 < rate["contraction"] <= 1:
            start = record["loss"][0]
            bound = [start * rate["contraction"] ** (t - 1) for t in x]
            label = f"rate {rate['name']}, c = {rate['constant']:.3g}"
            figure.add_trace(_line(x, bound, label, color, "dot"))
    if record["rounding"] > 0 and min(record["loss"]) < 1e4 * record["rounding"]:
        level = [record["rounding"]] * len(x)
        figure.add_trace(_line(x, level, "rounding (estimate)", GREY, "dot"))
    return _log_axes(figure, "½‖F − Y‖²")


def _thin(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    ratio = count ** (1.0 / (most - 1))
    return sorted({0, count - 1, *(min(count - 1, round(ratio**k)) for k in range(most))})


def modes(record: Record, shown: int = 6) -> go.Figure:
    """Single modes of the residual: the largest at the start, spread over the spectrum."""
    observed, predicted = record["observed_modes"], record["predicted_modes"]
    x = [p["step"] + 1 for p in record["probes"]]
    count = len(record["eigenvalues"])
    # from each part of the spectrum the mode that matters most at the start
    edges = [round(i * count / min(shown, count)) for i in range(min(shown, count) + 1)]
    figure = go.Figure()
    for part, (low, high) in enumerate(itertools.pairwise(edges)):
        mode = max(range(low, high), key=lambda i: abs(observed[0][i]))
        color = PALETTE[part % len(PALETTE)]
        label = f"λ = {record['eigenvalues'][mode]:.3g}"
        y = [max(abs(row[mode]), 1e-300) for row in observed]
        figure.add_scatter(x=x, y=y, mode="markers", name=label, marker={"color": color, "size": 8})
        if predicted is not None:
            z = [max(abs(row[mode]), 1e-300) for row in predicted]
            figure.add_trace(_line(x, z, label, color, "dash").update(showlegend=False))
    _log_axes(figure, "|uᵢᵀ(F_t − Y)|")
    top = max((abs(v) for v in observed[0]), default=1.0) or 1.0
    figure.update_yaxes(range=[math.log10(top) - 10, math.log10(top) + 0.5])
    return figure


def eigenvalues(record: Record) -> go.Figure:
    """λ_min(K_t) with its error and λ_max(K_t) along training."""
    probes = record["probes"]
    x = [p["step"] + 1 for p in probes]
    figure = go.Figure()
    for key, label, color in (
        ("lambda_max", "λ_max(K_t)", ORANGE), ("lambda_min", "λ_min(K_t)", BLUE),
    ):  # fmt: skip
        values = [p[key]["value"] for p in probes]
        errors = [p[key]["upper"] - p[key]["value"] for p in probes]
        figure.add_scatter(
            x=x, y=values, name=label, mode="lines+markers", line={"color": color},
            error_y={"type": "data", "array": errors}, hovertemplate="%{x}: %{y:.6g}",
        )  # fmt: skip
    return _log_axes(figure, "eigenvalue of K_t")


def movement(record: Record) -> go.Figure:
    """Kernel drift, and θ's distance and J's change as shares of what the theorem allows."""
    probes, condition = record["probes"][1:], record["condition_21"]
    x = [p["step"] + 1 for p in probes]
    figure = go.Figure(_line(x, [p["drift"] for p in probes], "‖K_t − K₀‖/‖K₀‖ (Frobenius)", GREEN))
    for key, allowed, label, color in (
        ("distance", condition["radius"], "‖θ_t − θ₀‖/R", BLUE),
        ("jacobian_change", condition["allowed"], "‖J_t − J₀‖/(α²/2β), condition 21", VERMILION),
    ):
        if allowed and math.isfinite(allowed):
            figure.add_trace(_line(x, [p[key] / allowed for p in probes], label, color))
    figure.add_trace(_line(x, [1.0] * len(x), "1: all that is allowed", GREY, "dot"))
    return _log_axes(figure, "share")


def training_page(record: Record, title: str, subtitle: str, rows: Any) -> str:
    """The page of ``ntkscope train``."""
    first, last = record["probes"][0], record["probes"][-1]
    tiles = [
        ("status", f"{record['status']} after {record['steps']} steps"),
        ("loss", f"{number(record['loss'][0])} → {number(record['loss'][-1])}"),
        ("λ_min(K_0)", _interval(first["lambda_min"])),
        ("kernel drift", number(last["drift"], 3)),
    ]
    predicted = record["predicted_loss"] is not None
    sections = [
        Section(
            "Observed and predicted loss",
            (
                "Dashed: the network linearised at θ₀, mode i shrinking by (1 − ηλᵢ) a step. Dotted: "
                "one geometric rate with the largest constant that every observed step allows."
                if predicted
                else "This optimizer has no linearised law; the observed loss stands alone.",
            ),
            figure_html(losses(record), "loss"),
        ),
        Section(
            "Mode by mode",
            ("The residual in the eigenvectors of K₀: points observed, dashes predicted.",),
            figure_html(modes(record), "modes"),
        ),
        Section("λ_min and λ_max along training", (), figure_html(eigenvalues(record), "λ")),
        Section(
            "How far kernel, weights and Jacobian move",
            (
                "Condition 21 of Bombari et al. is asked of a whole ball; here it is seen on the points "
                "visited, where a share above 1 refutes it and one below 1 does not prove it.",
            ),
            figure_html(movement(record), "movement"),
        ),
        Section("In numbers", (), rows=rows),
    ]
    return _study(title, subtitle, tiles, record["notes"], sections)


def _interval(value: Record) -> str:
    return interval(value["lower"], value["value"], value["upper"])


def positions_page(results: Mapping[int, Record], title: str, subtitle: str) -> str:
    """λ_min(K_t) and the loss for the wide layer at each position (Nguyen et al. 2021, §8)."""
    least, loss = go.Figure(), go.Figure()
    rows = []
    for (position, record), color in zip(results.items(), PALETTE, strict=False):
        probes, name = record["probes"], f"wide layer {position}"
        x = [p["step"] + 1 for p in probes]
        least.add_scatter(
            x=x, y=[p["lambda_min"]["value"] for p in probes], name=name, line={"color": color},
            error_y={"type": "data", "array": [
                p["lambda_min"]["upper"] - p["lambda_min"]["value"] for p in probes
            ]},
        )  # fmt: skip
        keep = _thin(len(record["loss"]), 1000)
        loss.add_trace(
            _line(
                [record["loss_steps"][i] + 1 for i in keep], [record["loss"][i] for i in keep],
                name, color,
            )
        )  # fmt: skip
        rows.append(
            [
                name, _interval(probes[0]["lambda_min"]), _interval(probes[-1]["lambda_min"]),
                number(probes[-1]["drift"], 3), number(record["loss"][-1]),
            ]
        )  # fmt: skip
    header = ("", "λ_min(K_0)", "λ_min at the end", "kernel drift", "final loss")
    sections = [
        Section("λ_min(K_t)", (), figure_html(_log_axes(least, "λ_min(K_t)"), "λ"), header, rows),
        Section("Loss", (), figure_html(_log_axes(loss, "½‖F − Y‖²"), "loss")),
    ]
    return _study(title, subtitle, [], [], sections)


def memorization_page(record: Record, question: Record, title: str, subtitle: str) -> str:
    """The page of ``ntkscope memorize``."""
    tiles = [
        ("‖F − Y‖", number(record["error"])),
        ("asked for", number(record["tol"])),
        ("labels fitted", "yes" if record["reached"] else "no"),
        ("λ_min of the base", _interval(record["lambda_min"])),
    ]
    x = list(range(1, len(record["errors"]) + 1))
    figure = go.Figure(_line(x, record["errors"], "‖h_ε − Y‖", BLUE))
    figure.add_trace(_line(x, [record["tol"]] * len(x), "asked for", GREY, "dot"))
    figure.update_xaxes(title="correction")
    figure.update_yaxes(title="‖h_ε − Y‖", type="log", exponentformat="power")
    answers = {True: "yes, any real labels", None: "not established"}
    rows = [("at these widths", answers[question["fits"]])]
    rows.append(("at twice the hidden widths", answers[question["fits_doubled"]]))
    sections = [
        Section(
            f"Can {question['n_samples']} real labels be fitted?",
            (
                "A λ_min that is certainly positive at one θ₀ is a proof for the network of twice the "
                "hidden widths; one that is not proves nothing.",
            ),
            rows=rows,
        ),
        Section(
            "The construction",
            (
                f"ε = {record['epsilon']:.3g}, {record['rounds']} corrections, "
                f"{record['seconds']:.1f} s. {record['reason']}.",
            ),
            figure_html(style(figure), "corrections"),
        ),
    ]
    return _study(title, subtitle, tiles, [], sections)


def width_page(record: Record, title: str, subtitle: str) -> str:
    """The page of ``ntkscope width``."""
    found = record["width"]
    tiles = [
        ("smallest width", "none found" if found is None else str(found)),
        ("too narrow", number(record["too_narrow"])),
        (f"{record['quantity']} of the limiting kernel", number(record["limit"])),
        ("asked for", number(record["threshold"])),
    ]
    guess, notes = record["predicted"]["prediction"], [f"{record['reason']}."]
    if guess is None:
        notes.append(f"No prediction from N, d and the norms: {record['predicted']['refused']}.")
    else:
        value = f"{number(guess['value'])} ± {number(guess['error'], 2)}"
        tiles.append(("λ_min of the limit predicted from N, d and the norms alone", value))
    law, points = record["concentration"], record["points"]
    shown = [p for p in points if p["mean"] > 0]
    if len(shown) < len(points):
        lost = ", ".join(str(p["width"]) for p in points if p["mean"] <= 0)
        notes.append(f"Not above 0, so not on the logarithmic axis: width {lost}.")
    figure = go.Figure()
    figure.add_scatter(
        x=[p["width"] for p in shown], y=[p["mean"] for p in shown], mode="markers",
        name="sampled networks, mean ± one standard deviation",
        error_y={"type": "data", "array": [p["spread"] for p in shown]},
        marker={"color": BLACK, "size": 8},
    )  # fmt: skip
    if points:
        low, high = points[0]["width"], 2 * points[-1]["width"]
        x = [low * (high / low) ** (i / 99) for i in range(100)]
        if law is not None:
            share = [max(0.0, 1 - law["loss"] * n ** -law["exponent"]) for n in x]
            limits = [_interpolate(points, n) for n in x]
            y = [s * limit for s, limit in zip(share, limits, strict=True)]
            figure.add_trace(_line(x, y, "fitted concentration", BLUE))
        figure.add_trace(
            _line(x, [_interpolate(points, n) for n in x], "limiting kernel", ORANGE, "dash")
        )
        figure.add_trace(_line(x, [record["threshold"]] * 100, "goal", VERMILION, "dot"))
    figure.update_xaxes(title="hidden width", type="log")
    figure.update_yaxes(title=record["quantity"], type="log", exponentformat="power")
    rows = [
        [
            str(p["width"]), f"{number(p['mean'])} ± {number(p['spread'], 2)}",
            number(min(p["values"])), f"{p['mean'] / p['limit']:.1%}",
        ]
        for p in points
    ]  # fmt: skip
    sections = [
        Section("The curve", tuple(notes), figure_html(style(figure), "width")),
        Section(
            "Measured",
            (),
            "",
            ("width", record["quantity"], "smallest", "share of the limit"),
            rows,
        ),
        Section(
            "What the theorems ask for",
            ("With every constant that they hide set to 1; they are conditions that suffice.",),
            rows=[[name, formula, str(n)] for name, formula, n in record["conditions"]],
        ),
    ]
    return _study(title, subtitle, tiles, [], sections)


def _interpolate(points: Sequence[Record], width: float) -> float:
    """The limit at a width, log-log between the measured ones and constant beyond them."""
    for left, right in itertools.pairwise(points):
        if left["width"] <= width <= right["width"]:
            share = math.log(width / left["width"]) / math.log(right["width"] / left["width"])
            return float(left["limit"] * (right["limit"] / left["limit"]) ** share)
    end = points[0] if width < points[0]["width"] else points[-1]
    return float(end["limit"])

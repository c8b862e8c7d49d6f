"""Pages and plots of training, memorization and width. Draws the records it is given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ntkscope.report.chart import DASHED, DOTTED, Axis, Chart, Series
from ntkscope.report.html import render_page
from ntkscope.report.numbers import interval, number
from ntkscope.report.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PALETTE, VERMILION
from ntkscope.report.svg import draw

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


def _over_steps(title: str) -> Chart:
    return Chart(Axis("step + 1", log=True), Axis(title, log=True))


def losses(record: Record) -> Chart:
    """Observed loss, the linearised prediction and the fitted geometric rates, on log axes."""
    steps = [t + 1 for t in record["loss_steps"]]
    # a line of at most 1500 points is as exact as a screen
    keep = _thin(len(steps), 1500)
    x = [steps[i] for i in keep]
    chart = _over_steps("½‖F − Y‖²")
    chart.add(Series("observed", x, [record["loss"][i] for i in keep], color=BLACK, width=3.0))
    if record["predicted_loss"] is not None:
        predicted = [record["predicted_loss"][i] for i in keep]
        chart.add(Series("linearised at θ₀", x, predicted, color=ORANGE, dash=DASHED))
    for rate, color in zip(record["rates"], (BLUE, GREEN), strict=False):
        if math.isfinite(rate["constant"]) and 0 < rate["contraction"] <= 1:
            start = record["loss"][0]
            bound = [start * rate["contraction"] ** (t - 1) for t in x]
            label = f"rate {rate['name']}, c = {rate['constant']:.3g}"
            chart.add(Series(label, x, bound, color=color, dash=DOTTED))
    if record["rounding"] > 0 and min(record["loss"]) < 1e4 * record["rounding"]:
        level = [record["rounding"]] * len(x)
        chart.add(Series("rounding (estimate)", x, level, color=GREY, dash=DOTTED))
    return chart


def _thin(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    ratio = count ** (1.0 / (most - 1))
    return sorted({0, count - 1, *(min(count - 1, round(ratio**k)) for k in range(most))})


def modes(record: Record, shown: int = 6) -> Chart:
    """Single modes of the residual: the largest at the start, spread over the spectrum."""
    observed, predicted = record["observed_modes"], record["predicted_modes"]
    x = [p["step"] + 1 for p in record["probes"]]
    count = len(record["eigenvalues"])
    # from each part of the spectrum the mode that matters most at the start
    edges = [round(i * count / min(shown, count)) for i in range(min(shown, count) + 1)]
    top = max((abs(v) for v in observed[0]), default=1.0) or 1.0
    chart = _over_steps("|u_i^T(F_t − Y)|")
    chart.y.ends = (top * 1e-10, top * 10**0.5)
    for part, (low, high) in enumerate(itertools.pairwise(edges)):
        mode = max(range(low, high), key=lambda i: abs(observed[0][i]))
        color = PALETTE[part % len(PALETTE)]
        label = f"λ = {record['eigenvalues'][mode]:.3g}"
        y = [max(abs(row[mode]), 1e-300) for row in observed]
        chart.add(Series(label, x, y, "marks", color))
        if predicted is not None:
            z = [max(abs(row[mode]), 1e-300) for row in predicted]
            chart.add(Series(label, x, z, color=color, dash=DASHED, legend=False))
    return chart


def eigenvalues(record: Record) -> Chart:
    """λ_min(K_t) with its error and λ_max(K_t) along training."""
    probes = record["probes"]
    x = [p["step"] + 1 for p in probes]
    chart = _over_steps("eigenvalue of K_t")
    for key, label, color in (
        ("lambda_max", "λ_max(K_t)", ORANGE), ("lambda_min", "λ_min(K_t)", BLUE),
    ):  # fmt: skip
        values = [p[key]["value"] for p in probes]
        errors = [p[key]["upper"] - p[key]["value"] for p in probes]
        chart.add(Series(label, x, values, "both", color, errors=errors))
    return chart


def movement(record: Record) -> Chart:
    """Kernel drift, and θ's distance and J's change as shares of what the theorem allows."""
    probes, condition = record["probes"][1:], record["condition_21"]
    x = [p["step"] + 1 for p in probes]
    chart = _over_steps("share")
    drift = [p["drift"] for p in probes]
    chart.add(Series("‖K_t − K_0‖/‖K_0‖ (Frobenius)", x, drift, color=GREEN))
    for key, allowed, label, color in (
        ("distance", condition["radius"], "‖θ_t − θ₀‖/R", BLUE),
        ("jacobian_change", condition["allowed"], "‖J_t − J₀‖/(α²/2β), condition 21", VERMILION),
    ):
        if allowed and math.isfinite(allowed):
            chart.add(Series(label, x, [p[key] / allowed for p in probes], color=color))
    chart.add(Series("1: all that is allowed", x, [1.0] * len(x), color=GREY, dash=DOTTED))
    return chart


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
            draw(losses(record), "loss"),
        ),
        Section(
            "Mode by mode",
            ("The residual in the eigenvectors of K₀: points observed, dashes predicted.",),
            draw(modes(record), "modes"),
        ),
        Section("λ_min and λ_max along training", (), draw(eigenvalues(record), "λ")),
        Section(
            "How far kernel, weights and Jacobian move",
            (
                "Condition 21 of Bombari et al. is asked of a whole ball; here it is seen on the points "
                "visited, where a share above 1 refutes it and one below 1 does not prove it.",
            ),
            draw(movement(record), "movement"),
        ),
        Section("In numbers", (), rows=rows),
    ]
    return _study(title, subtitle, tiles, record["notes"], sections)


def _interval(value: Record) -> str:
    return interval(value["lower"], value["value"], value["upper"])


def positions_page(results: Mapping[int, Record], title: str, subtitle: str) -> str:
    """λ_min(K_t) and the loss for the wide layer at each position (Nguyen et al. 2021, §8)."""
    least, loss = _over_steps("λ_min(K_t)"), _over_steps("½‖F − Y‖²")
    rows = []
    for (position, record), color in zip(results.items(), PALETTE, strict=False):
        probes, name = record["probes"], f"wide layer {position}"
        x = [p["step"] + 1 for p in probes]
        found = [p["lambda_min"] for p in probes]
        least.add(
            Series(
                name, x, [v["value"] for v in found], "both", color,
                errors=[v["upper"] - v["value"] for v in found],
            )
        )  # fmt: skip
        keep = _thin(len(record["loss"]), 1000)
        steps = [record["loss_steps"][i] + 1 for i in keep]
        loss.add(Series(name, steps, [record["loss"][i] for i in keep], color=color))
        rows.append(
            [
                name, _interval(probes[0]["lambda_min"]), _interval(probes[-1]["lambda_min"]),
                number(probes[-1]["drift"], 3), number(record["loss"][-1]),
            ]
        )  # fmt: skip
    header = ("", "λ_min(K_0)", "λ_min at the end", "kernel drift", "final loss")
    sections = [
        Section("λ_min(K_t)", (), draw(least, "λ_min along training"), header, rows),
        Section("Loss", (), draw(loss, "loss")),
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
    chart = Chart(Axis("correction"), Axis("‖h_ε − Y‖", log=True))
    chart.add(Series("‖h_ε − Y‖", x, record["errors"], "both", BLUE))
    chart.add(Series("asked for", x, [record["tol"]] * len(x), color=GREY, dash=DOTTED))
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
            draw(chart, "error after each correction"),
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
    chart = Chart(Axis("hidden width", log=True), Axis(record["quantity"], log=True))
    if points:
        low, high = points[0]["width"], 2 * points[-1]["width"]
        x = [low * (high / low) ** (i / 99) for i in range(100)]
        limits = [_interpolate(points, n) for n in x]
        if law is not None:
            share = [max(0.0, 1 - law["loss"] * n ** -law["exponent"]) for n in x]
            y = [s * limit for s, limit in zip(share, limits, strict=True)]
            chart.add(Series("fitted concentration", x, y, color=BLUE))
        chart.add(Series("limiting kernel", x, limits, color=ORANGE, dash=DASHED))
        goal = [record["threshold"]] * len(x)
        chart.add(Series("goal", x, goal, color=VERMILION, dash=DOTTED))
    chart.add(
        Series(
            "sampled networks, mean ± one standard deviation", [p["width"] for p in shown],
            [p["mean"] for p in shown], "marks", BLACK, errors=[p["spread"] for p in shown],
        )
    )  # fmt: skip
    rows = [
        [
            str(p["width"]), f"{number(p['mean'])} ± {number(p['spread'], 2)}",
            number(min(p["values"])), f"{p['mean'] / p['limit']:.1%}",
        ]
        for p in points
    ]  # fmt: skip
    sections = [
        Section("The curve", tuple(notes), draw(chart, "λ_min over widths")),
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

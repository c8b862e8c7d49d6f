"""Pages and plots of training and memorization. Draws the records it is given."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

from ntkscope.report import answers
from ntkscope.report.chart import DASHED, DOTTED, Axis, Chart, Series
from ntkscope.report.html import Tile
from ntkscope.report.numbers import interval, number, shortly
from ntkscope.report.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PALETTE, VERMILION
from ntkscope.report.study import Section, study
from ntkscope.report.svg import draw

Record = Mapping[str, Any]


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
        chart.add(Series("linearised at θ_0", x, predicted, color=ORANGE, dash=DASHED))
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
        ("distance", condition["radius"], "‖θ_t − θ_0‖/R", BLUE),
        ("jacobian_change", condition["allowed"], "‖J_t − J_0‖/(α²/2β), condition 21", VERMILION),
    ):
        if allowed and math.isfinite(allowed):
            chart.add(Series(label, x, [p[key] / allowed for p in probes], color=color))
    chart.add(Series("1: all that is allowed", x, [1.0] * len(x), color=GREY, dash=DOTTED))
    return chart


_ABOUT = (
    "θ_t are the parameters after t steps, J_t the N × p matrix of the gradients of the outputs at θ_t, "
    "K_t = J_tJ_tᵀ the neural tangent kernel, η the step size, F the outputs, Y the labels."
)


def training_page(record: Record, title: str, subtitle: str, rows: Any) -> str:
    """The page of ``ntkscope train``."""
    first, last = record["probes"][0], record["probes"][-1]
    tiles: list[Tile] = [
        ("status", f"{record['status']} after {record['steps']} steps"),
        ("loss", f"{number(record['loss'][0])} → {number(record['loss'][-1])}"),
        ("λ_min(K_0)", *shortly(first["lambda_min"])),
        ("kernel drift", number(last["drift"], 3)),
    ]
    predicted = record["predicted_loss"] is not None
    sections = [
        Section(
            "Observed and predicted loss",
            (
                "Dashed: the network linearised at θ_0, mode i shrinking by (1 − ηλ_i) a step. Dotted: "
                "one geometric rate with the largest constant that every observed step allows."
                if predicted
                else "This optimizer has no linearised law; the observed loss stands alone.",
            ),
            draw(losses(record), "observed and predicted loss over steps"),
        ),
        Section(
            "Mode by mode",
            ("The residual in the eigenvectors of K_0: points observed, dashes predicted.",),
            draw(modes(record), "residual of single modes over steps"),
        ),
        Section(
            "λ_min and λ_max along training",
            (),
            draw(eigenvalues(record), "λ_min and λ_max over steps"),
        ),
        Section(
            "How far kernel, weights and Jacobian move",
            (
                "Three shares of what theory allows. ‖K_t − K_0‖/‖K_0‖: the drift of the kernel, 0 for a "
                "linear model. ‖θ_t − θ_0‖/R: the distance from the start, R = 4‖F_0 − Y‖/α being the "
                "radius of the ball in which Bombari et al. 2022 keep the parameters. "
                "‖J_t − J_0‖/(α²/2β): the change of the Jacobian, α²/2β being what their condition 21 "
                "allows. α is the smallest σ_min(J_t), β the largest ‖J_t‖ met.",
                "The condition is asked of every point of a ball around θ_0 and is measured here on the "
                "points visited: a share above 1 refutes it, one below 1 does not prove it.",
            ),
            draw(movement(record), "movement over steps"),
        ),
        Section("In numbers", (), rows=rows),
    ]
    return study(
        title, answers.training(record), subtitle, sections,
        about=_ABOUT, tiles=tiles, warnings=record["notes"],
    )  # fmt: skip


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
    return study(title, answers.positions(results), subtitle, sections, about=_ABOUT)


def _fitted(question: Record) -> Section:
    said = {True: "yes, any real labels", None: "not established"}
    return Section(
        f"Can {question['n_samples']} real labels be fitted?",
        (
            "Where λ_min at one θ_0 is certainly positive, the network of twice the hidden widths fits any "
            "real labels (Nguyen et al. 2021, Corollary 4.2). Where it is not, nothing is proved.",
        ),
        rows=[
            ("at these widths", said[question["fits"]]),
            ("at twice the hidden widths", said[question["fits_doubled"]]),
        ],
    )


def capacity_page(question: Record, title: str, subtitle: str) -> str:
    """The page of ``ntkscope memorize --certificate-only``."""
    found = [("λ_min of the kernel at these widths", question["lambda_min"]),
             ("λ_min at half the hidden widths", question["lambda_min_half"])]  # fmt: skip
    tiles = [(name, *shortly(value)) for name, value in found if value is not None]
    return study(title, answers.capacity(question), subtitle, [_fitted(question)], tiles=tiles)


_CORRECTIONS = (
    "The network built is h_ε(x) = (f(θ_0 + εθ′, x) − f(θ_0, x))/ε, of twice the hidden widths of f; θ′ is corrected "
    "until h_ε fits the labels Y. F are its outputs on the data. λ_min is that of the kernel of f at θ_0."
)


def memorization_page(record: Record, question: Record, title: str, subtitle: str) -> str:
    """The page of ``ntkscope memorize``."""
    tiles: list[Tile] = [
        ("‖F − Y‖", number(record["error"])),
        ("asked for", number(record["tol"])),
        ("labels fitted", "yes" if record["reached"] else "no"),
        ("λ_min of the base", *shortly(record["lambda_min"])),
    ]
    x = list(range(1, len(record["errors"]) + 1))
    chart = Chart(Axis("correction"), Axis("‖h_ε − Y‖", log=True))
    chart.add(Series("‖h_ε − Y‖", x, record["errors"], "both", BLUE))
    chart.add(Series("asked for", x, [record["tol"]] * len(x), color=GREY, dash=DOTTED))
    sections = [
        _fitted(question),
        Section(
            "The construction",
            (
                f"ε = {record['epsilon']:.3g}, {record['rounds']} corrections, "
                f"{record['seconds']:.2g} s: {record['reason']}.",
            ),
            draw(chart, "error after each correction"),
        ),
    ]
    answer = answers.memorization(record, question)
    return study(title, answer, subtitle, sections, about=_CORRECTIONS, tiles=tiles)

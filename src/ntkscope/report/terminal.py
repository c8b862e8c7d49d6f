"""Reports as tables for a terminal. Draws the record it is given; knows no kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ntkscope._base.extras import needs
from ntkscope._base.memory import human
from ntkscope.report.consoles import printed
from ntkscope.report.numbers import (
    any_batch,
    count,
    counted,
    enclosed,
    enclosure,
    interval,
    judged,
    limit_of_steps,
    number,
    numbers_only,
    of_all_outputs,
    own_smallest,
    predicted,
    share,
    steps,
    telling,
    with_error,
)

with needs("report"):
    from rich import box
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text


def render(record: Mapping[str, Any], width: int = 100) -> str:
    """The report as plain text."""
    return printed(tables(record), width=width)


def tables(record: Mapping[str, Any]) -> RenderableType:
    """The report as a rich renderable."""
    parts: list[RenderableType] = [
        _subject(record),
        _result(record),
        _layers(record["layers"]),
        _ladder(record["ladder"]),
        _meaning(record),
    ]
    for section in record.get("extra", {}).values():
        if "lines" in section:
            table = _grid(section["title"])
            for label, text in section["lines"]:
                table.add_row(label, text)
            parts.append(table)
    if record["outputs"]:
        parts.insert(2, _outputs(record["outputs"]))
    parts += [Text(f"! {warning}", style="yellow") for warning in record["warnings"]]
    return Group(*parts)


def _grid(title: str) -> Table:
    table = Table(
        title=title, title_justify="left", show_header=False, title_style="bold", box=None
    )
    table.add_column(style="dim", min_width=16)
    table.add_column(overflow="fold")
    return table


def _subject(record: Mapping[str, Any]) -> Table:
    data, network = record["data"], record["network"]
    table = _grid("What was analysed")
    source = record["settings"].get("data", "samples")
    if data is None:
        table.add_row("data", numbers_only(record))
    else:
        table.add_row("data", f"{source}: N = {data['n_samples']}, d = {data['dim']}")
        norms = f"{number(data['norm_min'])} … {number(data['norm_max'])}"
        table.add_row("", f"row norms {norms}, norm of the mean row {number(data['mean_norm'])}")
        table.add_row("", f"{data['duplicate_rows']} duplicate rows, {_nearest(data)}")
    table.add_row("network", network["text"])
    held = network["n_parameters"]
    parameters = "parameters unknown" if held is None else f"{count(held)} parameters"
    used = f"{parameters}, {network['dtype']} on {network['device']}"
    table.add_row("", f"{used}, seed {record['settings'].get('seed')}")
    spent = f"{number(record['seconds']['total'], 3)} s, peak memory"
    table.add_row("spent", f"{spent} {human(record['peak_memory_bytes'])}")
    return table


def _nearest(data: Mapping[str, Any]) -> str:
    if data["nearest_pair"] is None:
        return "no pair of nonzero rows"
    i, j = data["nearest_pair"]
    return f"nearest pair rows {i}, {j} at {number(data['nearest_angle'])} rad"


def _result(record: Mapping[str, Any]) -> Table:
    smallest = record["smallest_eigenvalue"]
    table = _grid("The spectrum")
    text = interval(smallest["lower"], smallest["value"], smallest["upper"])
    style = "bold green" if smallest["status"] == "OK" else "bold red"
    table.add_row("λ_min", Text(f"{text}   {smallest['status']}", style=style))
    table.add_row("", f"by {smallest['method']}; covers {smallest['covers']}")
    table.add_row("λ_max", enclosed(record["largest_eigenvalue"]))
    table.add_row("condition number", enclosed(record["condition_number"]))
    table.add_row("tr K", with_error(record["trace"], record["trace_error"]))
    table.add_row("in the wide limit", _limit(record))
    finite = record["predicted"]["empirical"]
    if finite is not None:
        table.add_row("at these widths", predicted(finite))
    return table


def _limit(record: Mapping[str, Any]) -> str:
    """λ_min of the limiting kernel, predicted from sizes and norms."""
    predicted = record["predicted"]
    if predicted["prediction"] is None:
        return f"no prediction: {predicted['refused']}"
    found = predicted["prediction"]
    if found["regime"] == "zero":
        return f"0 exactly: {found['reason']}"
    if found["regime"] == "below rounding":
        return f"predicted in [0, {number(found['upper'], 2)}]: {found['reason']}"
    text = f"predicted {number(found['value'])} ± {number(found['error'], 2)} ({found['regime']})"
    part = record["smallest_eigenvalue"]["value"] / found["value"]
    return text + f"; this network has {number(part, 3)} of it"


def _layers(layers: list[Mapping[str, Any]]) -> Table:
    table = Table(title="The layers", title_justify="left", title_style="bold")
    table.add_column("term", overflow="fold", min_width=8)  # its end tells conv1 from conv2
    schur = any(layer["schur"] > 0 for layer in layers)
    for heading in ("shape", "of tr K", "of λ_min", "its own λ_min", *["Schur bound"] * schur):
        table.add_column(heading, justify="right", overflow="fold")
    for layer in layers:
        bound = number(layer["schur"]) if layer["schur"] > 0 else "—"
        table.add_row(
            layer["name"], layer["shape"], share(layer["trace_share"], layer["trace_share_error"]),
            share(layer["rayleigh_share"], layer["rayleigh_share_error"]), own_smallest(layer, short=True), *[bound] * schur,
        )  # fmt: skip
    return table


def _outputs(outputs: list[Mapping[str, Any]]) -> Table:
    table = Table(title="Each output's kernel", title_justify="left", title_style="bold")
    for heading in ("output", "λ_min", "λ_max", "of tr K", "status"):
        table.add_column(heading, justify="right")
    for output in outputs:
        table.add_row(
            str(output["index"]),
            interval(output["lower"], output["smallest"], output["upper"]),
            with_error(output["largest"], output["largest_error"]),
            share(output["trace_share"], output["trace_share_error"]),
            output["status"].replace("_", " ").lower(),
        )  # fmt: skip
    return table


def _ladder(rungs: list[Mapping[str, Any]]) -> Table:
    table = Table(title="Bounds around λ_min", title_justify="left", title_style="bold")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("formula", overflow="fold")
    table.add_column("source", overflow="fold")
    signs = {"lower": "≥ ", "upper": "≤ ", "value": ""}
    for rung in telling(rungs):
        style = "bold" if rung["side"] == "value" else ""
        value = signs[rung["side"]] + number(rung["value"], 6)
        table.add_row(rung["name"], value, rung["formula"], rung["source"], style=style)
    return table


def _meaning(record: Mapping[str, Any]) -> Table:
    training, weak = record["training"], record["weakest"]
    table = _grid("What it means")
    if record["loss"] is not None:
        _add_loss(table, record["loss"])
    if of_all_outputs(record):
        table.add_row("all outputs", of_all_outputs(record))
    for key, name in (("", "½‖F − Y‖²"), ("_mse", "MSELoss")):
        ends = (training[f"largest_stable_step{key}{error}"] for error in ("", "_error"))
        table.add_row(f"GD step, {name}", f"{limit_of_steps(*ends)} (linearised)")
    best = with_error(training["best_step"], training["best_step_error"])
    mse = with_error(training["best_step_mse"], training["best_step_mse_error"])
    table.add_row("best fixed step", f"{best} for ½‖F − Y‖²; {mse} for MSELoss")
    for rate, counts in training["steps"].items():
        text = ", ".join(f"{steps(pair)} for loss/{name}" for name, pair in counts.items())
        table.add_row("GD steps", f"{text} at η = {rate} (linearised, worst labels)")
    verdict = {True: "yes", False: "no", None: "not established"}[
        record["memorization"]["possible"]
    ]
    table.add_row("memorization", f"{verdict}: {record['memorization']['reason']}")
    rows = ", ".join(
        f"{row} ({100 * share:.0f}%)"
        for row, share in zip(weak["rows"][:5], weak["shares"], strict=False)
    )
    spread = f"the vector spreads over {number(weak['participation'], 3)} samples"
    table.add_row("weakest samples", f"{rows}; {spread}")
    return table


def _add_loss(table: Table, loss: Mapping[str, Any]) -> None:
    """What the loss that is trained says, before what ½‖F − Y‖² would."""
    name = loss["loss"]
    table.add_row("the loss trained", f"{name}, {number(loss['value'])} at the model")
    low = loss["smallest"]
    bottom = "" if low is None else f", least of {loss['rows']} {judged(low)}"
    table.add_row("Gauss-Newton", f"largest eigenvalue {judged(loss['largest'])}{bottom}")
    trace = with_error(loss["trace"], loss["trace_error"])
    many = loss["effective_dimension"]
    text = f"trace {trace}"
    if many is not None:
        text += f", {number(many['value'], 3)} directions above 1% of the largest"
    table.add_row("", text)
    stable = limit_of_steps(loss["largest_stable_step"], loss["largest_stable_step_error"])
    table.add_row(f"GD step, {name}", f"{stable} (linearised)")
    table.add_row("any batch's step", any_batch(loss))
    sharp = loss["sharpness"]
    for name, why in loss["missing"].items():
        row = "sharpness" if name == "sharpness" else f"{loss['optimizer']} step"
        table.add_row(row, f"not known: {why}")
    if sharp is not None:
        text = f"{number(sharp['value'])} (residual {number(sharp['residual'], 2)})"
        table.add_row(
            "sharpness", f"{text}: at the edge of stability η = {number(sharp['edge_step'])}"
        )
    own = loss["preconditioned"]
    if own is not None:
        text = f"on the linearised model unstable above {number(own['edge_step'])}: {number(own['threshold'])} over the curvature"
        seen = f"{number(own['value'])} that it sees (residual {number(own['residual'], 2)})"
        if own["left_out"]:
            seen += f"; without {', '.join(own['left_out'])}, of whose gradients it has not seen the size"
        table.add_row(f"{loss['optimizer']} step", f"{text} {seen}")


def intervals(found: Sequence[Mapping[str, Any]]) -> Table:
    """Lipschitz constants, a row a layer: the interval, where it comes from, the other bounds."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer")
    table.add_column("Lipschitz constant", no_wrap=True)
    table.add_column("from", overflow="fold")
    table.add_column("upper bounds tried", overflow="fold")
    for row in found:
        how = f"exact: {counted(row['pieces'], 'linear piece')}" if row["exact"] else (
            f"{row['lower_method']}; {row['upper_method']}"
        )  # fmt: skip
        bounds = [f"{name} {number(value, 6)}" for name, value in sorted(row["uppers"].items())]
        if row["scaling"] is not None:
            bounds.append(f"Theorem 6.2 without its constant {number(row['scaling'])}")
        table.add_row(
            str(row["layer"]), enclosure(row["lower"], row["upper"]), how, "; ".join(bounds)
        )
    return table


def limit_steps(steps: Sequence[Mapping[str, Any]]) -> Table:
    """The operations of a module whose infinite-width kernel is formed."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", "module", "operation", "reads", "output", "carried"):
        table.add_column(heading, overflow="fold")
    for step in steps:
        reads = ", ".join(map(str, step["inputs"])) or "–"
        output = "×".join(map(str, (step["channels"], *step["positions"])))
        table.add_row(
            str(step["number"]), step["where"], step["operation"], reads, output, step["carried"]
        )
    return table

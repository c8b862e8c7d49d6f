"""An inspection in the small, from its record: what a notebook shows. The page and ``print`` say all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ntkscope.report import numbers
from ntkscope.report.card import Card, Grid
from ntkscope.report.numbers import enclosed, number, share


def card(record: Mapping[str, Any]) -> Card:
    """λ_min and what it means in pairs, the layers and the bounds as tables, and the warnings."""
    made = Card(f"NTK of {record['network']['text']} on {record['n_samples']} samples")
    smallest, training = record["smallest_eigenvalue"], record["training"]
    possible = {True: "possible", False: "not possible", None: "not established"}
    made.pairs = [
        ("λ_min", f"{enclosed(smallest)} ({smallest['status']})"),
        ("λ_max", enclosed(record["largest_eigenvalue"])),
        ("λ_max/λ_min", enclosed(record["condition_number"])),
        ("tr K", numbers.with_error(record["trace"], record["trace_error"])),
        ("steps of GD on ½‖F − Y‖²", _stable(training)),
        ("memorization", possible[record["memorization"]["possible"]]),
    ]
    if record["loss"] is not None:
        made.pairs.append((f"steps of GD on {record['loss']['loss']}", _stable(record["loss"])))
    layers = [
        (
            layer["name"], layer["shape"], share(layer["trace_share"], layer["trace_share_error"]),
            share(layer["rayleigh_share"], layer["rayleigh_share_error"]),
            numbers.own_smallest(layer, short=True),
        )
        for layer in record["layers"]
    ]  # fmt: skip
    made.grids.append(
        Grid("Layers", ("term", "shape", "of tr K", "of λ_min", "its own λ_min"), layers)
    )
    signs = {"lower": "≥ ", "upper": "≤ ", "value": ""}
    bounds = [
        (rung["name"], signs[rung["side"]] + number(rung["value"], 6), rung["source"])
        for rung in numbers.telling(record["ladder"])
    ]
    made.grids.append(Grid("Bounds around λ_min", ("", "value", "source"), bounds))
    made.notes = list(record["warnings"])
    return made


def _stable(found: Mapping[str, Any]) -> str:
    ends = found["largest_stable_step"], found["largest_stable_step_error"]
    return f"{numbers.limit_of_steps(*ends)} (linearised)"
